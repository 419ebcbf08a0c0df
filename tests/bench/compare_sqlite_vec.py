#!/usr/bin/python3
"""compare_sqlite_vec.py - exact queries of a vindex table and of sqlite-vec's vec0, in turns in one process.

    /usr/bin/python3 tests/bench/compare_sqlite_vec.py VINDEX_EXT VEC0_EXT [--rows 100000] [--dim 384] [--k 10]
                     [--queries 40] [--rounds 3] [--metric l2]

VEC0_EXT comes from `npm install sqlite-vec@0.1.9` (node_modules/sqlite-vec-linux-x64/vec0.so). Needs python3-numpy. Clustered
rows of unit length; both tables in one database in memory. Prints a line a peer, with recall@k against float64 sums,
and the ratio of the medians.
"""
import argparse
import sqlite3
import statistics
import time

import numpy as np


def make_rows(n, dim, rng, centers):
    rows = centers[rng.integers(len(centers), size=n)] + 0.35 * rng.standard_normal((n, dim)) / np.sqrt(dim)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def connect(extensions):
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.enable_load_extension(True)
    for extension in extensions:
        db.load_extension(extension)
    return db


def fill(db, table, column, rows):
    start = time.perf_counter()
    db.execute("BEGIN")
    db.executemany("INSERT INTO %s(rowid, %s) VALUES(?, ?)" % (table, column),
                   ((i + 1, row.tobytes()) for i, row in enumerate(rows)))
    db.execute("COMMIT")
    return time.perf_counter() - start


def ask(db, sql, query, k):
    start = time.perf_counter()
    rows = db.execute(sql, (query, k)).fetchall()
    return time.perf_counter() - start, [id - 1 for id, _ in rows]


def scores(rows, query, metric):
    if metric == "cosine":
        return 1 - rows.astype(np.float64) @ query.astype(np.float64) / (
            np.linalg.norm(rows.astype(np.float64), axis=1) * np.linalg.norm(query.astype(np.float64)))
    return np.linalg.norm(rows.astype(np.float64) - query.astype(np.float64), axis=1)


def recall(rows, query, found, k, metric):
    """The share of hits that are not worse than the true k-th by more than 1e-6 relative."""
    truth = scores(rows, query, metric)
    worst = np.partition(truth, k - 1)[k - 1]
    return float(np.mean(truth[found] <= worst + 1e-6 * abs(worst))) * len(found) / k


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vindex")
    parser.add_argument("vec0")
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    for name, value in (("rows", 100000), ("dim", 384), ("k", 10), ("queries", 40), ("rounds", 3)):
        parser.add_argument("--" + name, type=int, default=value)
    args = parser.parse_args()

    rng = np.random.default_rng(1)
    centers = rng.standard_normal((200, args.dim)) / np.sqrt(args.dim)
    rows, queries = make_rows(args.rows, args.dim, rng, centers), make_rows(args.queries, args.dim, rng, centers)
    db = connect((args.vindex, args.vec0))
    db.execute("CREATE VIRTUAL TABLE ours USING vindex(v FLOAT[%d] metric=%s)" % (args.dim, args.metric))
    db.execute("CREATE VIRTUAL TABLE theirs USING vec0(v float[%d] distance_metric=%s)" % (
        args.dim, args.metric))
    peers = {"vindex " + db.execute("SELECT vindex_version()").fetchone()[0]:
                 ("ours", "SELECT rowid, score FROM ours WHERE v MATCH ? AND k = ? AND recall = 1"),
             "sqlite-vec " + db.execute("SELECT vec_version()").fetchone()[0]:
                 ("theirs", "SELECT rowid, distance FROM theirs WHERE v MATCH ? AND k = ?")}
    built = {name: fill(db, table, "v", rows) for name, (table, _) in peers.items()}
    times, found = {name: [] for name in peers}, {name: {} for name in peers}
    for name, (_, sql) in peers.items():  # once each, to warm up
        ask(db, sql, queries[0].tobytes(), args.k)
    for _ in range(args.rounds):
        for i, query in enumerate(queries):
            for name, (_, sql) in peers.items():
                elapsed, found[name][i] = ask(db, sql, query.tobytes(), args.k)
                times[name].append(elapsed)
    medians = {}
    for name in peers:
        medians[name] = statistics.median(times[name])
        share = statistics.mean(recall(rows, q, found[name][i], args.k, args.metric) for i, q in enumerate(queries))
        print("%s: %.2f ms (p10 %.2f), recall@%d %.4f, built in %.1f s" % (
            name, 1000 * medians[name], 1000 * np.percentile(times[name], 10), args.k, share, built[name]))
    ours, theirs = medians.values()
    print("ratio %.2f (%d x %d, %s, SQLite %s, medians of %d queries in turns)" % (
        theirs / ours, args.rows, args.dim, args.metric, sqlite3.sqlite_version, len(times[name])))


main()
