"""Jupyter notebooks."""

import json

import pytest

from recommender.sources import Source

pytest.importorskip("nbformat")


def cell(kind, source):
    return {"cell_type": kind, "source": source, "metadata": {}} | (
        {"outputs": [{"output_type": "stream", "name": "stdout", "text": "printed"}], "execution_count": 1}
        if kind == "code"
        else {}
    )


def read(folder, notebook):
    (folder / "planks.ipynb").write_text(notebook if isinstance(notebook, str) else json.dumps(notebook))
    (entry,) = Source(folder)
    return entry


def test_the_markdown_cells_are_the_article(tmp_path):
    cells = [
        cell("raw", "---\ntags: [wood]\ndate: 2026-03-05\n---"),
        cell("markdown", ["# Planks\n", "\n", "We count **planks**."]),
        cell("code", "secret = 1"),
        cell("markdown", "And [the mill](https://mill.example/)."),
    ]
    entry = read(tmp_path, {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    article = entry.article
    assert (article.id, article.title, article.tags) == ("planks.ipynb", "Planks", ("wood",))
    assert article.text == "We count planks.\n\nAnd the mill."
    assert (article.url, article.links) == ("/planks/", ("https://mill.example/",))


@pytest.mark.parametrize(
    "notebook",
    [
        {
            "cells": [{"cell_type": "markdown", "source": "# T\n\nText."}, {"cell_type": "code", "source": ""}],
            "nbformat": 4,
        },
        {"worksheets": [{"cells": [{"cell_type": "markdown", "source": "# T\n\nText."}]}], "nbformat": 3},
    ],
)
def test_old_and_incomplete_notebooks_are_read(tmp_path, notebook):
    article = read(tmp_path, notebook).article
    assert (article.title, article.text) == ("T", "Text.")


@pytest.mark.parametrize("notebook", ["", "{", "[]", "{}", '{"cells": 1, "nbformat": 4}', '{"nbformat": "x"}'])
def test_a_damaged_notebook_is_skipped(tmp_path, notebook):
    entry = read(tmp_path, notebook)
    assert entry.article is None
    assert entry.problems
