"""FAISS, multiplying matrices with the instructions that the processor has.

The OpenBLAS in its wheels (0.3.15) knows no processor that is newer than itself and takes it for a Pentium 4, so it is
told; and FAISS leaves queries of together fewer than 128,000 numbers to a loop of its own, which is slower then.
"""

import os
from typing import Any

import numpy as np

__all__ = ["faiss"]

CORE = "OPENBLAS_CORETYPE"  # read once, when the library is loaded
# For which processor OpenBLAS has code that uses such instructions; NumPy names them otherwise since 2.4.
CORES = [({"X86_V4"}, "SkylakeX"), ({"AVX512_SKX"}, "SkylakeX"), ({"X86_V3"}, "Haswell"), ({"AVX2", "FMA3"}, "Haswell")]
THRESHOLD = 10_000  # numbers: 26 vectors of 384


def core_type() -> str | None:
    """Return the processor that OpenBLAS is to be told; None if it may look for itself."""
    try:
        config: Any = np.show_config(mode="dicts")
    except TypeError:  # of a NumPy that was built in the old way
        return None
    found = set(config.get("SIMD Extensions", {}).get("found", ()))  # which is not there if none was
    return next((core for names, core in CORES if names <= found), None)


_core = None if CORE in os.environ else core_type()
if _core:
    os.environ[CORE] = _core
try:
    import faiss
finally:
    if _core:
        del os.environ[CORE]  # nothing else is meant by it
# Before 1.15 it was 20 vectors.
faiss.cvar.distance_compute_blas_threshold = min(THRESHOLD, faiss.cvar.distance_compute_blas_threshold)


def _compute_alone() -> None:
    """Have FAISS use one thread in a forked child: it would wait for threads that only the parent has."""
    faiss.omp_set_num_threads(1)


os.register_at_fork(after_in_child=_compute_alone)
