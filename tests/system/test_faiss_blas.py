import os
import subprocess
import sys

import pytest

from recommender.system.faiss_blas import core_type


def computed_for(code, **environment):
    """Return for which processors the libraries of a new process compute that ran `code`, and what it printed."""
    code += "; import threadpoolctl; print(*(one.get('architecture') for one in threadpoolctl.threadpool_info()))"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    given = inherited | environment
    run = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=given)
    *printed, last = run.stdout.splitlines()
    return set(last.split()) - {"None"}, printed


@pytest.mark.skipif(core_type() is None, reason="OpenBLAS looks for itself on this processor")
def test_faiss_computes_for_this_processor_and_the_environment_is_left_as_it_was():
    cores, printed = computed_for(
        "import os, recommender.system.faiss_blas; print(os.environ.get('OPENBLAS_CORETYPE'))"
    )
    assert core_type() in cores
    assert "Prescott" not in cores
    assert printed == ["None"]


@pytest.mark.skipif(core_type() is None, reason="OpenBLAS looks for itself on this processor")
def test_what_the_user_says_of_the_processor_holds():
    assert computed_for("import recommender.system.faiss_blas", OPENBLAS_CORETYPE="Nehalem") == ({"Nehalem"}, [])


def test_a_processor_without_such_instructions_is_left_to_itself(monkeypatch):
    for config in ({}, {"SIMD Extensions": {"baseline": ["SSE2"]}}, {"SIMD Extensions": {"found": ["FMA3"]}}):
        monkeypatch.setattr("numpy.show_config", lambda mode, config=config: config)
        assert core_type() is None
    monkeypatch.setattr("numpy.show_config", lambda mode: {"SIMD Extensions": {"found": ["AVX2", "FMA3", "AVX512F"]}})
    assert core_type() == "Haswell"
