"""hosts.py - the three forms of a question at recall 1, asked in this Python and in a sqlite3 shell, against the C API's hits.

Usage: hosts.py EXTENSION FOLDER [SHELL]. FOLDER holds what test_slow_data writes under VINDEX_TEST_ANSWERS. Scores are
compared bit for bit; the shell prints 15 digits, and 9 name a float.
"""
import array
import glob
import os
import sqlite3
import struct
import subprocess
import sys
import time

K = 10
FORMS = ("SELECT rowid, score FROM docs WHERE v MATCH %s AND k = 10 AND recall = 1",
         "SELECT rowid, score FROM docs WHERE query = %s AND recall = 1 ORDER BY score LIMIT 10",
         "SELECT rowid, score FROM docs(%s, 10, 1)")


def read_set(name):
    """Queries, and for each the bytes of its hits."""
    with open(name + ".hits", "rb") as file:
        hits = file.read()
    n = len(hits) // (12 * K)
    with open(name + ".queries", "rb") as file:
        rows = file.read()
    size = len(rows) // n
    assert n > 0 and len(rows) == n * size and len(hits) == n * 12 * K
    return ([rows[i * size:(i + 1) * size] for i in range(n)],
            [hits[i * 12 * K:(i + 1) * 12 * K] for i in range(n)])


def pack(rows):
    return b"".join(struct.pack("<qf", id, score) for id, score in rows)


def is_float(rows):
    """Every score is exactly one of 32 bits."""
    return all(array.array("f", [score])[0] == score for _, score in rows)


def in_python(extension, name, queries, hits):
    db = sqlite3.connect(name + ".db")
    db.enable_load_extension(True)
    db.load_extension(extension)
    wrong = 0
    for form in FORMS:
        for query, expected in zip(queries, hits):
            rows = db.execute(form % "?", (query,)).fetchall()
            wrong += pack(rows) != expected or not is_float(rows)
    db.close()
    return wrong


def in_shell(shell, extension, name, queries, hits):
    """One shell, its statements from a file; a line between two answers."""
    script = name + ".sql"
    with open(script, "w") as file:
        file.write(".bail on\n.load %s\n.mode list\n" % extension)
        for form in FORMS:
            for query in queries:
                file.write(form % ("x'" + query.hex() + "'") + ";\n.print -\n")
    with open(script) as file:
        run = subprocess.run([shell, name + ".db"], stdin=file, stdout=subprocess.PIPE, text=True, check=True)
    answers = run.stdout.split("-\n")
    # A negative score starts with a minus, but is never alone in its line.
    assert answers.pop() == "" and len(answers) == len(FORMS) * len(queries), len(answers)
    wrong = 0
    for i, answer in enumerate(answers):
        rows = [(int(id), float(score)) for id, score in (line.split("|") for line in answer.splitlines())]
        wrong += pack(rows) != hits[i % len(hits)]
    return wrong


def main():
    extension, folder = sys.argv[1], sys.argv[2]
    shell = sys.argv[3] if len(sys.argv) > 3 else None
    names = sorted(path[:-len(".hits")] for path in glob.glob(os.path.join(folder, "*.hits")))
    assert names, "no answers in " + folder
    failed = False
    for name in names:
        queries, hits = read_set(name)
        for host in ("Python's sqlite3 " + sqlite3.sqlite_version, "the shell") if shell else ("Python's sqlite3",):
            start = time.time()
            wrong = (in_shell(shell, extension, name, queries, hits) if host == "the shell" else
                     in_python(extension, name, queries, hits))
            failed |= wrong > 0
            print("%s, %s: %d queries in %d forms, %d differ (%.0f s)" % (
                os.path.basename(name), host, len(queries), len(FORMS), wrong, time.time() - start), flush=True)
    sys.exit(1 if failed else 0)


main()
