"""approx_max_k.py - recall and queries/s of jax.lax.approx_max_k (maximum inner product) on jax's default device.

Usage: approx_max_k.py BASE.fvecs QUERIES.fvecs TRUTH.ivecs K TARGETS BATCHES

The same arrays as vindex eval reads, in f32 at full precision; a call begins with queries on the host and ends
with values and indices there. Target 1 is jax.lax.top_k.
"""
import functools
import sys
import time

import jax
import numpy as np

base_path, queries_path, truth_path, k = sys.argv[1:4] + [int(sys.argv[4])]
targets = [float(word) for word in sys.argv[5].split(",")]
batches = [int(word) for word in sys.argv[6].split(",")]


def read_vecs(path, dtype):
    raw = np.fromfile(path, dtype=np.int32)
    rows = raw.reshape(-1, raw[0] + 1)[:, 1:]
    return np.ascontiguousarray(rows).view(dtype)


@functools.partial(jax.jit, static_argnames=("recall",))
def search(queries, base, recall):
    scores = jax.lax.dot_general(queries, base, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST)
    if recall >= 1:
        return jax.lax.top_k(scores, k)
    return jax.lax.approx_max_k(scores, k, recall_target=recall)


def call(queries, base, recall):
    values, found = search(jax.device_put(queries), base, recall)
    return np.asarray(values), np.asarray(found)


def main():
    base = jax.device_put(read_vecs(base_path, np.float32))
    all_queries, truth = read_vecs(queries_path, np.float32), read_vecs(truth_path, np.int32)[:, :k]
    for batch in batches:
        n = len(all_queries) if batch >= 64 else min(len(all_queries), 1000)
        queries = all_queries[: n // batch * batch]
        if not len(queries):
            continue
        for recall in targets:
            parts = [queries[i:i + batch] for i in range(0, len(queries), batch)]
            call(parts[0], base, recall)  # compiles
            began = time.perf_counter()
            found = np.concatenate([call(part, base, recall)[1] for part in parts])
            seconds = time.perf_counter() - began
            right = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth))
            print("%-16s %6g %6d  %-4s %8.4f %12.1f  jax.lax.%s on %s" % (
                "random-%d" % len(base), recall, batch, "jax", right / found.size, len(queries) / seconds,
                "top_k" if recall >= 1 else "approx_max_k", jax.devices()[0].device_kind), flush=True)


main()
