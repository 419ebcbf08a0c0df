"""transactions.py - random transactions on a vindex table and, in the same transaction, on an ordinary table.
Whatever is committed, rolled back, killed or read by another connection: both must say the same.

Usage: transactions.py EXTENSION model N SEED       N random transactions, two connections
       transactions.py EXTENSION kill N SEED        N processes killed at a random moment
       transactions.py EXTENSION work FILE SEED     the process that is killed
"""
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

extension, mode = sys.argv[1], sys.argv[2]
LANGS = ["en", "de", "fr"]


def connect(path):
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    db.enable_load_extension(True)
    db.load_extension(extension)
    return db


def create(path, journal, seal):
    db = connect(path)
    db.execute("PRAGMA journal_mode=" + journal)
    db.execute("BEGIN")
    db.execute("CREATE VIRTUAL TABLE docs USING vindex(e FLOAT[3] seal_rows=%d, lang TEXT, f INT8[2])" % seal)
    db.execute("CREATE TABLE plain(id INTEGER PRIMARY KEY, e, lang TEXT, f)")
    # Triggers of another table write into the virtual one.
    db.execute("CREATE TABLE feed(e, lang)")
    db.execute("CREATE TRIGGER feed_in AFTER INSERT ON feed BEGIN INSERT INTO docs(rowid, e, lang) "
               "VALUES(-1000 - new.rowid, new.e, new.lang); INSERT INTO plain(id, e, lang) VALUES("
               "-1000 - new.rowid, vindex_from_json(new.e), new.lang); END")
    db.execute("COMMIT")
    return db


def contents(db, table, id):
    return db.execute("SELECT %s, hex(e), lang, hex(f) FROM %s ORDER BY 1" % (id, table)).fetchall()


def compare(db, where, r=None):
    """Within one read transaction both tables hold the same rows and give the same answers."""
    own = not db.in_transaction
    if own:
        db.execute("BEGIN")
    a, b = contents(db, "docs", "rowid"), contents(db, "plain", "id")
    if a != b:
        raise SystemExit("%s: rows differ\n docs  %s\n plain %s" % (
            where, [x for x in a if x not in b][:5], [x for x in b if x not in a][:5]))
    q = "[%d,%d,1]" % ((r or random).randint(-3, 3), (r or random).randint(-3, 3))
    near = db.execute("SELECT rowid, score FROM docs(?) ORDER BY score, rowid", (q,)).fetchall()
    brute = db.execute("SELECT id, vindex_distance(e, ?) AS s FROM plain WHERE e IS NOT NULL ORDER BY s, id",
                       (q,)).fetchall()
    if near != brute:
        raise SystemExit("%s: answers differ for %s\n %s\n %s" % (where, q, near[:10], brute[:10]))
    if own:
        db.execute("COMMIT")


