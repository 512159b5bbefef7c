import os
import subprocess
import sys

import pytest

from recommender.blas import core_type


def computed_for(code, **environment):
    """Return for which processors the libraries of a new process compute that ran `code`, and what it printed."""
    code += "; import threadpoolctl; print(*(one.get('architecture') for one in threadpoolctl.threadpool_info()))"
    given = {**os.environ, **environment}
    run = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=given)
    *printed, last = run.stdout.splitlines()
    return set(last.split()) - {"None"}, printed


@pytest.mark.skipif(core_type() is None, reason="OpenBLAS looks for itself on this processor")
def test_faiss_computes_for_this_processor_and_the_environment_is_left_as_it_was():
    cores, printed = computed_for("import os, recommender.blas; print(os.environ.get('OPENBLAS_CORETYPE'))")
    assert core_type() in cores
    assert "Prescott" not in cores
    assert printed == ["None"]


def test_what_the_user_says_of_the_processor_holds():
    assert computed_for("import recommender.blas", OPENBLAS_CORETYPE="Nehalem") == ({"Nehalem"}, [])
