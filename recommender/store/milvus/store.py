"""The store on Milvus: an index in collections of a server or of a Milvus Lite database."""

import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.errors import IndexDamagedError
from recommender.filters import Condition
from recommender.store.base import CandidateQuery, ContentHashes, Guarantees, Signals, Store, Upsert, check_arrays
from recommender.store.milvus.address import Address
from recommender.store.milvus.articles import ArticleReader
from recommender.store.milvus.candidates import CandidateSearch
from recommender.store.milvus.connection import MAX_EXPRESSION_KEYS, key_list
from recommender.store.milvus.filter_expression import filter_expression
from recommender.store.milvus.links import LinkResolver
from recommender.store.milvus.rows import UNDATED, primary_key, quote, value_hash
from recommender.store.milvus.schema import ARTICLES, HUBNESS
from recommender.store.milvus.state import FORMAT, POLICY, IndexState
from recommender.store.milvus.verify import Verification
from recommender.store.milvus.writer import INDEX_DOCUMENTS, MODEL, Writer
from recommender.text.clean import clean_text

# Settings of this store, which callers do not see.
INTERNAL_SETTINGS = {
    *("id", "format", "revision", "hubness_round", "changed_articles", "dirty", "count_version", "languages", "words"),
    *("term_vectors", "mean_hubness", "mean_hubness_round", "documents"),
}
MAX_TIME = 2**40  # seconds since 1970, after every date
DAY_SECONDS = 86_400


