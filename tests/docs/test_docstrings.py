"""The examples in docstrings run and print what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import recommender

PACKAGE = recommender.__path__[0]
MODULES = sorted(
    ".".join(("recommender", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in Path(PACKAGE).rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module, root, monkeypatch):
    monkeypatch.chdir(root)  # examples name index/examples
    failed, attempted = doctest.testmod(importlib.import_module(module))
    assert attempted
    assert not failed
