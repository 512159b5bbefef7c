"""The block: the final list under an article."""

from collections.abc import Mapping

from recommender.article import Card, Recommendation, normalise_url
from recommender.ranking.scoring import shown


def assemble(
    ranked: list[tuple[str, float]],
    cards: Mapping[str, Card],
    k: int,
    *,
    id: str | None,
    url: str | None,
    plain: bool = False,
) -> list[Recommendation]:
    """Take the first `k` of a ranking that stand for different articles, none of them the one asked about.

    Two ids with one url are one article. Ids without a card are passed over.

    Args:
        ranked: ids with exact scores, best first.
        cards: what is shown of each.
        k: the length of the block, 1 or more.
        id: the id of the article that the block stands under, if there is one.
        url: its url.
        plain: take them as they are ranked, with nothing left out but the article itself.
    """
    urls = {normalise_url(url) if url else None} - {None}
    block: list[Recommendation] = []
    for candidate, score in ranked:
        card = cards.get(candidate)
        if card is None or candidate == id:
            continue
        address = normalise_url(card.url) if card.url else None
        if address in urls and not plain:
            continue
        if address:
            urls.add(address)
        block.append(Recommendation(card.id, card.title, card.url, card.published, card.section, shown(score)))
        if len(block) == k:
            break
    return block
