"""Blocks for tests of output formats."""

from datetime import UTC, datetime, timedelta

from recommender import Recommendation
from recommender.article import ArticleSummary

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def card(id, **values):
    return ArticleSummary(id, **({"title": f"Title of {id}"} | values))


def a_link(id, **values):
    return Recommendation(id, **({"title": f"Title of {id}", "score": 0.5} | values))


def blocks(*ids, word="Title"):
    """Return blocks in a ring: each article links to the next two other ones."""
    return [
        (
            card(id, url=f"/{id}/"),
            [
                a_link(other, title=f"{word} of {other}", url=f"/{other}/", published=DAY + timedelta(days=position))
                for position, other in enumerate([*ids, *ids][position + 1 : position + 3])
                if other != id
            ],
        )
        for position, id in enumerate(ids)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
