# test_sql.sh - a table told to use a device: the same rows and scores, the device in vindex_plan, no library named in
# SQL.
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
export VINDEX_PJRT_PLUGIN="$VINDEX_PJRT_PLUGINS/good.so"
"$python" - "$extension" <<'END'
import random
import sqlite3
import sys

db = sqlite3.connect(":memory:", isolation_level=None)
db.enable_load_extension(True)
db.load_extension(sys.argv[1])
db.execute("CREATE VIRTUAL TABLE docs USING vindex(e FLOAT[8] seal_rows=200, lang TEXT)")
random.seed(3)


def vector():
    return str([round(random.random(), 4) for _ in range(8)])


def ask(sql="SELECT rowid, score FROM docs(?) WHERE recall = 1 ORDER BY score LIMIT 7"):
    query = vector()
    state = random.getstate()
    answers = []
    for device in ("cpu", "pjrt"):
        db.execute("INSERT INTO docs(docs, arg) VALUES('device', ?)", (device,))
        answers.append(db.execute(sql, (query,)).fetchall())
        plan = dict(db.execute("SELECT name, value FROM vindex_plan('docs')"))
        text = str(plan)
        assert ("device Test device 0" in text) == (device == "pjrt"), (device, text)
    assert answers[0] == answers[1] and len(answers[0]) == 7, answers
    random.setstate(state)


for step in range(4):
    db.execute("BEGIN")
    for i in range(700):
        db.execute("INSERT INTO docs(e, lang) VALUES(?, ?)", (vector(), random.choice(["en", "de"])))
    ask()  # inside the transaction
    if step == 2:
        db.execute("ROLLBACK")
    else:
        db.execute("DELETE FROM docs WHERE rowid % 17 = ?", (step,))
        db.execute("COMMIT")
    ask()
    ask("SELECT rowid, score FROM docs(?) WHERE recall = 1 AND lang = 'en' ORDER BY score LIMIT 7")

for arg, message in (("pjrt:/tmp/x.so", "not named in SQL"), ("gpu", "expected cpu or pjrt"), (None, "needs an arg")):
    try:
        db.execute("INSERT INTO docs(docs, arg) VALUES('device', ?)", (arg,))
        raise SystemExit("accepted: %s" % arg)
    except sqlite3.OperationalError as error:
        assert message in str(error), error
db.close()
END
echo "a table searches on a device"
