"""A small archive with links by habit, or random ones."""

import numpy as np

from recommender import Article

FOLDERS = ("harbour", "railway", "theatre", "orchard", "quarry", "market")
TOPICS = 8
N_ARTICLES = 160


def linked_archive(links: str) -> list[Article]:
    """Return 160 articles on eight topics in six folders, and an overview of each folder, which has no links.

    Args:
        links: "habit": every article links to the overview of its folder, and to the next article of its folder and
            topic; "random": every article links to three articles, each drawn at random.
    """
    generator = np.random.default_rng(7)
    overviews = [f"/{folder}/overview" for folder in FOLDERS]
    ids = [f"/{FOLDERS[number % len(FOLDERS)]}/page-{number:03}" for number in range(N_ARTICLES)]
    articles = [
        Article(id=id, title=f"overview {number}", text=f"index of number{number}", language="en")
        for number, id in enumerate(overviews)
    ]
    for number, id in enumerate(ids):
        topic = number // len(FOLDERS) % TOPICS
        words = " ".join(f"word{word}" for word in generator.integers(0, 150, 12))
        following = number + len(FOLDERS) * TOPICS
        by_habit = (overviews[number % len(FOLDERS)], *ids[following : following + 1])
        at_random = tuple(ids[other] for other in generator.integers(0, N_ARTICLES, 3).tolist())
        related = by_habit if links == "habit" else at_random
        title, text = f"topic{topic} page {number}", f"topic{topic} {words}"
        articles.append(Article(id=id, title=title, text=text, language="en", related=related))
    return articles