class MilvusStore(Store):
    """An index on Milvus. Threads may share one for reading.

    Milvus has no transaction over several rows: an interrupted write leaves each article in its old or its new state,
    and counts that the next build corrects.

    Args:
        address: the address of the index.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self.name = address.display
        self.guarantees = Guarantees(atomic="article", processes=not address.lite, arrays="instance")
        self._state = IndexState(address)
        self._connection, self._dictionary = self._state.connection, self._state.dictionary
        self._reader = ArticleReader(self._state)
        self._links = LinkResolver(self._state, self._reader)
        self._candidates = CandidateSearch(self._state, self._reader)
        self._writer = Writer(self._state, self._reader, exact=address.lite)
        self._arrays: dict[str, dict[str, NDArray[Any]]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the address alone; another process connects itself, once."""
        return _store_at, (self._address,)

    # Opening and closing

    def exists(self) -> bool:
        """See Store."""
        with self.snapshot():
            return self._state.find_settings() is not None

    def source_label(self, source: Path) -> str:
        """See Store. The absolute path: there is no index folder that it could be relative to."""
        return clean_text(source.resolve().as_posix())

    def close(self) -> None:
        """See Store."""
        self._connection.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """See Store. Values are read once within a snapshot."""
        return self._state.snapshot()

    # Reading

    def settings(self) -> dict[str, Any]:
        """See Store."""
        return {name: value for name, value in self._state.settings().items() if name not in INTERNAL_SETTINGS}

    def count(self, sources: Iterable[str] | None = None) -> int:
        """See Store."""
        settings = self._state.settings()
        if sources is None and not settings["dirty"]:
            return sum(articles for articles, _ in settings["languages"].values())
        return self._connection.count(ARTICLES, _source_expression(sources))

    def ids(self, sources: Iterable[str] | None = None, after: str = "") -> Iterator[str]:
        """See Store."""
        self._state.settings()
        conditions = [_source_expression(sources), f'pk > "{primary_key(after)}"' if after else ""]
        for page in self._connection.pages(ARTICLES, " and ".join(filter(None, conditions)), []):
            for row in page:
                yield self._reader.id_of(row["pk"])

    def content_hashes(self, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """See Store."""
        self._state.settings()
        ids_by_key = {primary_key(id): id for id in ids}
        rows = self._connection.rows_by_key(ARTICLES, list(ids_by_key), ["content_hash", "record_hash", "source"])
        return {
            ids_by_key[row["pk"]]: ContentHashes(
                bytes.fromhex(row["content_hash"]), bytes.fromhex(row["record_hash"]), row["source"]
            )
            for row in rows
        }

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """See Store."""
        return self._reader.articles(ids)

    def summaries(self, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """See Store."""
        return {id: stored.summary() for id, stored in self._reader.stored_by_id(ids).items()}

    def signals(self, ids: Sequence[str]) -> Signals:
        """See Store."""
        return self._candidates.signals([*self._reader.stored_by_id(ids).values()])

    def retrieve_candidates(self, queries: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store."""
        return self._candidates.retrieve(queries, n)

    def languages(self) -> dict[str, tuple[int, int]]:
        """See Store."""
        languages = sorted(self._state.settings()["languages"].items())
        return {name: (articles, assumed) for name, (articles, assumed) in languages if articles > 0}

    def lookup_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """See Store."""
        self._state.settings()
        return self._dictionary.look_up(language, terms)

    def terms(self, term_ids: Sequence[int]) -> dict[int, str]:
        """See Store."""
        return self._dictionary.terms(term_ids)

    def ids_with_assumed_language(self, language: str) -> list[str]:
        """See Store."""
        self._state.settings()
        return self._reader.matching_ids(f"assumed == true and language != {quote(language)}")

    def stale_hubness_ids(self) -> list[str]:
        """See Store."""
        where = f"round != {self._state.settings()['hubness_round']}"
        return [self._reader.id_of(row["pk"]) for page in self._connection.pages(HUBNESS, where, []) for row in page]

    def upserts(self, ids: Sequence[str]) -> list[Upsert]:
        """See Store."""
        with self.snapshot():
            articles, stored = self._reader.articles(ids), self._reader.stored_by_id(ids)
            hashes = {hash for row in stored.values() for hash in row.term_hashes.tolist()}
            terms_by_hash = self._dictionary.terms_by_hash(hashes)
        upserts = []
        for id, article in articles.items():
            row = stored[id]
            frequencies = dict(zip(row.term_hashes.tolist(), row.frequencies.tolist(), strict=True))
            if not frequencies.keys() <= terms_by_hash.keys():
                raise IndexDamagedError(
                    f"The index {self.name} is damaged: its list of terms lacks some of article {id!r}. Build it again "
                    f"under another name."
                )
            terms = {terms_by_hash[hash]: frequency for hash, frequency in frequencies.items()}
            upserts.append(Upsert(article, row.source, row.vector, terms, row.language, row.assumed))
        return upserts

    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """See Store."""
        return self._links.links(kind, ids)

    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        return self._links.backlinks(ids)

    def resolve_targets(self, targets: Sequence[str]) -> list[str | None]:
        """See Store."""
        self._state.settings()
        return self._links.resolve(targets)

    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """See Store."""
        self._state.settings()
        return self._links.ids_by_url_or_title(name, n)

    def filter_ids(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """See Store."""
        self._state.settings()
        ids_by_key, matching = {primary_key(id): id for id in ids}, set[str]()
        keys, where = list(ids_by_key), filter_expression(condition, exclude=True)
        for start in range(0, len(keys), MAX_EXPRESSION_KEYS):
            batch = f"pk in {key_list(keys[start : start + MAX_EXPRESSION_KEYS])}"
            rows = self._connection.query(ARTICLES, f"{batch} and ({where})" if where else batch, ["pk"])
            matching |= {ids_by_key[row["pk"]] for row in rows}
        return matching

    def count_matching(self, condition: Condition) -> int:
        """See Store."""
        self._state.settings()
        return self._connection.count(ARTICLES, filter_expression(condition, exclude=True))

    def most_recent(self, condition: Condition, n: int) -> list[str]:
        """See Store. Milvus does not sort by a field, so growing periods are searched, the latest first."""
        self._state.settings()
        where = filter_expression(condition, exclude=True)
        suffix = f" and ({where})" if where else ""
        limits = [limit for limit in (condition.published_by, condition.before) if limit is not None]
        end = min(limits, default=MAX_TIME) + 1
        period = DAY_SECONDS if limits else end - int(time.time())  # at first, all dates in the future
        dated: list[tuple[int, str]] = []
        while end > -MAX_TIME and len(dated) < n:
            start = end - period
            pages = self._connection.pages(
                ARTICLES, f"published >= {start} and published < {end}{suffix}", ["published"]
            )
            dated += [(row["published"], self._reader.id_of(row["pk"])) for page in pages for row in page]
            end, period = start, 4 * period
        return [id for _, id in sorted(dated, key=lambda pair: (-pair[0], pair[1]))[:n]]

    def published_between(self, after: int, before: int) -> list[str]:
        """See Store."""
        self._state.settings()
        return self._reader.matching_ids(f"published > {max(after, UNDATED)} and published <= {before}")

    def revision(self) -> tuple[str, int, int]:
        """See Store."""
        settings = self._state.settings()
        return settings["id"], settings["revision"], settings["hubness_round"]

    def ids_changed_after(self, revision: int) -> list[str]:
        """See Store."""
        self._state.settings()
        return self._reader.matching_ids(f"revision > {revision}")

    def model_files(self) -> dict[str, bytes]:
        """See Store."""
        self._state.settings()
        text = self._state.documents.get([MODEL]).get(MODEL)
        files = self._state.parse_document(text, "model files") if text else {}
        return {name: b64decode(content) for name, content in files.items()}

    def document(self, name: str) -> str | None:
        """See Store."""
        return self._state.document(name)

    def document_names(self) -> list[str]:
        """See Store."""
        return sorted(self._state.document_versions())

    def arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """See Store. Arrays are in the memory of this instance only."""
        return self._arrays.get(name)

    def policy(self) -> dict[str, Any]:
        """See Store."""
        return self._state.policy()

    def statistics(self) -> dict[str, Any]:
        """See Store. Reads the rows of all articles."""
        self._state.settings()
        sections, sources = Counter[str](), Counter[str]()
        links = resolved = 0
        for page in self._connection.pages(ARTICLES, "", ["section", "source", "related_count"]):
            sections.update(row["section"] or "unknown" for row in page)
            sources.update(row["source"] or "unknown" for row in page)
            links += sum(row["related_count"] for row in page)
        for page in self._connection.pages(ARTICLES, "related_count > 0", []) if links else ():
            resolved += self._links.count_resolved(self._reader.stored([row["pk"] for row in page]).values())
        return {
            "sections": _by_count(sections),
            "sources": _by_count(sources),
            "editorial_links": {"total": links, "matched": resolved},
            "bytes": _folder_bytes(Path(self._address.uri)) if self._address.lite else None,
            "format": FORMAT,
        }

    # Writing

    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """See Store. Of two simultaneous edits the later one stays."""
        self._state.settings()
        with self._connection.reading_newest():  # so that no earlier edit is lost
            policy = {} if anew else self._state.policy()
        self._state.put_document(POLICY, edit(policy))

    def write_lock(self) -> AbstractContextManager[None]:
        """See Store. The lock is a lease that expires a while after its process was killed."""
        return self._writer.lock()

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._writer.create(settings, model_files)

    def write(self, upserts: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """See Store."""
        self._writer.write(upserts, removals)

    def finish(self, *, built: bool) -> None:
        """See Store."""
        self._writer.finish(built=built)

    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """See Store."""
        self._writer.put_hubness(values, last=last)

    def put_document(self, name: str, text: str | None) -> None:
        """See Store."""
        self._writer.put_document(name, text)

    def put_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]] | None) -> None:
        """See Store. Needs no `write_lock`, since the arrays are in the memory of this instance only."""
        check_arrays(name, arrays)
        self._arrays.pop(name, None)
        if arrays is not None:
            copies = {array_name: array.copy() for array_name, array in arrays.items()}
            for array in copies.values():
                array.flags.writeable = False
            self._arrays[name] = copies

    def put_setting(self, name: str, value: object) -> None:
        """See Store."""
        self._state.put_settings({**self._state.settings(), name: value})

    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """See Store."""
        return Verification(self._state, self._reader, INDEX_DOCUMENTS).problems(on_progress)

    def repair(self) -> None:
        """See Store."""
        self._writer.repair()


@lru_cache(maxsize=2)
def _store_at(address: Address) -> MilvusStore:
    return MilvusStore(address)


def _source_expression(sources: Iterable[str] | None) -> str:
    if sources is None:
        return ""
    return f"source_hash in [{', '.join(str(value_hash('source', source)) for source in sources)}]"


def _by_count(counts: Counter[str]) -> dict[str, int]:
    """Return counts in descending order; ties by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
