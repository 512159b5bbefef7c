"""Functions shared by the plugins: they turn the pages of a site into articles, index them and return their blocks."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import langcodes

from recommender.article import Article, Recommendation, as_flag
from recommender.blocks.policy import Options
from recommender.errors import RecommenderError
from recommender.recommender import BuildReport, Recommender
from recommender.sources import markup, record
from recommender.text.clean import normalise_title

MAX_LANGUAGE_DISTANCE = 9  # of langcodes: two languages that differ in region or script at most
OnProblem = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a site.

    Attributes:
        article: the article to index.
        linked_ids: the ids of the pages that it links to below a heading such as "See also".
    """

    article: Article
    linked_ids: tuple[str, ...] = ()


def read_page(
    id: str,
    html: str,
    fields: Mapping[str, Any],
    *,
    name: str,
    resolve: Callable[[str], str | None],
    on_problem: OnProblem,
) -> Page | None:
    """Return the Page for a generator's page; None if it has no text or is not published.

    Args:
        id: the path of the page's source file.
        html: its rendered content.
        fields: its front matter, with the field names of Article. `related` is a list of links, or false for a page
            without a block.
        name: the title to use if neither the fields nor a heading give one.
        resolve: returns the id of the page that a link leads to, or None.
        on_problem: called with a sentence for each field that was left out.
    """
    content = markup.read_markup(html, resolve=resolve)
    if not content.text:
        return None
    fields_read = dict(fields)
    related = fields_read.pop("related", None)
    flag = as_flag(related)
    if flag is not None:
        fields_read.setdefault("block", flag)
    related_links = [] if flag is not None or related is None else related if isinstance(related, list) else [related]
    links = [link for part in related_links if (link := resolve(str(part)) or str(part)) != id]
    fields_read["title"] = fields_read.get("title") or content.heading or name
    fields_read["text"] = content.text
    if content.heading and normalise_title(content.heading) != normalise_title(str(fields_read["title"])):
        fields_read["text"] = f"{content.heading}\n\n{content.text}"
    linked_ids = tuple(link for link in content.related if link != id)
    fields_read |= {
        "id": id,
        "related": [*links, *linked_ids],
        "links": [link for link in content.links if link != id],
    }
    entry = record.record_entry(id, record.json_value(fields_read), html=False)
    for problem in entry.problems if entry.article else ():
        on_problem(f"{id}: {problem}.")
    return Page(entry.article, linked_ids) if entry.article else None


def page_blocks(
    pages: Iterable[Page],
    index: Path,
    k: int,
    *,
    model: str | None = None,
    settings: Mapping[str, Any] = {},
    is_complete: bool = True,
    on_problem: OnProblem,
) -> tuple[dict[str, list[Recommendation]], BuildReport]:
    """Bring an index in line with the pages of a site and return their blocks.

    A block does not repeat links that its page has below a heading such as "See also".

    Args:
        pages: the pages; at least one.
        index: the folder of the index.
        k: the number of links in a block.
        model: the model for a new index, see `Recommender`.
        settings: settings of the blocks, see `Settings`.
        is_complete: whether these are all pages of the site; other articles are then removed from the index.
        on_problem: called with a sentence for each problem.

    Returns:
        The blocks by page id, and the report on the index.

    Raises:
        RecommenderError: the index cannot be read or written, has another model, or a setting is invalid.
    """
    page_of = {page.article.id: page for page in pages}
    articles = [page.article for page in page_of.values()]
    options = cast(Options, dict(settings))
    with Recommender(index, model=model) as rec:
        # The pages are the whole site, so any number of articles may be removed.
        report = (
            rec.build(articles, prune=True, prune_limit=100, on_problem=on_problem)
            if is_complete
            else rec.add(articles, on_problem=on_problem)
        )
        blocks = {}
        for id, block in rec.links(k, **options):
            if id in page_of:
                repeated = page_of[id].linked_ids
                blocks[id] = rec.related(id, k, **options | Options(exclude=repeated)) if repeated else block
    return blocks, report


def heading_in(heading: str | Mapping[str, str], language: object) -> str:
    """Return the heading of a block: the text, or the text whose language is nearest to the page's.

    "en" matches a page in "en-US" (RFC 4647, lookup), and "en-US" a page in "en"; otherwise the first text is used.

    Raises:
        RecommenderError: `heading` is neither a text nor texts by language.
    """
    if isinstance(heading, str):
        return heading
    if not isinstance(heading, Mapping) or not all(isinstance(text, str) for pair in heading.items() for text in pair):
        raise RecommenderError(
            f"The heading of blocks is {heading!r}; it must be a text, or texts by language, such as "
            f'{{"en": "Related", "de": "Mehr"}}.'
        )
    if not heading:
        return "Related"
    texts = {tag.replace("_", "-").lower(): text for tag, text in heading.items()}
    tag = language.replace("_", "-").lower() if isinstance(language, str) else ""
    while tag and tag not in texts:
        tag = tag.rpartition("-")[0]
    if not tag and isinstance(language, str):
        with suppress(ValueError):  # not a language tag
            tag = langcodes.closest_supported_match(language, list(texts), max_distance=MAX_LANGUAGE_DISTANCE) or ""
    return texts[tag] if tag else next(iter(texts.values()))


def write_gitignore(index: Path) -> None:
    """Exclude an index in the default folder from git."""
    if index.is_dir() and not (index / ".gitignore").exists():
        (index / ".gitignore").write_text("*\n", encoding="utf-8")
