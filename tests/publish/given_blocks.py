"""Blocks made by hand."""

from datetime import UTC, datetime, timedelta

from recommender import Recommendation
from recommender.article import ArticleSummary

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def card(id, **values):
    return ArticleSummary(id, **({"title": f"Title of {id}"} | values))


def a_link(id, **values):
    return Recommendation(id, **({"title": f"Title of {id}", "score": 0.5} | values))


def blocks(*ids, word="Title"):
    """A ring: each links to the next two."""
    return [
        (
            card(id, url=f"/{id}/"),
            [
                a_link(other, title=f"{word} of {other}", url=f"/{other}/", published=DAY + timedelta(days=place))
                for place, other in enumerate([*ids, *ids][place + 1 : place + 3])
            ],
        )
        for place, id in enumerate(ids)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