class Writer:
    def __init__(self, db, seed):
        self.db, self.r = db, random.Random(seed)
        self.savepoints = []

    def vector(self):
        if self.r.random() < 0.1:
            return None
        return "[%d,%d,%d]" % tuple(self.r.randint(-9, 9) for _ in range(3))

    def both(self, sql, arguments=(), plain=None):
        """The same statement on both tables; both succeed or both fail."""
        outcome = []
        for table, text in (("docs", sql), ("plain", plain or sql)):
            text = text.replace("{t}", table).replace("{id}", "rowid" if table == "docs" else "id")
            text = text.replace("{v}", "?" if table == "docs" else "vindex_from_json(?)")
            text = text.replace("{w}", "?" if table == "docs" else "vindex_from_json(?, 'INT8')")
            try:
                self.db.execute(text, arguments)
                outcome.append(None)
            except sqlite3.IntegrityError as error:
                outcome.append("constraint")
                if not self.db.in_transaction and self.explicit:
                    return "gone"
        if outcome[0] != outcome[1]:
            raise SystemExit("outcomes differ: %s %s" % (outcome, sql))
        return outcome[0]

    def step(self):
        r = self.r
        id, w = r.randint(0, 120), "[%d,%d]" % (r.randint(-9, 9), r.randint(-9, 9))
        kind = r.randrange(14)
        if kind < 3:
            how = r.choice(["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "REPLACE"])
            return self.both(how + " INTO {t}({id}, e, lang, f) VALUES(?, {v}, ?, {w})",
                             (id, self.vector(), r.choice(LANGS), w))
        if kind == 3:
            rows = r.randint(2, 30)
            how = r.choice(["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL"])
            ids = [r.randint(0, 200) for _ in range(rows)]
            values = ", ".join("(%d, {v}, 'm')" % i for i in ids)
            return self.both("%s INTO {t}({id}, e, lang) VALUES %s" % (how, values),
                             [self.vector() for _ in ids])
        if kind == 4:
            return self.both("INSERT INTO {t}(e, lang) VALUES({v}, 'auto')", (self.vector(),))
        if kind == 5:
            return self.both("UPDATE {t} SET e = {v} WHERE {id} = ?", (self.vector(), id))
        if kind == 6:
            return self.both("UPDATE {t} SET lang = ?, f = {w} WHERE {id} % ? = 1",
                             (r.choice(LANGS), w, r.randint(2, 9)))
        if kind == 7:
            how = r.choice(["UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"])
            return self.both(how + " {t} SET {id} = ? WHERE {id} = ?", (r.randint(0, 120), id))
        if kind == 8:
            return self.both("DELETE FROM {t} WHERE {id} = ?", (id,))
        if kind == 9:
            return self.both("DELETE FROM {t} WHERE {id} % ? = ?", (r.randint(2, 7), r.randint(0, 3)))
        if kind == 10 and r.random() < 0.15:
            return self.both("DELETE FROM {t}")
        if kind == 11:
            self.db.execute("INSERT INTO feed VALUES(?, 'fed')", (self.vector(),))
        elif kind == 12 and r.random() < 0.2:
            self.db.execute("INSERT INTO docs(docs) VALUES(?)", (r.choice(["optimize", "rebuild"]),))
        elif kind == 13:
            return self.both("INSERT INTO {t}({id}, e, lang) SELECT {id} + 1000, e, lang FROM {t} "
                             "WHERE {id} < ? AND {id} + 1000 NOT IN (SELECT {id} FROM {t})",
                             (r.randint(0, 40),))
        return None

    def savepoint(self):
        r = self.r
        if not self.savepoints or r.random() < 0.4:
            name = "s%d" % len(self.savepoints)
            self.db.execute("SAVEPOINT " + name)
            self.savepoints.append(name)
            return
        at = r.randrange(len(self.savepoints))
        if r.random() < 0.5:
            self.db.execute("RELEASE " + self.savepoints[at])
            del self.savepoints[at:]
        else:
            self.db.execute("ROLLBACK TO " + self.savepoints[at])
            del self.savepoints[at + 1:]

    def transaction(self, check):
        r = self.r
        self.explicit = r.random() < 0.8
        self.savepoints = []
        begun_by_savepoint = self.explicit and r.random() < 0.3
        if begun_by_savepoint:
            self.savepoint()
        elif self.explicit:
            self.db.execute(r.choice(["BEGIN", "BEGIN IMMEDIATE"]))
        else:  # one statement a table: both in one transaction all the same
            self.db.execute("BEGIN")
        for _ in range(r.randint(1, 12)):
            if r.random() < 0.25 and self.explicit:
                self.savepoint()
                if not self.db.in_transaction:
                    return
            else:
                self.step()
            if check and r.random() < 0.2:
                compare(self.db, "inside a transaction", r)
        self.db.execute("ROLLBACK" if r.random() < 0.25 else "COMMIT")


def busy(call):
    """Another connection may hold the lock: the transaction is given up, as applications do."""
    try:
        call()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) and "busy" not in str(error):
            raise


def model(n, seed):
    r = random.Random(seed)
    done = 0
    while done < n:
        path = os.path.join(tempfile.mkdtemp(), "model.db")
        journal, seal = r.choice(["WAL", "DELETE"]), r.choice([4, 16, 4096])
        dbs = [create(path, journal, seal)]
        dbs.append(connect(path))
        writers = [Writer(db, r.random()) for db in dbs]
        for i in range(min(50, n - done)):
            which = r.randrange(2)
            reader = dbs[1 - which]
            held = journal == "WAL" and r.random() < 0.3
            if held:  # an older snapshot stays readable while the other connection commits
                reader.execute("BEGIN")
                before = contents(reader, "docs", "rowid")
            writers[which].transaction(True)
            if held:
                if contents(reader, "docs", "rowid") != before:
                    raise SystemExit("a WAL reader's snapshot changed")
                compare(reader, "WAL reader", r)
                reader.execute("COMMIT")
            for db in dbs:
                compare(db, "seed %d, transaction %d" % (seed, done + i), r)
        dbs[1].execute("INSERT INTO docs(docs) VALUES('integrity-check')")
        done += min(50, n - done)
        for db in dbs:
            db.close()
    print("seed %d: %d transactions on two connections, no difference" % (seed, n))


def kill(n, seed):
    r = random.Random(seed)
    directory = tempfile.mkdtemp()
    for i in range(n):
        if i % 30 == 0:
            path = os.path.join(directory, "kill%d.db" % i)
            create(path, r.choice(["WAL", "DELETE", "TRUNCATE"]), r.choice([8, 32, 4096])).close()
        child = subprocess.Popen([sys.executable, __file__, extension, "work", path, str(r.randrange(1 << 30))],
                                 stdout=subprocess.PIPE)
        child.stdout.readline()  # it is at work
        time.sleep(r.random() * 0.08)
        child.send_signal(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            raise SystemExit("the process ended by itself: seed %d, kill %d" % (seed, i))
        db = connect(path)
        compare(db, "kill %d, seed %d" % (i, seed), r)
        db.execute("INSERT INTO docs(docs) VALUES('integrity-check')")
        db.close()
    print("seed %d: %d processes killed, no difference" % (seed, n))


def work(path, seed):
    writer = Writer(connect(path), seed)
    writer.db.execute("PRAGMA synchronous=OFF")
    print("at work", flush=True)
    while True:
        writer.transaction(False)


if mode == "model":
    model(int(sys.argv[3]), int(sys.argv[4]))
elif mode == "kill":
    kill(int(sys.argv[3]), int(sys.argv[4]))
else:
    work(sys.argv[3], int(sys.argv[4]))
