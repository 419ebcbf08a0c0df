"""topk_numpy.py - vindex_topk beside numpy's argpartition and a sort of the k it leaves, on the same arrays.

    python3 tests/bench/topk_numpy.py build/lib/libvindex.so [len] [k]

In turns, medians of the thread's own time. One JSON line.
"""
import ctypes
import json
import sys
import time

import numpy as np


class Options(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_uint32) for name in ("struct_size", "flags", "type", "algo", "nan")]
        + [("recall", ctypes.c_float)]
        + [(name, ctypes.c_int64) for name in ("rows", "len", "k", "in_stride", "id_stride",
                                               "out_stride", "input_size_override", "bins")]
        + [(name, ctypes.c_uint32) for name in ("per_bin", "lanes", "cutoff", "rows_per_block",
                                                "n_depths")]
        + [("depths", ctypes.c_uint32 * 8), ("reserved", ctypes.c_uint32),
           ("pool", ctypes.c_void_p)])


class Plan(ctypes.Structure):
    _fields_ = (
        [("struct_size", ctypes.c_uint32), ("algo", ctypes.c_uint32)]
        + [("out_len", ctypes.c_int64), ("bins", ctypes.c_int64)]
        + [("per_bin", ctypes.c_uint32), ("log2_reduction", ctypes.c_int32)]
        + [(name, ctypes.c_double) for name in ("expected_recall", "bound_recall", "cost_ns")]
        + [(name, ctypes.c_uint64) for name in ("workspace_bytes", "fixed_bytes", "row_bytes")]
        + [("lanes", ctypes.c_uint32), ("n_depths", ctypes.c_uint32),
           ("depths", ctypes.c_uint32 * 9), ("reserved", ctypes.c_uint32)])


class Output(ctypes.Structure):
    _fields_ = ([("struct_size", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]
                + [(name, ctypes.c_void_p) for name in ("values", "ids", "counts", "stop_depths",
                                                        "is_proven")])


def numpy_topk(x, k):
    best = np.argpartition(-x, k)[:k]
    return best[np.argsort(-x[best], kind="stable")]


def timed(function, repeats):
    start = time.thread_time()
    for _ in range(repeats):
        function()
    return (time.thread_time() - start) / repeats


def main():
    library = ctypes.CDLL(sys.argv[1])
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 131072
    k = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    x = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    ids, values = np.empty(k, np.int64), np.empty(k, np.float32)
    options = Options(struct_size=ctypes.sizeof(Options), rows=1, len=n, k=k)
    plan = Plan(struct_size=ctypes.sizeof(Plan))
    output = Output(struct_size=ctypes.sizeof(Output), values=values.ctypes.data,
                    ids=ids.ctypes.data)
    assert library.vindex_topk_make_plan(ctypes.byref(options), ctypes.byref(plan)) == 0
    workspace = np.empty(plan.workspace_bytes, np.uint8)
    call = [ctypes.byref(options), ctypes.c_void_p(x.ctypes.data), None, None,
            ctypes.byref(output), ctypes.c_void_p(workspace.ctypes.data),
            ctypes.c_uint64(plan.workspace_bytes)]
    assert library.vindex_topk(*call) == 0
    assert (ids == numpy_topk(x, k)).all()
    ours, theirs = [], []
    for _ in range(15):
        ours.append(timed(lambda: library.vindex_topk(*call), 200))
        theirs.append(timed(lambda: numpy_topk(x, k), 5))
    us, them = np.median(ours) * 1e6, np.median(theirs) * 1e6
    print(json.dumps({"bench": "topk_numpy", "len": n, "k": k, "numpy": np.__version__,
                      "vindex_us": round(us, 1), "numpy_us": round(them, 1),
                      "speedup": round(them / us, 1)}))


if __name__ == "__main__":
    main()
