"""reStructuredText of Sphinx, Pelican and Nikola."""

from datetime import UTC, datetime

import pytest

from recommender.sources import Source

pytest.importorskip("docutils")

DOCUMENT = """\
=====================
Planks for the bridge
=====================

:date: 2026-03-05 10:00
:tags: wood, bridges
:category: Works
:author: Jo Marsh

The council met on the bridge, see :doc:`the ferry </news/ferry>` and :ref:`tides <tide-table>`. Call
:func:`~harbour.tides.high` or :class:`Tide`. It is ``literal`` and **bold**.

.. code-block:: python

   secret = 1

.. versionadded:: 3.1
   Steel planks.

.. tab-set::
   :sync-group: os

   .. tab-item:: Linux

      Nails of the tab.

.. toctree::
   :maxdepth: 2

   hidden

.. automodule:: harbour.hidden

.. include:: /etc/hostname

.. seealso:: :doc:`mills`

`Pier <pier.html>`_ and `Other <https://other.example/x>`_ are links, |version| is none.

.. _tide-table:

Tides
-----

High at noon.
"""


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_document_gives_every_field(tmp_path):
    write(tmp_path, "news/bridge.rst", DOCUMENT)
    for name in ("ferry", "mills", "pier"):
        write(tmp_path, f"news/{name}.rst", f"{name}\n=====\n\nText.\n")
    article = {entry.article.id: entry.article for entry in Source(tmp_path)}["news/bridge.rst"]
    assert (article.title, article.section, article.tags) == ("Planks for the bridge", "Works", ("wood", "bridges"))
    assert article.published == datetime(2026, 3, 5, 10, tzinfo=UTC)
    assert (article.url, article.metadata["author"]) == ("/news/bridge/", "Jo Marsh")
    assert article.text.startswith("The council met on the bridge, see the ferry and tides. Call high or Tide.")
    for words in ("literal and bold", "Steel planks.", "Nails of the tab.", "Tides", "High at noon."):
        assert words in article.text
    for words in ("secret", "hidden", "sync-group", "::", "Unknown", ":doc:", "problematic"):
        assert words not in article.text
    assert article.related == ("news/mills.rst",)
    assert article.links == ("news/ferry.rst", "news/pier.rst", "https://other.example/x")


@pytest.mark.parametrize(
    "text",
    [
        "Title\n====\n\nThe underline is too short.\n",
        "Title\n=====\n\n*unclosed and `unclosed\n",
        "Title\n=====\n\n.. nothing-known:: x\n   :option: 1\n\n   Text within.\n\n.. image:: no.png\n",
        "Title\n=====\n\n.. table:: broken\n\n   === ==\n   a b c\n",
        "Title\n=====\n\n:unknown:`role` and :a:b:`c <d>`\n",
    ],
)
def test_faults_of_a_document_cost_only_themselves(tmp_path, text):
    write(tmp_path, "a.rst", text)
    (entry,) = Source(tmp_path)
    assert entry.article.title == "Title"
    assert "System Message" not in entry.article.text


def test_a_document_without_title_takes_the_name_of_its_file(tmp_path):
    write(tmp_path, "high-tide.rst", "Only a paragraph.\n")
    (entry,) = Source(tmp_path)
    assert (entry.article.title, entry.article.text) == ("High tide", "Only a paragraph.")


def test_comments_at_the_top_are_the_fields_of_nikola(tmp_path):
    write(
        tmp_path,
        "a.rst",
        ".. title: The mill\n.. slug: mill\n.. date: 2026-03-05 09:00:00 UTC\n.. tags: rye\n\nIt turns.\n",
    )
    (entry,) = Source(tmp_path)
    assert (entry.article.title, entry.article.tags, entry.article.text) == ("The mill", ("rye",), "It turns.")
    assert entry.article.published == datetime(2026, 3, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first_line", "text"),
    [(".. _dam:", "Stones of the dam in the river."), (".. note:: Built twice.", "Built twice.")],
)
def test_targets_and_directives_at_the_top_are_no_fields(tmp_path, first_line, text):
    write(tmp_path, "a.rst", f"{first_line}\n\nDam\n===\n\nStones of the dam_ in the river.\n")
    (entry,) = Source(tmp_path)
    assert text in entry.article.text
    assert not entry.article.metadata


def test_a_link_to_another_site_keeps_its_ending(tmp_path):
    write(tmp_path, "a.rst", "Dam\n===\n\nStones of `a dam <https://example.org/dam.html>`_ in the river.\n")
    (entry,) = Source(tmp_path)
    assert entry.article.links == ("https://example.org/dam.html",)


def test_drafts_and_tables_of_contents_are_excluded(tmp_path):
    write(tmp_path, "draft.rst", "Draft\n=====\n\n:status: draft\n\nText.\n")
    write(tmp_path, "index.rst", "Manual\n======\n\nAll parts.\n\n.. toctree::\n   :maxdepth: 2\n\n   a\n   b\n")
    assert [bool(entry.excluded) for entry in Source(tmp_path)] == [True, True]


def test_the_roles_of_other_programs_in_the_process_stay(tmp_path):
    from docutils.parsers.rst import directives

    before = dict(directives._directives)
    write(tmp_path, "a.rst", DOCUMENT)
    list(Source(tmp_path))
    assert directives._directives == before


def test_documents_of_sphinx_have_the_addresses_of_its_html_builder(tmp_path):
    write(tmp_path, "docs/conf.py", "project = 'x'\nextensions = ['myst_parser']\n")
    write(tmp_path, "docs/guide/planks.rst", "Planks\n======\n\nText, see `the mill <mill.html>`__.\n")
    write(tmp_path, "docs/guide/mill.md", "# Mill\n\nText.\n")
    write(tmp_path, "docs/_templates/page.html", "<p>{{ body }}</p>")
    entries = list(Source(tmp_path / "docs"))
    assert {entry.article.id: entry.article.url for entry in entries if entry.article} == {
        "guide/planks.rst": "/guide/planks.html",
        "guide/mill.md": "/guide/mill.html",
    }
    assert next(entry.article for entry in entries if entry.where.endswith("planks.rst")).links == ("guide/mill.md",)


def test_dashes_of_sphinx_are_those_of_its_pages(tmp_path):
    text = 'gzip --- support for "gzip" files\n=================================\n\nPages 1--2.\n'
    write(tmp_path, "plain/gzip.rst", text)
    write(tmp_path, "sphinx/conf.py", "project = 'x'\nextensions = []\n")
    write(tmp_path, "sphinx/gzip.rst", text)
    (plain,) = Source(tmp_path / "plain")
    (sphinx,) = Source(tmp_path / "sphinx")
    assert plain.article.title == 'gzip --- support for "gzip" files'
    assert (sphinx.article.title, sphinx.article.text) == ("gzip — support for “gzip” files", "Pages 1–2.")
