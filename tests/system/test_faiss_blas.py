import os
import subprocess
import sys

import pytest

from recommender.system.faiss_blas import openblas_core_type


def blas_architectures(code, **environment):
    """Return the architectures that the BLAS libraries of a new process use after running code, and its output."""
    code += "; import threadpoolctl; print(*(info.get('architecture') for info in threadpoolctl.threadpool_info()))"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=inherited | environment)
    *output, architectures = run.stdout.splitlines()
    return set(architectures.split()) - {"None"}, output


@pytest.mark.skipif(openblas_core_type() is None, reason="OpenBLAS detects this processor itself")
def test_faiss_computes_for_this_processor_and_leaves_the_environment_unchanged():
    architectures, output = blas_architectures(
        "import os, recommender.system.faiss_blas; print(os.environ.get('OPENBLAS_CORETYPE'))"
    )
    assert openblas_core_type() in architectures
    assert "Prescott" not in architectures
    assert output == ["None"]


@pytest.mark.skipif(openblas_core_type() is None, reason="OpenBLAS detects this processor itself")
def test_a_core_type_in_the_environment_is_used():
    assert blas_architectures("import recommender.system.faiss_blas", OPENBLAS_CORETYPE="Nehalem") == ({"Nehalem"}, [])


def test_openblas_detects_a_processor_without_vector_instructions(monkeypatch):
    for config in ({}, {"SIMD Extensions": {"baseline": ["SSE2"]}}, {"SIMD Extensions": {"found": ["FMA3"]}}):
        monkeypatch.setattr("numpy.show_config", lambda mode, config=config: config)
        assert openblas_core_type() is None
    monkeypatch.setattr("numpy.show_config", lambda mode: {"SIMD Extensions": {"found": ["AVX2", "FMA3", "AVX512F"]}})
    assert openblas_core_type() == "Haswell"
