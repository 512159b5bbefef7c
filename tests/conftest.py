"""What the tests share. The real model is loaded once a session: `recommender.signals.dense` keeps it."""

import contextlib
import hashlib
import os
from pathlib import Path

import hypothesis
import pytest

from recommender import Article, Recommender

hypothesis.settings.register_profile("no timing limits", deadline=None)
hypothesis.settings.load_profile("no timing limits")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """What is synced shows after a loss of power only, which tests/torture plays in processes of its own."""
    from recommender.store import database

    opened = database.open_writer

    def open_writer(file: Path):
        connection = opened(file)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(database, "open_writer", open_writer)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def articles() -> list[Article]:
    """Six articles on two subjects."""
    texts = {
        "dam-1": ("River dam gates are shut", "The government shut the gates of the river dam despite protests."),
        "dam-2": ("Talks on the river dam collapse", "Water talks between the two countries about the dam failed."),
        "dam-3": ("Treaty on shared river signed", "Both countries signed a treaty on the water of the shared river."),
        "club-1": ("Football club goes insolvent", "The football club could not pay its players and went insolvent."),
        "club-2": ("Fans buy stricken football club", "Supporters of the football club bought shares to rescue it."),
        "club-3": ("Football club wins first match", "The rescued football club won its opening match at home."),
    }
    return [
        Article(id=id, title=title, text=text, url=f"https://example.org/{id}", section=id.split("-")[0])
        for id, (title, text) in texts.items()
    ]


@pytest.fixture
def rec(tmp_path: Path, articles: list[Article]):
    """A Recommender over a built index of the six."""
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles)
        yield rec


@pytest.fixture
def given_vectors(monkeypatch):
    """In place of the model, vectors that a text alone decides: near for texts that begin with the same word.

    For tests of what does not depend on the model, with many articles.
    """
    _give_vectors(monkeypatch)


@pytest.fixture(scope="session")
def with_given_vectors():
    """A context in which it is so, for fixtures that are made once."""

    @contextlib.contextmanager
    def given():
        with pytest.MonkeyPatch.context() as patch:
            _give_vectors(patch)
            yield

    return given


def _give_vectors(monkeypatch):
    import numpy as np

    from recommender.signals.dense import DenseEncoder

    def seeded(text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).normal(size=384)

    def encode(self, articles, on_done=None):
        made = np.stack([seeded(a.text.split(" ")[0]) + 0.7 * seeded(a.title + a.text) for a in articles])
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
