"""statements.py - random statements over a vindex table against the same statement in plain SQL.

Every case is a pair of texts made from one template. In text A the table is the virtual one; in B it is an
ordinary table with the same rows, scores are vindex_distance(...), and k is spelled out as

    rowid IN (SELECT rowid ... WHERE <terms before k> ORDER BY distance, rowid LIMIT k)

Half of the tables are optimized first; one in eight is large enough for 'optimize' to make codes of its rows, and then
changed once more. All that is asked is exact: with so few rows a recall target below 1 is answered exactly as well.

Usage: statements.py EXTENSION N SEED [DUMP]. DUMP receives the setup and the pairs as JSON lines, so that
replay.js can run them on another SQLite.
"""
import json
import random
import sqlite3
import sys

METRICS = ("l2", "cosine", "ip")
LANGS = ["en", "EN", "de", "fr", "d", "den", "5", "05", "5.0", "2001", ""]
TAGS = ["red", "Red", "RED", "green", "blue ", "blue", "b%", "a_c"]


def quote(value):
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, p):
        return self.random.random() < p

    # ---- data -----------------------------------------------------------------------------------

    def vector(self):
        if self.pool and self.chance(0.3):  # many ties
            return self.random.choice(self.pool)
        if self.chance(0.3):  # few values: many ties
            numbers = [self.random.randint(-1, 1) for _ in range(self.dim)]
        else:
            numbers = [round(self.random.uniform(-2, 2), 3) for _ in range(self.dim)]
        return "[" + ",".join(map(str, numbers)) + "]"

    def row(self, id):
        r = self.random
        year = r.choice([None, "x", "2001", 2001.5] + list(range(1998, 2006)) * 2)
        return (id, None if self.chance(0.05) else self.vector(), r.choice(LANGS + [None]),
                r.choice(TAGS + [None]), year, r.choice([None, 0, 1, -1.5, 2.25, "2.25", 1e9]),
                r.choice([None, "body", 7, 1.5]))

    def setup(self):
        statements = ["BEGIN"]
        self.metric = self.pick(*METRICS)
        self.is_large = self.chance(0.125)
        self.dim, self.pool = (16 if self.is_large else 4), []
        self.pool = [self.vector() for _ in range(40)] if self.is_large else []
        seal = self.pick(512, 4096) if self.is_large else self.pick(8, 64, 4096)
        statements.append(
            "CREATE VIRTUAL TABLE docs USING vindex(embedding FLOAT[%d] metric=%s seal_rows=%d, lang TEXT, "
            "tag TEXT COLLATE NOCASE, year INTEGER, price REAL, +body)" % (self.dim, self.metric, seal))
        statements.append("CREATE TABLE plain(id INTEGER PRIMARY KEY, embedding, lang TEXT, "
                          "tag TEXT COLLATE NOCASE, year INTEGER, price REAL, body)")
        statements.append("CREATE TABLE o(id INTEGER PRIMARY KEY, doc INTEGER, lang TEXT, n INTEGER, x)")
        n, last = (5600, 8000) if self.is_large else (self.pick(3, 90, 300), 500)
        rows = [self.row(i) for i in sorted(self.random.sample(range(-50, last), n))]
        statements += self.insert(rows)
        statements.append("UPDATE plain SET embedding = vindex_from_json(embedding)")
        ids = [row[0] for row in rows]
        for i in range(12):
            statements.append("INSERT INTO o VALUES(%d, %s, %s, %s, %s)" % (
                i, quote(self.random.choice(ids + [9999, None])), quote(self.random.choice(LANGS)),
                quote(self.pick(5, 2001, 2003, None, "1x")), quote(self.pick(5, "5", 2001.0, "en"))))
        for change in ("DELETE FROM %s WHERE {id} % 7 = 3", "UPDATE %s SET lang = 'up' WHERE {id} % 11 = 4",
                       "UPDATE %s SET embedding = NULL WHERE {id} % 29 = 5"):
            for table in ("docs", "plain"):
                statements.append(change.replace("%s", table).replace("{id}", "rowid"))
        statements.append("COMMIT")
        self.ids = ids
        if self.is_large or self.chance(0.5):
            statements += self.optimize()
        return statements

    def insert(self, rows):
        for row in rows:
            values = ", ".join(map(quote, row))
            for table, id in (("docs", "rowid"), ("plain", "id")):
                yield ("INSERT INTO %s(%s, embedding, lang, tag, year, price, body) VALUES(%s)"
                       % (table, id, values))

    def optimize(self):
        """The rows that come and go afterwards are beside those with codes."""
        yield "INSERT INTO docs(docs) VALUES('optimize')"
        if self.chance(0.3):
            return
        for table in ("docs", "plain"):
            yield "DELETE FROM %s WHERE rowid %% 13 = 1" % table
        rows = [self.row(i) for i in range(10000, 10020)]
        yield from self.insert(rows)
        yield "UPDATE plain SET embedding = vindex_from_json(embedding) WHERE id >= 10000"
        self.ids = self.ids + [row[0] for row in rows]

    # ---- terms ----------------------------------------------------------------------------------

    def literal(self, column):
        """A value written out, or bound."""
        if column in ("lang", "tag"):
            value = self.random.choice(LANGS + TAGS + [None, 5, 2001, 5.0, "EN"])
        else:
            value = self.random.choice([None, 2001, 2001.5, "2001", 1999, "x", 0, 2.25, "2.25", -1, 2004])
        if self.chance(0.7):
            return quote(value)
        name = "p%d" % len(self.parameters)
        self.parameters[name] = value
        return ":" + name

    def other(self, column):
        """A column of o to compare with."""
        if self.k is not None and column in ("lang", "tag"):
            return self.pick("lang", "n")  # a number of no type is a guess before k (README, "Filters")
        return self.pick("lang", "n", "x")

    def before_k(self, alias):
        """A metadata term that SQLite hands to the table."""
        column = self.pick("lang", "tag", "year", "price")
        name = alias + "." + column
        kind = self.random.randrange(12)
        collate = self.pick("", "", "", " COLLATE NOCASE", " COLLATE BINARY", " COLLATE RTRIM")
        if kind < 5:
            op = self.pick("=", "!=", "<", "<=", ">", ">=", "IS", "IS NOT", "=", ">", "<=")
            if self.k is not None and op in ("!=", "IS NOT"):  # beside k no COLLATE (README, "Filters")
                collate = ""
            literal = self.literal(column)
            if self.k is not None and column in ("lang", "tag") and literal[0] != "'":
                collate = ""
            return "%s %s %s%s" % (name, op, literal, collate)
        if kind == 5:
            return "%s %s" % (name, self.pick("IS NULL", "IS NOT NULL", "NOTNULL"))
        if kind == 6:
            return "%s BETWEEN %s AND %s" % (name, self.literal(column), self.literal(column))
        if kind == 7:
            many = self.pick(2, 3, 6)
            return "%s IN (%s)" % (name, ", ".join(self.literal(column) for _ in range(many)))
        if kind == 8:
            return "%s IN (SELECT %s FROM o)" % (name, self.other(column))
        if kind == 9:
            return "%s LIKE %s" % (name, quote(self.pick("e%", "E_", "%5%", "2%", "b%", "R%d", "x")))
        if kind == 10:
            return "%s GLOB %s" % (name, quote(self.pick("e*", "E?", "*5*", "2*", "[rR]*")))
        return "%s = (SELECT %s FROM o WHERE o.id = %d)" % (name, self.other(column),
                                                            self.random.randrange(12))

    def rowid_list(self, alias):
        if self.chance(0.5):
            some = [self.random.choice(self.ids + [77777]) for _ in range(self.pick(2, 5, 40))]
            return "%s.rowid IN (%s)" % (alias, ", ".join(map(str, some)))
        return "%s.rowid IN (SELECT doc FROM o WHERE doc IS NOT NULL)" % alias

    def after(self, alias, score, similarity):
        """A term that is tested after k."""
        bound = quote(self.pick(0, 0.5, 1, 2, -1, 3))
        return self.pick(
            "%s %s %s" % (score, self.pick("<", "<=", ">", ">=", "!="), bound),
            "%s BETWEEN %s AND %s" % (score, quote(self.pick(-2, 0, 0.5)), quote(self.pick(1, 1.5, 3))),
            "%s %s %s" % (similarity, self.pick("<", "<=", ">", ">="), bound),
            "%s.rowid %s %d" % (alias, self.pick("<", "<=", ">", ">="), self.pick(0, 50, 200)),
            "%s.rowid = %d" % (alias, self.random.choice(self.ids)),
            "abs(%s.year) %% 2 = 1" % alias, "+%s.year > 2000" % alias,
            "%s.body = %s" % (alias, quote(self.pick("body", 7))), "%s.body IS NULL" % alias,
            "%s.body <> %s.year" % (alias, alias), "+%s.lang <> %s.year" % (alias, alias),
            "abs(%s.price) %s %s.year" % (alias, self.pick("<>", "IS NOT", "<"), alias),
            "((%s.rowid > 20 AND %s.lang > 'd') OR %s.rowid = 7)" % (alias, alias, alias),
            "%s.lang NOT LIKE 'e%%'" % alias, "%s.year NOT IN (2001, 2002)" % alias,
            "length(%s.lang) <> length(%s.tag)" % (alias, alias),
            "(%s.lang = 'en' OR %s.year > 2001)" % (alias, alias),
            "EXISTS (SELECT 1 FROM o WHERE o.doc = %s.rowid)" % alias)

    # ---- statements -----------------------------------------------------------------------------

    def case(self):
        """(A, B, whether the order of rows is the same too)"""
        self.q = quote(self.vector())
        self.parameters = {}
        self.k = self.pick(0, 1, 3, 10, 50, 1000) if self.chance(0.5) else None
        return self.pick(self.simple, self.simple, self.simple, self.unasked, self.point, self.join,
                         self.join_each, self.join_each, self.left_join, self.nested, self.compound,
                         self.grouped, self.correlated, self.orders, self.orders)()

    def score(self, is_a, alias="d"):
        if is_a:
            return alias + "." + ("score", "distance")[len(self.q) % 2]
        return "vindex_distance(%s.embedding, %s, '%s')" % (alias, self.q, self.metric)

    def similarity(self, is_a, alias="d"):
        if is_a:
            return alias + ".similarity"
        return ("(1 - %s)" if self.metric == "cosine" else "(0 - %s)") % self.score(False, alias)

    def source(self, is_a, form, before, alias="d"):
        """FROM item, and the terms that make it the searched table."""
        before = list(before)
        if not is_a:
            terms = [alias + ".embedding IS NOT NULL"]
            if self.k is None:
                terms += [t.replace("@", alias) for t in before]
            else:
                inner = ["z.embedding IS NOT NULL"] + [t.replace("@", "z") for t in before]
                terms.append("%s.rowid IN (SELECT z.rowid FROM plain z WHERE %s ORDER BY "
                             "vindex_distance(z.embedding, %s, '%s'), z.rowid LIMIT %d)"
                             % (alias, " AND ".join(inner), self.q, self.metric, self.k))
            return "plain " + alias, terms
        terms = [t.replace("@", alias) for t in before]
        item = "docs " + alias
        if form == 0:
            terms.append("%s.embedding MATCH %s" % (alias, self.q))
        elif form == 1:
            terms.append("%s.query = %s" % (alias, self.q))
        elif form == 2:
            item = "docs(%s) %s" % (self.q, alias)
        elif form == 3 and self.k is not None:
            return "docs(%s, %d, 0.9) %s" % (self.q, self.k, alias), terms
        else:
            terms.append("%s.docs MATCH %s" % (alias, self.q))
        if self.k is not None:
            terms.append("%s.k = %d" % (alias, self.k))
        if form == 1:
            terms.append("%s.recall %s 0.8" % (alias, ">=" if len(self.q) % 2 else "="))
        return item, terms

    def parts(self, after=True):
        """What both texts share: terms with @ for the table before k, a form, terms after k."""
        before = [self.before_k("@") for _ in range(self.pick(0, 0, 0, 1, 1, 2))]
        if self.chance(0.2):
            before.append(self.rowid_list("@"))
        seed = self.random.random()
        count = self.pick(0, 0, 1, 2) if after else 0
        return self.random.randrange(5), before, (seed, count)

    def after_terms(self, is_a, after):
        saved, self.random = self.random, random.Random(after[0])
        terms = [self.after("d", self.score(is_a), self.similarity(is_a)) for _ in range(after[1])]
        self.random = saved
        return terms

    def pair(self, build):
        return build(True), build(False)

    COLUMNS = "d.rowid, d.lang, d.tag, d.year, d.price, d.body"

    def tail(self, orders):
        """ORDER BY, LIMIT and OFFSET; LIMIT only with a total order."""
        if self.chance(0.25):
            return "", False
        order = self.random.choice(orders)
        limit = ""
        if self.chance(0.7):
            limit = " LIMIT %d" % self.pick(0, 1, 5, 10, 70, 300, -1)
            if self.chance(0.4):
                limit += " OFFSET %d" % self.pick(0, 1, 5, 65, 200, -1)
        return " ORDER BY " + order + limit, True

    ORDERS = ("{S}, d.rowid", "{S} ASC, d.rowid ASC", "{M} DESC, d.rowid", "{S} DESC, d.rowid",
              "d.rowid", "d.rowid DESC", "+d.lang, +d.year, d.rowid", "{S}, d.rowid DESC",
              "+d.lang, {S}, d.rowid")

    def fill(self, text, is_a):
        return text.replace("{S}", self.score(is_a)).replace("{M}", self.similarity(is_a))

    def simple(self):
        form, before, after = self.parts()
        tail, ordered = self.tail(self.ORDERS)
        extra = self.pick("", ", vindex_to_json(vindex_from_json(vindex_to_json(d.embedding)))")

        def build(is_a):
            item, terms = self.source(is_a, form, before)
            terms += self.after_terms(is_a, after)
            return self.fill("SELECT %s, {S}, {M}%s FROM %s WHERE %s%s" % (
                self.COLUMNS, extra, item, " AND ".join(terms) or "1", tail), is_a)
        a, b = self.pair(build)
        return a, b, ordered

    def orders(self):
        """Order by score alone: of equal scores only the scores are the same."""
        form, before, after = self.parts()
        order = self.pick("{S}", "{S} DESC", "{M}", "{M} DESC")
        limit = self.pick("", " LIMIT %d" % self.pick(1, 10, 100), " LIMIT 7 OFFSET %d" % self.pick(3, 80))

        def build(is_a):
            item, terms = self.source(is_a, form, before)
            terms += self.after_terms(is_a, after)
            return self.fill("SELECT {S} FROM %s WHERE %s ORDER BY %s%s" % (
                item, " AND ".join(terms) or "1", order, limit), is_a)
        a, b = self.pair(build)
        return a, b, True

    def unasked(self):
        """No query: the table is only a table."""
        self.k = None
        terms = [self.before_k("d") for _ in range(self.pick(0, 1, 2))]
        terms += [t for t in (self.pick("d.rowid > 20", "d.rowid <= 100", "d.rowid BETWEEN 10 AND 90",
                                        "d.rowid IN (1, 5, 70, 71, 72)", "d.embedding IS NULL",
                                        "(d.rowid = 3 OR d.lang = 'en')", "1", "1"),)]
        order = self.pick("d.rowid", "d.rowid DESC", "+d.lang, d.rowid", "+d.year DESC, d.rowid")
        limit = self.pick("", " LIMIT 9", " LIMIT 5 OFFSET 4")
        text = "SELECT %s FROM TABLE_ d WHERE %s ORDER BY %s%s" % (
            self.COLUMNS, " AND ".join(terms), order, limit)
        return text.replace("TABLE_", "docs"), text.replace("TABLE_", "plain"), True

    def point(self):
        id = self.pick(*self.ids, 9999)
        what = self.pick(str(id), "'%d'" % id, "%d.0" % id, "%d.5" % id, "'x'", "NULL")
        text = "SELECT %s, vindex_to_json(%s) FROM TABLE_ d WHERE d.rowid = %s" % (
            self.COLUMNS, "d.embedding", what)
        return text.replace("TABLE_", "docs"), text.replace("TABLE_", "plain"), True

    def join(self):
        form, before, after = self.parts()
        shape = self.pick("%s JOIN o ON o.doc = d.rowid", "%s CROSS JOIN o ON o.doc = d.rowid",
                          "%s JOIN o ON o.lang = d.lang", "%s, o")
        swap = self.chance(0.3) and "CROSS" not in shape
        cond = self.pick("", " AND o.n > 100", " AND o.id < 4", " AND d.rowid = o.doc",
                         " AND o.x = d.price" if self.k is None else "")
        if self.k is not None and "lang" in shape:
            shape = "%s JOIN o ON o.doc = d.rowid"
        if "doc" not in shape and "lang" not in shape:
            cond += " AND o.id < 3"

        def build(is_a):
            item, terms = self.source(is_a, form, before)
            terms += self.after_terms(is_a, after)
            source = shape % item
            if swap and source.startswith(item + " JOIN o ON"):
                source = "o JOIN " + item + source[len(item + " JOIN o"):]
            return self.fill("SELECT o.id, d.rowid, d.lang, {S} FROM %s WHERE %s%s" % (
                source, " AND ".join(terms) or "1", cond), is_a)
        a, b = self.pair(build)
        return a, b, False

    def join_each(self):
        """With k and a metadata term on the other table: k for each of its rows."""
        form, before, after = self.parts()
        terms = ["@.lang = o.lang", "@.year = o.n", "@.year >= o.n", "@.tag > o.lang", "@.price < o.n",
                 "@.lang = o.n", "@.tag != o.lang", "@.tag IS NOT o.lang", "@.lang != o.n"]
        if self.k is None:
            terms += ["@.lang = o.x", "@.lang >= o.n", "@.lang < o.n", "@.tag > o.x", "@.lang > o.x",
                      "@.lang != o.x"]
        before = before + [self.random.choice(terms)]
        order = self.pick("o, {T}", "{T}, o", "o JOIN {T}", "o CROSS JOIN {T}", "{T} JOIN o")

        def build(is_a):
            item, terms = self.source(is_a, form, before)
            terms += self.after_terms(is_a, after)
            text = "SELECT o.id, d.rowid, d.year, {S} FROM %s WHERE %s" % (
                order.replace("{T}", item), " AND ".join(terms))
            return self.fill(text, is_a)
        a, b = self.pair(build)
        return a, b, False

    def left_join(self):
        form, before, _ = self.parts(False)
        form = form if form not in (2, 3) else 0
        on = self.pick("", " AND d.rowid = o.doc", " AND d.lang = o.lang" if self.k is None else "")

        def build(is_a):
            item, terms = self.source(is_a, form, before)
            return self.fill("SELECT o.id, d.rowid, d.tag, {S} FROM o LEFT JOIN %s ON %s%s WHERE o.id < 5" % (
                item, " AND ".join(terms), on), is_a)
        a, b = self.pair(build)
        return a, b, False

    def inner(self, is_a, form, before, after, tail, columns):
        item, terms = self.source(is_a, form, before)
        terms += self.after_terms(is_a, after)
        return self.fill("SELECT %s FROM %s WHERE %s%s" % (columns, item, " AND ".join(terms) or "1", tail),
                         is_a)

    def nested(self):
        form, before, after = self.parts()
        tail, _ = self.tail(self.ORDERS[:2])
        shape = self.pick(
            "SELECT t.id, t.s, o.id FROM ({I}) t JOIN o ON o.doc = t.id",
            "WITH t AS ({I}) SELECT id, s, (SELECT count(*) FROM o WHERE o.doc = t.id) FROM t",
            "WITH t AS MATERIALIZED ({I}) SELECT t.id, o.lang FROM t LEFT JOIN o ON o.doc = t.id",
            "SELECT p.rowid, p.lang FROM plain p WHERE p.rowid IN (SELECT id FROM ({I}))",
            "SELECT id, s FROM ({I}) WHERE s > 0.5 ORDER BY id",
            "SELECT count(*), min(s), max(id) FROM ({I})",
            "SELECT id, s FROM ({I}) LIMIT 100000",
            "SELECT o.id, (SELECT max(t.s) FROM ({I}) t WHERE t.id < o.id * 10) FROM o")

        def build(is_a):
            return shape.replace("{I}", self.inner(is_a, form, before, after, tail,
                                                   "d.rowid AS id, {S} AS s, d.lang AS lang"))
        a, b = self.pair(build)
        return a, b, False

    def compound(self):
        form, before, after = self.parts()
        tail, _ = self.tail(self.ORDERS[:2])
        op = self.pick("UNION", "UNION ALL", "EXCEPT", "INTERSECT")
        right = self.pick("SELECT doc, 0.5 FROM o", "SELECT rowid, NULL FROM plain WHERE year > 2001")

        def build(is_a):
            inner = self.inner(is_a, form, before, after, tail, "d.rowid AS id, {S} AS s")
            return "SELECT * FROM (%s) %s %s" % (inner, op, right)
        a, b = self.pair(build)
        return a, b, False

    def grouped(self):
        form, before, after = self.parts()
        columns, rest, ordered = self.pick(
            ("DISTINCT d.lang", "", False), ("DISTINCT {S}", "", False), ("DISTINCT {S}", " ORDER BY 1", True),
            ("d.lang, count(*), min({S})", " GROUP BY d.lang", False),
            ("d.year, max({S})", " GROUP BY d.year HAVING count(*) > 1", False),
            ("count(*), sum(d.rowid)", "", True), ("min({S}), max({M})", "", True),
            ("{S}, count(*)", " GROUP BY {S}", False),
            ("d.rowid, row_number() OVER (ORDER BY {S}, d.rowid)", "", False),
            ("d.rowid, sum({S}) OVER (PARTITION BY d.tag ORDER BY d.rowid)", "", False),
            ("d.rowid, rank() OVER (ORDER BY {S})", " ORDER BY {S}, d.rowid", True))

        def build(is_a):
            return self.inner(is_a, form, before, after, rest, columns)
        a, b = self.pair(build)
        return a, b, ordered

    def correlated(self):
        """A query asked for each row of another table."""
        form, before, after = self.parts()
        limit = self.pick(1, 3)

        def build(is_a):
            inner = self.inner(is_a, form, before, after,
                               " AND d.rowid > o.id ORDER BY {S}, d.rowid LIMIT %d" % limit, "{S} AS s")
            return "SELECT o.id, (SELECT group_concat(s) FROM (%s)) FROM o WHERE o.id < 5" % inner
        a, b = self.pair(build)
        return a, b, False


