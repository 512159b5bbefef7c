"""A small archive whose editors link by habit."""

from datetime import UTC, datetime, timedelta

import numpy as np

from recommender import Article

DAY = datetime(2026, 6, 1, tzinfo=UTC)
FOLDERS = ("harbour", "railway", "theatre", "orchard", "quarry", "market")
TOPICS = 12
N_ARTICLES = 240


def handbook(n_articles: int = N_ARTICLES, *, links: str = "habit") -> list[Article]:
    """Return articles in six folders, whose first word is one of twelve topics and whose other words tell little.

    Args:
        n_articles: how many, besides an overview of each folder.
        links: "habit": every article links to the overview of its folder and to the next article of its topic there;
            "random": every article links to two others, drawn at random; "none".
    """
    generator = np.random.default_rng(7)
    overviews = [f"/{folder}/overview" for folder in FOLDERS]
    ids = [f"/{FOLDERS[n % len(FOLDERS)]}/page-{n:03}" for n in range(n_articles)]
    articles = [
        Article(id=id, title=f"overview of everything {number}", text=f"index of pages number{number}", language="en")
        for number, id in enumerate(overviews)
    ]
    for n, id in enumerate(ids):
        topic = (n // len(FOLDERS)) % TOPICS
        words = " ".join(f"word{word}" for word in generator.integers(0, 150, 12))
        related: tuple[str, ...] = ()
        if links == "habit":
            following = n + len(FOLDERS) * TOPICS  # of the same folder and topic
            related = (overviews[n % len(FOLDERS)], *ids[following : following + 1])
        elif links == "random":
            related = tuple(ids[int(other)] for other in generator.integers(0, n_articles, 2))
        articles.append(
            Article(
                id=id,
                title=f"topic{topic} page {n}",
                text=f"topic{topic} {words}",
                url=f"https://example.org{id}",
                section=f"section{n % 4}",
                tags=(f"tag{n % 5}",),
                metadata={"author": f"author{n % 7}"},
                published=DAY - timedelta(days=n),
                language="en",
                related=related,
            )
        )
    return articles


def rows_of(blocks) -> dict[str, list[tuple[str, float, str]]]:
    """Return ids, scores and origins of the links of blocks, by article."""
    return {id: [(link.id, link.score, link.via) for link in block] for id, block in dict(blocks).items()}
