"""readme.py - run the SQL blocks of sqlite_ext/README.md in order and compare with the text blocks after them.

Usage: readme.py EXTENSION README [SHELL]. With SHELL (a sqlite3 program) its output is compared instead.
"""
import re
import sqlite3
import subprocess
import sys

extension, readme = sys.argv[1], sys.argv[2]
shell = sys.argv[3] if len(sys.argv) > 3 else None
text = open(readme, encoding="utf-8").read()
blocks = re.findall(r"^```(\S*)( error)?\n(.*?)^```$", text, re.M | re.S)


def statements(sql):
    part = ""
    for line in sql.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""
    assert not part.strip(), part


def in_python():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.enable_load_extension(True)
    db.load_extension(extension)
    for sql, fails in runs:
        out = ""
        try:
            for statement in statements(sql):
                for row in db.execute(statement):
                    row = row[3:] if statement.startswith("EXPLAIN") else row
                    out += "|".join("" if v is None else str(v) for v in row) + "\n"
        except sqlite3.Error as error:
            out += str(error) + "\n"
            assert fails, (sql, out)
        yield out


def in_shell():
    """All blocks in one session, separated by marks; the shell numbers lines in its errors."""
    script = ".load %s\n" % extension
    for i, (sql, _) in enumerate(runs):
        script += sql + ".print [end]\n"
    done = subprocess.run([shell], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for out in done.stdout.split("[end]\n")[:-1]:
        out = re.sub(r"^(Runtime error|Parse error|Error:) ?(near line \d+: )?", "", out, flags=re.M)
        out = re.sub(r" \(\d+\)$", "", out, flags=re.M)
        yield re.sub(r"^QUERY PLAN\n`--", "", out, flags=re.M)


runs, expected = [], []
for kind, fails, body in blocks:
    if kind == "sql":
        runs.append((body, bool(fails)))
        expected.append("")
    elif kind == "text":
        expected[-1] = body
wrong = 0
results = list(in_shell() if shell else in_python())
assert len(results) == len(expected), results
for (sql, _), got, want in zip(runs, results, expected):
    if shell and want and got != want and sorted(got.split("\n")) == sorted(want.split("\n")):
        continue  # stderr is not buffered
    if got != want:
        wrong += 1
        print("%sprints\n%sthe README says\n%s" % (sql, got, want))
print("%d blocks in %s" % (len(runs), shell or "Python's sqlite3 " + sqlite3.sqlite_version))
sys.exit(1 if wrong else 0)
