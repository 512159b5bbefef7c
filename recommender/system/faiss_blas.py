"""Set-up of FAISS: matrix products with the processor's vector instructions.

The OpenBLAS in its wheels (0.3.15) takes processors newer than itself for a Pentium 4, so its core type is set from
NumPy's detection. FAISS computes products of fewer than 128,000 numbers in a loop of its own, which is slower then.
"""

import os
from typing import Any

import numpy as np

__all__ = ["faiss"]

CORE_VARIABLE = "OPENBLAS_CORETYPE"  # read once, when the library is loaded
# OpenBLAS's core type by NumPy's names of instruction sets, which changed in 2.4.
CORE_TYPES = [
    ({"X86_V4"}, "SkylakeX"),
    ({"AVX512_SKX"}, "SkylakeX"),
    ({"X86_V3"}, "Haswell"),
    ({"AVX2", "FMA3"}, "Haswell"),
]
MAX_BLAS_THRESHOLD = 10_000  # numbers: 26 vectors of 384


def openblas_core_type() -> str | None:
    """Return OpenBLAS's core type for this processor; None if OpenBLAS can detect it."""
    try:
        config: Any = np.show_config(mode="dicts")
    except TypeError:  # of a NumPy built with distutils
        return None
    instruction_sets = set(config.get("SIMD Extensions", {}).get("found", ()))  # the key is absent if there are none
    return next((core for names, core in CORE_TYPES if names <= instruction_sets), None)


_core = None if CORE_VARIABLE in os.environ else openblas_core_type()
if _core:
    os.environ[CORE_VARIABLE] = _core
try:
    import faiss
finally:
    if _core:
        del os.environ[CORE_VARIABLE]  # other libraries and processes have an OpenBLAS of their own
# The default was 20 vectors before FAISS 1.15.
faiss.cvar.distance_compute_blas_threshold = min(MAX_BLAS_THRESHOLD, faiss.cvar.distance_compute_blas_threshold)


def _use_one_thread() -> None:
    """Restrict FAISS to one thread in a forked process, which lacks the threads of the parent's pool."""
    faiss.omp_set_num_threads(1)


os.register_at_fork(after_in_child=_use_one_thread)
