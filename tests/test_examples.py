"""The examples and their committed index."""

import shutil
import subprocess

import numpy as np
import pytest

from recommender import Recommender
from recommender.embedding.encoder import DEFAULT_MODEL
from recommender.sources import Source
from recommender.store import LocalStore


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """The examples, built afresh beside a copy of them, as `index/examples` is beside `examples`."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(root / "examples", folder / "examples")
    with Recommender(folder / "index" / "examples", model=DEFAULT_MODEL) as rec:  # the same on every processor
        rec.build(folder / "examples")
    return folder / "index" / "examples"


def settings(path):
    # Leave out values that depend on the versions of Python and the libraries.
    return {name: value for name, value in LocalStore(path).settings().items() if name not in ("last_build", "lexical")}


def test_every_page_is_read_in_full(root):
    entries = list(Source(root / "examples"))
    assert 60 <= len(entries) <= 100
    for entry in entries:
        article = entry.article
        assert article, entry
        assert entry.problems == ()
        assert article.section
        assert article.section.lower() == article.id.split("/")[0]
        assert article.published
        assert article.text.count("\n\n") >= 3
        assert not article.text.startswith(article.title)


def test_every_editorial_link_leads_to_an_example(root):
    with Recommender(root / "index" / "examples") as rec:
        links = rec.info()["editorial_links"]
        titles = {article.title for article in rec}
        for article in rec:
            assert set(article.related) <= titles - {article.title}, article.id
    assert links["total"] == links["matched"] > 150


def test_the_committed_index_equals_a_new_build(root, built):
    with Recommender(root / "index" / "examples") as committed, Recommender(built) as fresh:
        assert list(committed) == list(fresh)
        ours, theirs = settings(committed.path), settings(fresh.path)
        # Each processor has its own last digits.
        for name in ("mean", "deviation"):
            assert ours["scale"].pop(name) == pytest.approx(theirs["scale"].pop(name), abs=0.002)
        assert ours == theirs
        ids = [article.id for article in fresh]
        ours, theirs = (
            dict(zip(signals.ids, signals.vectors, strict=True))
            for signals in (LocalStore(rec.path).signals(ids) for rec in (committed, fresh))
        )
        for id in ids:
            cosine = ours[id] @ theirs[id] / np.linalg.norm(ours[id]) / np.linalg.norm(theirs[id])
            assert cosine > 0.999, id


def test_a_build_of_the_committed_index_would_change_nothing(root, tmp_path):
    shutil.copytree(root / "index" / "examples", tmp_path / "index" / "examples")
    shutil.copytree(root / "examples", tmp_path / "examples")
    with Recommender(tmp_path / "index" / "examples") as rec:
        report = rec.build(tmp_path / "examples", prune=True)
    assert (report.added, report.changed, report.embedded, report.removed, report.missing) == (0, 0, 0, 0, 0)


def test_blocks_stay_within_the_story(root):
    with Recommender(root / "index" / "examples") as rec:
        for id, names in {
            "culture/picture-framer-charged.txt": ("Grauven", "Brae House"),
            "sport/tarnwick-fans-launch-share-offer.txt": ("Tarnwick",),
        }.items():
            for link in rec.related(id, k=3, articles=True):
                assert any(name in link.article.title + link.article.text for name in names), (id, link.id)


def test_queries_to_the_committed_index_do_not_change_the_checkout(root):
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    state = ["git", "-C", str(root), "status", "--porcelain", "--ignored", "index"]
    before = subprocess.run(state, capture_output=True, check=True).stdout
    with Recommender(root / "index" / "examples") as rec:
        rec.related("culture/picture-framer-charged.txt")
        rec.info()
        list(rec.links(k=3))
    assert subprocess.run(state, capture_output=True, check=True).stdout == before
