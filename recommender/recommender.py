"""Recommender: the public API."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary, Recommendation, as_id
from recommender.blocks import lookup
from recommender.blocks.batch import map_articles
from recommender.blocks.builder import BlockBuilder, check_length
from recommender.blocks.changes import ChangedLinks
from recommender.blocks.eligibility import PLAIN_SETTINGS, SEARCH_SETTINGS, Eligibility, make_eligibility
from recommender.blocks.explain import WhyNot
from recommender.blocks.policy import FILTERS, Options, Settings
from recommender.blocks.policy_editor import PolicyEditor
from recommender.blocks.query_article import (
    QueryArticle,
    find_query_article,
    new_query_article,
    stored_query_articles,
    stored_vector,
    text_query_article,
)
from recommender.blocks.signatures import lists_options
from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder, DenseModel
from recommender.errors import ArticleNotFoundError, IndexNotFoundError, ModelError, PolicyError, RecommenderError
from recommender.evaluation.evaluate import Evaluation
from recommender.evaluation.evaluator import Evaluator
from recommender.indexing.intake import OnProblem
from recommender.indexing.reading import IndexReader
from recommender.indexing.report import BuildReport, Progress
from recommender.indexing.writing import IndexWriter
from recommender.learning.trainer import Trainer
from recommender.publish.site import Out, PublishReport, publish
from recommender.publish.site import output_format as output_format_of
from recommender.ranking.query import MIN_CHUNK_QUERIES
from recommender.store import Store, open_store
from recommender.system.load_once import load_lock
from recommender.system.processes import check_n_jobs
from recommender.text.clean import clean_text

__all__ = ["BuildReport", "Evaluation", "Progress", "Recommender"]

OnCount = Callable[[int, int], None]


class Recommender(PolicyEditor, IndexReader, IndexWriter, Trainer, Evaluator):
    """An index of articles that answers which of them are related.

    Use it as a context manager, or call `close`. Threads may share it for reading; only one process writes at a time.
    The methods that read what the index contains are those of `IndexReader`, the methods that write it those of
    `IndexWriter`, the methods that change its policy those of `PolicyEditor`, the methods that train a ranking on its
    links those of `Trainer`, and `evaluate` is one of `Evaluator`.

    Args:
        index: the folder of the index; or an index on a Milvus server, `milvus://HOST:PORT/NAME`, or in a Milvus Lite
            database, `PATH.db`: see docs/reference/stores.md. The first `build` or `add` creates it.
        model: the model of a new index: `all-MiniLM-L6-v2`, the path of a folder with a sentence-transformers model, or
            a name on the Hugging Face hub; with the prefix `static:` a static model distilled from it, with `int8:`
            computed in 8-bit integers; `static` or `int8` alone for that of the default model. None for the default
            model. For an existing index: None, or the model of the index.
        max_tokens: the number of tokens of title and text that the model reads, 1 or more; for a new index 128, or 512
            for a static model. For an existing index: None, or the number of the index.

    Every method raises IndexNotFoundError if there is no index (except `build` and `add`), IndexDamagedError,
    IndexFormatError or IndexPermissionError if it cannot be read, and ModelError if a model is needed that cannot be
    loaded or differs from the model of the index.

    Example:
        >>> with Recommender("index/examples") as rec:
        ...     rec.related("culture/picture-framer-charged.txt", k=1)[0].title
        'Police Follow Ferry Tickets in Hunt for Missing Painting'
    """

    def __init__(
        self,
        index: str | os.PathLike[str] = "index/default",
        *,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}; it must be 1 or more")
        self._model = model
        self._max_tokens = max_tokens
        self._store: Store = open_store(index)
        self.path = Path(self._store.name)
        self._encoder: DenseEncoder | None = None
        self._closed = False

    def __enter__(self) -> Self:
        """Return the Recommender."""
        return self

    def __repr__(self) -> str:
        """Return the index, its number of articles and its model; never raises."""
        try:
            with self._store.snapshot():
                facts = f"{self._store.count():,} articles, {self._store.settings()['model']['name']}"
            if self._closed:
                self._store.close()
        except IndexNotFoundError:
            facts = "no index"
        except Exception as error:  # debuggers call repr too
            facts = type(error).__name__
        return f"Recommender({self._store.name!r}, {facts})"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the index."""
        if isinstance(error, ArticleNotFoundError):
            str(error)  # computes the suggestions while the index is open
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as index, model and token limit: another process opens the index once for itself."""
        return _open, (self._store.name, self._model, self._max_tokens)

    def close(self) -> None:
        """Close all files and connections."""
        self._store.close()
        self._closed = True

    def warm_up(self) -> None:
        """Load the model, which is downloaded and converted if necessary, and the index.

        In a server, call it in every worker process: a forked process loads them again.
        """
        self._ready_encoder().encode_query("a text")
        if self._store.exists():
            self.search("a text", k=1)

    @lists_options
    def related(
        self,
        article: str | int | Article,
        k: int = 3,
        *,
        why: bool = False,
        articles: bool = False,
        **options: Unpack[Options],
    ) -> list[Recommendation]:
        """Return the block of an article: its related links, in their order.

        Pins come first, then editorial links, then the articles with the highest scores, without near-duplicates and
        low scores, diversified. The article itself, banned articles, those excluded by rules and those dated in the
        future never appear.

        Args:
            article: an article of the index, by its id, or by its url or title if no other article has it; or an
                Article, which need not be in the index.
            k: the maximum number of links, 1 or more.
            why: add the reasons to each Recommendation.
            articles: add the whole article to each Recommendation.
            options: settings of this block, which override those stored with the index.

        Raises:
            ArticleNotFoundError: no article of the index has this id, url or title, or several have it.
            PolicyError: there is no such option, or it cannot have this value.
            TypeError: an id is neither a str nor an int.
        """
        article, vector = self._with_vector(article)
        with self._store.compute_slot(), self._store.snapshot():
            builder = BlockBuilder(self._store, self._eligibility(options))
            return self._build(builder, [self._query_article(article, vector)], k, why=why, articles=articles)[0]

    @lists_options
    def why_not(self, article: str | int | Article, other: str | int, k: int = 3, **options: Unpack[Options]) -> WhyNot:
        """Return why an article of the index is not in the block of another, or its position there.

        Args:
            article: the query article, see `related`.
            other: the article that is missing from its block, by id, url or title.
            k: the length of the block.
            options: see `related`.
        """
        other = as_id(other)
        article, vector = self._with_vector(article)
        with self._store.compute_slot(), self._store.snapshot():
            id = lookup.resolve(self._store, other)
            if id is None:
                raise lookup.not_found(self._store, [other])
            builder = BlockBuilder(self._store, self._eligibility(options))
            return builder.why_not(self._query_article(article, vector), id, k)

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is an Iterable[str] too
        self, text: str, k: int = 10, *, why: bool = False, articles: bool = False, **options: Unpack[Options]
    ) -> list[Recommendation]: ...

    @overload
    def search(
        self, text: Iterable[str], k: int = 10, *, why: bool = False, articles: bool = False, **options: Unpack[Options]
    ) -> list[list[Recommendation]]: ...

    @lists_options
    def search(
        self,
        text: str | Iterable[str],
        k: int = 10,
        *,
        why: bool = False,
        articles: bool = False,
        **options: Unpack[Options],
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Return the articles with the highest scores for a text, best first; in any language by default.

        Near-duplicates, banned articles and those never recommended are left out. Pins, the score threshold and the
        stored settings of blocks do not apply.

        Args:
            text: the text; or several, for a list of results for each, which is faster than a call for each.
            k: the maximum number of results, 1 or more.
            why: add the reasons to each Recommendation.
            articles: add the whole article to each Recommendation.
            options: filters and settings of this search.

        Raises:
            RecommenderError: a text is empty.
            PolicyError: there is no such option, or it cannot have this value.
        """
        check_length(k)
        texts = _as_texts([text] if isinstance(text, str) else text)
        if not all(item.strip() for item in texts):
            raise RecommenderError("The text to search for is empty.")
        if not texts:
            return []
        with self._store.snapshot():  # fails without an index, before the model is loaded
            builder = BlockBuilder(self._store, self._eligibility(options, defaults=SEARCH_SETTINGS))
        vectors = self._ready_encoder().encode_texts(texts, query=True)
        results: list[list[Recommendation]] = []
        for start in range(0, len(texts), MIN_CHUNK_QUERIES):  # small chunks, so that other threads get a turn
            chunk = slice(start, start + MIN_CHUNK_QUERIES)
            with self._store.compute_slot(), self._store.snapshot():
                query_articles = [
                    text_query_article(self._store, item, vector)
                    for item, vector in zip(texts[chunk], vectors[chunk], strict=True)
                ]
                results += self._build(builder, query_articles, k, why=why, articles=articles)
        return results[0] if isinstance(text, str) else results

    @lists_options
    def links(
        self, k: int = 10, *, plain: bool = False, n_jobs: int | None = None, **options: Unpack[Options]
    ) -> Iterator[tuple[str, list[Recommendation]]]:
        """Yield every article's id and block, in the order of the ids; each block as `related` returns it.

        From 10,000 articles on, all blocks are built before the first is yielded, cluster by cluster. They wait in
        memory, and beyond 32 MB in a temporary file, see docs/reference/output-formats.md.

        Args:
            k: the maximum number of links, 1 or more.
            plain: the ranking as scored, without pins, editorial links and stored settings; only the article itself and
                ineligible articles are left out.
            n_jobs: the maximum number of processes: None and -1 for one per core, 1 for this process alone.
            options: see `related`.
        """
        return ((id, block) for id, (_, block) in self._all_blocks(k, options, plain=plain, n_jobs=n_jobs))

    @lists_options
    def publish(
        self,
        out: Out | None,
        format: str | None = None,
        *,
        key: str | None = None,
        fields: Sequence[str] = (),
        heading: str | None = None,
        template: str | os.PathLike[str] | None = None,
        base_url: str | None = None,
        url_template: str | None = None,
        site_folder: str | os.PathLike[str] | None = None,
        k: int = 10,
        plain: bool = False,
        n_jobs: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: OnCount | None = None,
        **options: Unpack[Options],
    ) -> PublishReport:
        """Write every article's block for a site, as `recommender links` does; see docs/reference/output-formats.md.

            rec.publish("_data/related.json", "eleventy", k=3)

        A file is replaced atomically, and left alone if its content stays the same. In a folder only files that differ
        are written, and those of removed articles are deleted.

        Args:
            out: the file, or for "html" the folder; or a stream open for writing text, with `newline=""`; None to write
                nothing and only compare links with `site_folder`.
            format: "jsonl", "json", "csv", "parquet", "hugo", "jekyll", "eleventy", "astro", "docusaurus" or "html";
                None for the format of the extension of `out`.
            key: the key of an article in "json" and "html": its "id", its "url", or the "path" of its url.
            fields: further fields of each link: of its metadata, or "tags". Not for "jsonl", whose fields are fixed.
            heading: the heading of a block of "html"; None for "Related".
            template: the file of a Jinja2 template for "html"; None for the default template.
            base_url: the folder of the site, before every address on the site: "/blog/" or "https://example.org/blog/".
            url_template: the address of an article, with its fields in braces: "/news/{slug}/", "/{year}{path}".
            site_folder: the output folder of the site; `check` of the report lists the links without a page in it.
            k: the maximum number of links, 1 or more.
            plain: see `links`.
            n_jobs: see `links`.
            on_problem: called with a sentence for each block that is left out.
            on_progress: called with the number of blocks built and the total; they may be written later.
            options: see `related`.

        Raises:
            ValueError: the arguments contradict each other.
            RecommenderError: the output cannot be written, pyarrow is missing, the template is not valid or fails, or
                no article has such a key.
        """
        output_format = output_format_of(
            out, format, key, fields, heading, template, base_url, url_template, site_folder
        )
        blocks = self._all_blocks(k, options, plain=plain, n_jobs=n_jobs, on_progress=on_progress)
        return publish((block for _, block in blocks), output_format, on_problem or (lambda problem: None))

    @lists_options
    def changed_links(
        self,
        state: str | os.PathLike[str],
        k: int = 10,
        *,
        full: bool = False,
        n_jobs: int | None = None,
        on_progress: OnCount | None = None,
        **options: Unpack[Options],
    ) -> ChangedLinks:
        """Return the blocks that differ from those of the last run, which are stored in a state file.

            with rec.changed_links("blocks.state") as changes:
                for id, block in changes.blocks: ...
                for id in changes.deleted: ...

        The state is stored when the context ends without an error. Rebuilt are the blocks of new and changed articles
        and those that contain or may now contain them; docs/explanation/blocks.md describes the difference from a full
        pass.

        Args:
            state: the state file; created if it does not exist.
            k: the maximum number of links, 1 or more.
            full: rebuild every block.
            n_jobs: see `links`.
            on_progress: called with the number of blocks built and the total; they may be yielded later.
            options: see `related`.
        """
        check_length(k)
        check_n_jobs(n_jobs)
        with self._store.snapshot():
            eligibility = self._eligibility(options)
        return ChangedLinks(self._store, Path(state), eligibility, k, full=full, n_jobs=n_jobs, on_progress=on_progress)

    def encode(self, texts: Iterable[str], *, query: bool = False) -> NDArray[np.float32]:
        """Return the embeddings of texts by the index's model: float32, shape (n, dimensions), L2-normalised.

        Args:
            texts: the texts, of which the model reads `max_tokens` each. Articles are embedded as "title. text".
            query: embed as `search` does; some models have a prompt for queries and another for articles.
        """
        if isinstance(texts, str):
            raise TypeError("texts is a str; pass a list of them")
        return self._ready_encoder().encode_texts(_as_texts(texts), query=query)

    def _all_blocks(
        self,
        k: int,
        options: Options,
        *,
        plain: bool,
        n_jobs: int | None,
        on_progress: OnCount | None = None,
    ) -> Iterator[tuple[str, tuple[ArticleSummary, list[Recommendation]]]]:
        """Return an iterator over every article's id, and its summary and block, in the order of the ids.

        Wrong options raise at the call, and not at the first iteration.
        """
        if plain and (shaping := [name for name in options if name not in (*FILTERS, "ranking")]):
            raise PolicyError(f"A plain ranking has no shaping options: leave out {', '.join(shaping)}, or plain.")
        check_length(k)
        check_n_jobs(n_jobs)
        options.setdefault("now", datetime.now(UTC))  # the same for all blocks
        with self._store.snapshot():
            eligibility = self._eligibility(options, defaults=PLAIN_SETTINGS if plain else None, plain=plain)
        function = partial(_summaries_and_blocks, self._store, eligibility, k)
        return map_articles(self._store, function, on_progress=on_progress, n_jobs=n_jobs)

    def _eligibility(self, options: Options, *, defaults: Settings | None = None, plain: bool = False) -> Eligibility:
        return make_eligibility(self._store, self.policy, options, defaults=defaults, plain=plain)

    def _with_vector(self, article: str | int | Article) -> tuple[str | Article, NDArray[np.float32] | None]:
        """Return a cleaned name, or an Article with its embedding: the stored one if the content is the same."""
        if not isinstance(article, Article):
            return as_id(article), None
        with self._store.snapshot():
            vector = stored_vector(self._store, article)
        if vector is None:  # outside of the snapshot: loading a model takes seconds
            (vector,) = self._ready_encoder().encode_articles([article])
        return article, vector

    def _query_article(self, article: str | Article, vector: NDArray[np.float32] | None) -> QueryArticle:
        if isinstance(article, Article) and vector is not None:
            return new_query_article(self._store, article, vector)
        return find_query_article(self._store, str(article))

    def _build(
        self, builder: BlockBuilder, query_articles: Sequence[QueryArticle], k: int, *, why: bool, articles: bool
    ) -> list[list[Recommendation]]:
        blocks = builder.build(query_articles, k, why=why)
        if articles:
            article_of = self._store.articles(list({link.id for block in blocks for link in block}))
            blocks = [[replace(link, article=article_of.get(link.id)) for link in block] for block in blocks]
        return blocks

    def _ready_encoder(self) -> DenseEncoder:
        """Return the encoder for this index.

        Raises:
            ModelError: the index was built with another model.
        """
        stored = DenseModel(**self._store.settings()["model"]) if self._store.exists() else None
        with load_lock():
            if self._encoder is None:
                name = self._model or (stored.name if stored else DEFAULT_MODEL)
                tokens = self._max_tokens or (stored.max_tokens if stored else None)
                self._encoder = DenseEncoder(name, tokens, self._store.model_files() if stored else None)
        if stored and self._encoder.hash != stored.hash:
            index_model = _model_text(stored.name, stored.max_tokens, stored.hash)
            this_model = _model_text(self._encoder.name, self._encoder.max_tokens, self._encoder.hash)
            raise ModelError(
                f"The index {self._store.name} was built with {index_model}, and this is {this_model}. Vectors of two "
                f"models cannot be compared: use the first, or build an index with the second elsewhere."
            )
        return self._encoder


@lru_cache(maxsize=2)
def _open(index: str, model: str | None, max_tokens: int | None) -> Recommender:
    return Recommender(index, model=model, max_tokens=max_tokens)


def _as_texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list of strings that can be stored and embedded."""
    items = list(texts)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"A text is a str; {item!r:.80} is of type {type(item).__name__}.")
    return [clean_text(item) for item in items]


def _summaries_and_blocks(
    store: Store, eligibility: Eligibility, k: int, ids: Sequence[str]
) -> list[tuple[str, tuple[ArticleSummary, list[Recommendation]]]]:
    """Return the ids of stored articles, and their summaries and blocks."""
    with store.snapshot():
        query_articles = stored_query_articles(store, ids)
        blocks = BlockBuilder(store, eligibility).build(query_articles, k)
    summaries = [query_article.summary for query_article in query_articles]
    return [(summary.id, (summary, block)) for summary, block in zip(summaries, blocks, strict=True) if summary]


def _model_text(name: str, max_tokens: int, hash: str) -> str:
    return f"the model {name} reading {max_tokens} tokens (hash {hash[:12]})"
