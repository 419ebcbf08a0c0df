#!/usr/bin/python3
"""peers.py - vindex beside faiss.IndexFlat and hnswlib: same data, same run, interleaved; a table and a plot.

    /usr/bin/python3 tests/bench/peers.py BUILD SET [--data DIR] [--work DIR] [--rounds 3] [--queries 1000]
                     [--ef 10,20,40,80,160,320] [--recall 0.9,0.95,0.99,1] [--batch 1000] [--out PREFIX] [--no-hnsw]

SET: photo-sift-128, mnist-784, trivia-lsa-256, w2v-gnews-300 or w2v-gnews-300-ip (from DIR), or clusters-N (made here:
N x 128, `bench_clusters`). BUILD: a release build with the targets vindex, bench_clusters and bench_hnswlib. Debian's
python3-faiss, python3-numpy and libhnswlib-dev. One thread each. --queries of the queries, drawn at random, are asked; vindex learns from the
others (`vindex optimize --queries`), never from those asked. Graphs, indexes and made data are kept in --work for the next run.

Writes PREFIX.md (the table) and PREFIX.svg (recall against queries/s) and prints the table.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import time

import faiss
import numpy as np

from compare_faiss import read_vectors, recall, run_faiss

SETS = {  # name: (folder, base, queries, truth, metric)
    "photo-sift-128": ("photo-sift-128", "base.bvecs.gz", "queries.bvecs.gz", "gt-l2.ivecs", "l2"),
    "mnist-784": ("mnist-784", "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz", "gt-l2.ivecs", "l2"),
    "trivia-lsa-256": ("trivia-lsa-256", "base.fvecs", "queries.fvecs", "gt-cos.ivecs", "cosine"),
    "w2v-gnews-300": ("w2v-gnews-300", "base.fvecs", "queries.fvecs", "gt-cos.ivecs", "cosine"),
    "w2v-gnews-300-ip": ("w2v-gnews-300", "base.fvecs", "queries.fvecs", "gt-ip.ivecs", "ip"),
}
COLOURS = ["#1b6ca8", "#c1440e", "#3f7d20", "#7d3c98", "#555555"]


def read_fbin(path):
    n, dim = np.fromfile(path, dtype="<i4", count=2)
    return np.fromfile(path, dtype="<f4", offset=8).reshape(n, dim)


def write_fbin(path, rows):
    with open(path, "wb") as file:
        np.array(rows.shape, dtype="<i4").tofile(file)
        np.ascontiguousarray(rows, dtype="<f4").tofile(file)


def write_ivecs(path, rows):
    np.hstack([np.full((len(rows), 1), rows.shape[1]), rows]).astype("<i4").tofile(path)


def load(args, work):
    """base, queries, truth, metric."""
    if args.set.startswith("clusters-"):
        prefix = os.path.join(work, args.set)
        if not os.path.exists(prefix + ".truth.ivecs"):
            subprocess.run([os.path.join(args.build, "bench", "bench_clusters"), prefix, "--n", args.set[9:]],
                           check=True)
        return (read_fbin(prefix + ".base.fbin"), read_fbin(prefix + ".query.fbin"),
                read_vectors(prefix + ".truth.ivecs"), "l2")
    folder, base, queries, truth, metric = SETS[args.set]
    return tuple(read_vectors(os.path.join(args.data, folder, name)) for name in (base, queries, truth)) + (metric,)


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


class Files:
    """The data as the programs read them."""

    def __init__(self, work, name, base, asked, others, truth):
        self.base, self.asked, self.others, self.truth, self.index, self.graph = (
            os.path.join(work, name + end) for end in
            (".rows.fbin", ".asked.fbin", ".others.fbin", ".asked.ivecs", ".vdx", ".hnsw"))
        if not os.path.exists(self.base):
            write_fbin(self.base, base)
        write_fbin(self.asked, asked)
        write_fbin(self.others, others)
        write_ivecs(self.truth, truth)


def build_vindex(vindex, files, metric, fresh):
    if os.path.exists(files.index) and not fresh:
        return 0.0
    for path in (files.index, files.index + "-lock"):
        if os.path.exists(path):
            os.remove(path)
    start = time.perf_counter()
    subprocess.run([vindex, "build", "-i", files.base, "-o", files.index, "--metric", metric], check=True,
                   stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    subprocess.run([vindex, "optimize", files.index, "--queries", files.others], check=True,
                   stdout=subprocess.DEVNULL)
    return seconds


def run_vindex(vindex, files, k, targets, batch):
    command = [vindex, "eval", files.index, "-q", files.asked, "-g", files.truth, "-k", str(k), "--recall", targets,
               "--batch", str(batch), "--threads", "1", "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def run_hnswlib(program, files, k, metric, ef):
    space = "l2" if metric == "l2" else "ip"
    command = [program, files.base + ".peer", files.asked + ".peer", files.truth, space, files.graph, str(k), "16",
               "200", "2"] + ef.split(",")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def plot(path, title, series):
    """Recall against queries/s, both logarithmic: 1 - recall from right to left."""
    width, height, left, bottom = 720, 460, 70, 50
    points = [p for _, line in series for p in line]
    floor = min([1 - r for r, _ in points if r < 1] + [0.01]) / 3
    x0, x1 = math.log10(max(0.5, max(1 - r for r, _ in points))), math.log10(floor)
    y0 = math.floor(math.log10(min(q for _, q in points)))
    y1 = math.ceil(math.log10(max(q for _, q in points)))

    def at(r, q):
        x = (math.log10(max(1 - r, floor)) - x0) / (x1 - x0)
        y = (math.log10(q) - y0) / max(y1 - y0, 1)
        return left + x * (width - left - 20), height - bottom - y * (height - bottom - 40)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           f'font-size="12">', f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="22" font-size="14">{title}</text>']
    for r in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999):
        if floor <= 1 - r <= 10 ** x0 * 1.001:
            x, _ = at(r, 10 ** y0)
            out.append(f'<path d="M{x:.1f} 40V{height - bottom}" stroke="#ddd"/>'
                       f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{r}</text>')
    x, _ = at(1, 10 ** y0)
    out.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">1</text>')
    for e in range(y0, y1 + 1):
        _, y = at(0.5, 10 ** e)
        out.append(f'<path d="M{left} {y:.1f}H{width - 20}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10 ** e:,}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">recall@10</text>'
               f'<text x="16" y="{height / 2}" transform="rotate(-90 16 {height / 2})" '
               f'text-anchor="middle">queries/s, one thread</text>')
    for i, (name, line) in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        spots = [at(r, q) for r, q in sorted(line)]
        out.append(f'<polyline fill="none" stroke="{colour}" points="'
                   + " ".join(f"{x:.1f},{y:.1f}" for x, y in spots) + '"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in spots]
        out.append(f'<rect x="{left + 12}" y="{46 + 18 * i}" width="10" height="10" fill="{colour}"/>'
                   f'<text x="{left + 28}" y="{55 + 18 * i}">{name}</text>')
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n</svg>\n")


class Table:
    def __init__(self):
        self.speeds, self.facts = {}, {}

    def add(self, key, qps, recall_at_k, more=""):
        self.speeds.setdefault(key, []).append(qps)
        self.facts[key] = (recall_at_k, more)

    def rows(self):
        for key, speeds in self.speeds.items():
            yield key, statistics.median(speeds), *self.facts[key]


def write_report(args, metric, n, dim, builds, table):
    lines = [f"### {args.set}: {n:,} x {dim}, {metric}, k = {args.k}, one thread, medians of {args.rounds}", "",
             "| what | batch | queries/s | recall@%d | how |" % args.k, "|---|---:|---:|---:|---|"]
    series = {}
    for (name, batch, _), qps, found, more in table.rows():
        lines.append(f"| {name} | {batch} | {qps:,.0f} | {found:.4f} | {more} |")
        series.setdefault(f"{name}, batch {batch}", []).append((found, qps))
    lines += ["", "Builds: " + "; ".join(f"{name} {seconds:.1f} s" for name, seconds in builds if seconds) + "."]
    text = "\n".join(lines)
    print(text)
    if args.out:
        with open(args.out + ".md", "w") as file:
            file.write(text + "\n")
        plot(args.out + ".svg", f"{args.set}: {n:,} x {dim}, {metric}", list(series.items()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("set")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--work", default="peers-work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--ef", default="10,20,40,80,160,320")
    parser.add_argument("--recall", default="0.9,0.95,0.99,1")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--out")
    parser.add_argument("--no-hnsw", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="build the vindex index again")
    parser.add_argument("-k", type=int, default=10)
    args = parser.parse_args()

    os.makedirs(args.work, exist_ok=True)
    base, queries, truth, metric = load(args, args.work)
    order = np.random.default_rng(1).permutation(len(queries))  # files may hold one law first, then another
    queries, truth = queries[order], truth[order]
    n_asked = min(args.queries, len(queries) // 2)
    asked, truth = queries[:n_asked], truth[:n_asked]
    files = Files(args.work, args.set, base, asked, queries[n_asked:], truth)
    vindex = os.path.join(args.build, "bin", "vindex")
    builds = [("vindex", build_vindex(vindex, files, metric, args.fresh))]

    faiss.omp_set_num_threads(1)
    rows, question = (unit(base), unit(asked)) if metric == "cosine" else (base, asked)
    rows, question = (np.ascontiguousarray(a, dtype=np.float32) for a in (rows, question))
    flat = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(base.shape[1])
    flat.add(rows)
    if not args.no_hnsw:
        write_fbin(files.base + ".peer", rows)
        write_fbin(files.asked + ".peer", question)

    table = Table()
    for _ in range(args.rounds):
        for batch in (1, args.batch):
            some = question if batch > 1 else question[:min(100, n_asked)]
            qps, found = run_faiss(flat, some, args.k, batch)
            table.add(("faiss IndexFlat", batch, 0), qps, recall(found, truth, args.k), f"faiss {faiss.__version__}")
            for line in run_vindex(vindex, files, args.k, args.recall, batch):
                table.add(("vindex", batch, line["recall_target"]), line["qps"], line["recall"],
                          f"target {line['recall_target']}: {line['plan']}; {line['isa']}")
        if not args.no_hnsw:
            program = os.path.join(args.build, "bench", "bench_hnswlib")
            for line in run_hnswlib(program, files, args.k, metric, args.ef):
                table.add(("hnswlib", 1, line["ef"]), line["qps"], line["recall"], f"M=16, efConstruction=200, ef={line['ef']}")
                if line["build_s"]:
                    builds[1:] = [("hnswlib, two threads", line["build_s"])]
    write_report(args, metric, *base.shape, builds, table)


if __name__ == "__main__":
    main()
