#!/usr/bin/python3
"""compare_faiss.py - vindex eval and faiss.IndexFlat on the same data, interleaved in one run.

    /usr/bin/python3 tests/bench/compare_faiss.py VINDEX INDEX.vdx BASE QUERIES TRUTH [--metric l2] [--batch 1000]
                     [--threads 1] [--rounds 5] [--limit 10000]

Needs Debian's python3-faiss and python3-numpy. Files: .fvecs, .bvecs or idx, .gz of each. Prints one line a peer:
median queries/s over the rounds, recall@k beside it, and the ratio.
"""
import argparse
import gzip
import json
import statistics
import subprocess
import time

import faiss
import numpy as np


def read_bytes(path):
    opened = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")
    with opened as file:
        return file.read()


def read_vectors(path):
    raw = np.frombuffer(read_bytes(path), dtype=np.uint8)
    name = path[:-3] if path.endswith(".gz") else path
    if name.endswith("idx3-ubyte"):
        n, height, width = raw[4:16].view(">i4")
        return raw[16:].reshape(n, height * width).astype(np.float32)
    dim = int(raw[:4].view("<i4")[0])
    if name.endswith(".bvecs"):
        return raw.reshape(-1, 4 + dim)[:, 4:].astype(np.float32)
    rows = raw.view("<i4").reshape(-1, 1 + dim)[:, 1:]
    return np.ascontiguousarray(rows if name.endswith(".ivecs") else rows.view("<f4"))


def recall(found, truth, k):
    return float(np.mean([len(np.intersect1d(f[:k], t[:k])) / k for f, t in zip(found, truth)]))


def run_faiss(index, queries, k, batch):
    found = np.empty((len(queries), k), dtype=np.int64)
    start = time.perf_counter()
    for i in range(0, len(queries), batch):
        found[i:i + batch] = index.search(queries[i:i + batch], k)[1]
    return len(queries) / (time.perf_counter() - start), found


def run_vindex(args):
    command = [args.vindex, "eval", args.index, "-q", args.queries, "-g", args.truth, "-k", str(args.k),
               "--recall", "1", "--batch", str(args.batch), "--threads", str(args.threads),
               "--limit", str(args.limit), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    for name in ("vindex", "index", "base", "queries", "truth"):
        parser.add_argument(name)
    parser.add_argument("--metric", choices=("l2", "ip", "cosine"), default="l2")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=10000)
    parser.add_argument("-k", type=int, default=10)
    args = parser.parse_args()

    faiss.omp_set_num_threads(args.threads)
    base, queries = read_vectors(args.base), read_vectors(args.queries)[:args.limit]
    truth = read_vectors(args.truth)[:args.limit]
    if args.metric == "cosine":
        base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
    index = (faiss.IndexFlatL2 if args.metric == "l2" else faiss.IndexFlatIP)(base.shape[1])
    index.add(np.ascontiguousarray(base, dtype=np.float32))

    theirs, ours, line = [], [], {}
    for _ in range(args.rounds):
        qps, found = run_faiss(index, queries, args.k, args.batch)
        theirs.append(qps)
        line = run_vindex(args)
        ours.append(line["qps"])
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"faiss {faiss.__version__} IndexFlat: {b:.0f} queries/s, recall@{args.k} {recall(found, truth, args.k):.4f}")
    print(f"vindex ({line['isa']}; {line['plan']}): {a:.0f} queries/s, recall@{args.k} {line['recall']:.4f}")
    print(f"ratio {a / b:.2f} (batch {args.batch}, {args.threads} threads, medians of {args.rounds})")


if __name__ == "__main__":
    main()
