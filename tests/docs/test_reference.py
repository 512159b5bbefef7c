"""The reference pages are those that docs/generate_reference.py writes from the code."""

import importlib.util

import pytest


@pytest.mark.parametrize("name", ["cli.md", "python.md"])
def test_the_committed_reference_is_that_of_the_code(root, name):
    spec = importlib.util.spec_from_file_location("generate_reference", root / "docs" / "generate_reference.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    committed = (root / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == generator.PAGES[name](), "Run `make docs-reference` and commit docs/reference."