def run(db, sql, parameters, is_oracle=False):
    """Automatic indexes lose rows of `x IS ? COLLATE RTRIM` in a join (SQLite 3.40.1): none for the oracle."""
    db.execute("PRAGMA automatic_index = %d" % (not is_oracle))
    try:
        return db.execute(sql, parameters).fetchall()
    except sqlite3.Error as error:
        return "error: %s" % error


def same(a, b, ordered):
    if isinstance(a, str) or isinstance(b, str):
        return False
    if not ordered:
        a, b = sorted(a, key=repr), sorted(b, key=repr)
    return repr(a) == repr(b)


def main():
    extension, n, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dump = open(sys.argv[4], "w") if len(sys.argv) > 4 else None
    generator = Generator(seed)
    done = wrong = n_rows = n_coded = 0
    while done < n:
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.enable_load_extension(True)
        db.load_extension(extension)
        setup = generator.setup()
        for sql in setup:
            db.execute(sql)
        if dump:
            dump.write(json.dumps({"setup": setup}) + "\n")
        if generator.is_large:
            n_coded += 1
            coded, = db.execute("SELECT value FROM vindex_stats('docs') WHERE name = 'n_coded'").fetchone()
            assert coded > 4000, coded
        for _ in range(min(60 if generator.is_large else 200, n - done)):
            a, b, ordered = generator.case()
            done += 1
            if dump:
                dump.write(json.dumps({"a": a, "b": b, "ordered": ordered, "parameters": generator.parameters}) + "\n")
            got, expected = run(db, a, generator.parameters), run(db, b, generator.parameters, True)
            n_rows += len(expected)
            if not same(got, expected, ordered):
                wrong += 1
                if wrong <= 5:
                    print("seed %d, statement %d\n  A %s\n  B %s\n  with %s\n  got      %s\n  expected %s" % (
                        seed, done, a, b, generator.parameters, str(got)[:600], str(expected)[:600]))
        db.execute("INSERT INTO docs(docs) VALUES('integrity-check')")
        db.close()
    print("SQLite %s, seed %d: %d statements, %d rows, %d tables with codes, %d differ" % (
        sqlite3.sqlite_version, seed, done, n_rows, n_coded, wrong))
    sys.exit(1 if wrong else 0)


main()
