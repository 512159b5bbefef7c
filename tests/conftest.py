"""What the tests share. The real model is loaded once a session: `recommender.signals.dense` keeps it."""

from pathlib import Path

import hypothesis
import pytest

from recommender import Article, Recommender

hypothesis.settings.register_profile("no timing limits", deadline=None)
hypothesis.settings.load_profile("no timing limits")

ROOT = Path(__file__).parent.parent


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
