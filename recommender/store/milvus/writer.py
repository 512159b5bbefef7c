"""Writing an index on Milvus: lease, batches, hubness, and recounting after an interrupted writer.

Milvus has no transactions. An article is one row that is replaced as a whole; the `dirty` setting marks an unfinished
writer, after which the next writer counts terms and languages again.
"""

import contextlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from recommender.errors import IndexDamagedError, IndexLockedError
from recommender.store.base import Upsert, is_document_name
from recommender.store.milvus.articles import ArticleReader
from recommender.store.milvus.batch import (
    article_count,
    encode_batch,
    hubness_row,
    stale_hubness_rows,
    update_counts,
)
from recommender.store.milvus.documents import COLLECTION as DOCUMENTS
from recommender.store.milvus.lease import Lease
from recommender.store.milvus.rows import (
    StoredArticle,
    document_names,
    overflow_document,
    primary_key,
    text_document,
)
from recommender.store.milvus.schema import ARTICLES, COLLECTIONS, HUBNESS, TERM_VECTORS, create_collections
from recommender.store.milvus.state import FORMAT, POLICY, SETTINGS, IndexState, caller_document, document_version
from recommender.store.milvus.verify import ArticleCounts

MODEL = "model"  # the document of the model files
INDEX_DOCUMENTS = frozenset({SETTINGS, POLICY, MODEL, Lease.DOCUMENT})  # all others belong to articles
STALE_SHARE = 0.05  # of the articles: once more have changed, the hubness of all is due again
SMALL_ARCHIVE_ARTICLES = 1000  # up to so many, each change makes the hubness of all due again


class Writer:
    """Writes to an index.

    Args:
        state: the state of the index.
        reader: reads the stored articles.
        exact: whether a new index compares all vectors in dense search.
    """

    def __init__(self, state: IndexState, reader: ArticleReader, *, exact: bool) -> None:
        self._state, self._reader, self._exact = state, reader, exact
        self._lease: Lease | None = None
        self._needs_recount = False
        self._new_index: tuple[dict[str, Any], dict[str, bytes]] | None = None  # settings and model files

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lease of the index; it expires a while after the process was killed."""
        with self._state.connection.reading_newest():
            try:
                if self._state.connection.exists(DOCUMENTS):
                    self._acquire_lease()
                yield
            finally:
                self._new_index = None
                if self._lease:
                    self._lease.release()
                    self._lease = None

    def _acquire_lease(self) -> None:
        self._lease = Lease(self._state.documents, self._state.name)
        self._state.forget()
        settings = self._state.find_settings()
        self._needs_recount = bool(settings and settings["dirty"])

    def _check_lease(self) -> None:
        if self._lease:
            self._lease.check()

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None) -> None:
        """Set the settings and model files of a new index; the first `write` creates it."""
        self._new_index = (dict(settings), dict(model_files or {}))

    def _create_collections(self) -> dict[str, Any] | None:
        """Create the collections of a new index; return its settings, or None if another process created it."""
        state = self._state
        if self._new_index is None:
            raise state.connection.not_found()
        given_settings, model_files = self._new_index
        existing = [name for name in COLLECTIONS if state.connection.exists(name)]
        for name in existing:
            if not state.connection.is_own(name):
                raise IndexLockedError(
                    f"The server holds a collection {state.connection.full_name(name)} that is no part of this index. "
                    f"Name another index with --index."
                )
        if DOCUMENTS not in existing:
            state.documents.create()
        if self._lease is None:
            self._acquire_lease()
            if state.find_settings():
                return None
        for name in existing:  # left by an interrupted first build
            if name != DOCUMENTS:
                state.connection.drop(name)
        state.documents.delete([name for name in state.documents.names() if name not in (POLICY, Lease.DOCUMENT)])
        state.dictionary.create()
        create_collections(state.connection, given_settings["model"]["dimensions"], exact=self._exact)
        if model_files:
            state.put_document(MODEL, {name: b64encode(content).decode() for name, content in model_files.items()})
        return {
            **given_settings,
            "id": uuid4().hex,
            "format": FORMAT,
            "revision": 0,
            "count_version": 0,
            "hubness_round": 0,
            "changed_articles": 0,
            "dirty": False,
            "languages": {},
            "words": 0,
            "mean_hubness": 0.0,
            "mean_hubness_round": -1,
            "term_vectors": "sparse" if state.connection.has_sparse_vectors else "hashed",
        }

    def write(self, upserts: Sequence[Upsert], removals: Sequence[str]) -> None:
        """Write a batch; see `Store.write`.

        Document frequencies and texts are written first; then rows of removed articles are deleted, and article rows
        replaced, each as a whole; then unreferenced documents are deleted. A kill in between leaves `dirty` set.
        """
        state = self._state
        if self._lease is None and state.connection.exists(DOCUMENTS):  # another process created the index meanwhile
            self._acquire_lease()
        self._check_lease()
        settings = state.find_settings()
        if settings and not upserts and not removals:
            return
        upserted_ids = {upsert.article.id for upsert in upserts}
        removed_ids = [id for id in dict.fromkeys(removals) if id not in upserted_ids]
        keys = [primary_key(id) for id in (*upserted_ids, *removed_ids)]
        stored = self._undamaged(keys) if settings else {}
        for upsert in upserts:
            if upsert.vector is None and (key := primary_key(upsert.article.id)) not in stored:
                if settings and state.connection.count(ARTICLES, f'pk == "{key}"'):
                    raise self._reader.damaged_error(key)
                raise ValueError(f"article {upsert.article.id!r} is new and needs a vector")
        if settings is None:
            settings = self._create_collections()
            if settings is None:
                self.write(upserts, removals)
                return
        elif not settings["dirty"]:
            settings["dirty"] = True
            state.put_settings(settings)
        revision = settings["revision"] + 1
        replaced = [stored[key] for key in keys if key in stored]
        changed = update_counts(state.dictionary, settings, upserts, replaced, removed_ids)
        rows, vector_rows, documents = encode_batch(state.dictionary, settings, upserts, stored, revision)
        state.documents.put(documents)
        removed_keys = [primary_key(id) for id in removed_ids]
        for collection in (*self._searched_collections(settings), HUBNESS):
            state.connection.delete(collection, removed_keys)
        state.connection.upsert(TERM_VECTORS, vector_rows)
        state.connection.upsert(HUBNESS, stale_hubness_rows(upserts, stored))
        state.connection.upsert(ARTICLES, rows)
        used_names = {text_document(row["pk"], row["content_hash"]) for row in rows} | documents.keys()
        old_names = [name for article in stored.values() for name in document_names(article)]
        state.documents.delete([name for name in old_names if name not in used_names])
        settings["revision"] = revision
        settings["changed_articles"] += changed
        state.put_settings(settings)
        self._new_index = None

    @staticmethod
    def _searched_collections(settings: Mapping[str, Any]) -> list[str]:
        return [ARTICLES, TERM_VECTORS] if settings["term_vectors"] == "hashed" else [ARTICLES]

    def _undamaged(self, keys: Sequence[str]) -> dict[str, StoredArticle]:
        """Return the stored articles by primary key; leave out damaged ones, which make a recount necessary."""
        try:
            return self._reader.stored(keys)
        except IndexDamagedError:
            self._needs_recount = True
            articles: dict[str, StoredArticle] = {}
            for key in keys:
                with contextlib.suppress(IndexDamagedError):
                    articles |= self._reader.stored([key])
            return articles

    def finish(self, *, built: bool) -> None:
        """End a sequence of batches; see `Store.finish`. Milvus maintains its search indexes itself."""
        settings = self._state.find_settings()
        if settings is None:
            return
        self._check_lease()
        if self._needs_recount:
            self._recount(settings)
            self._needs_recount = False
        articles = article_count(settings)
        tolerated = STALE_SHARE * articles if articles > SMALL_ARCHIVE_ARTICLES else 0
        if settings["changed_articles"] > tolerated:
            settings["hubness_round"], settings["changed_articles"] = settings["hubness_round"] + 1, 0
        if built:
            settings["last_build"] = datetime.now(UTC).isoformat(timespec="seconds")
            for name in self._searched_collections(settings):
                self._state.connection.flush(name)
        settings["dirty"] = False
        settings["count_version"] += 1
        self._state.put_settings(settings)

    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """Store the hubness of articles by id; see `Store.put_hubness`."""
        state = self._state
        settings = state.settings()
        self._check_lease()
        existing = self._reader.existing_keys(values)
        round_number = settings["hubness_round"]
        rows = [
            hubness_row(key, value, round_number)
            for id, value in values.items()
            if (key := primary_key(id)) in existing
        ]
        state.connection.upsert(HUBNESS, rows)
        if last and settings["mean_hubness_round"] != round_number:  # the first time that all have a value
            count, total = 0, 0.0
            for page in state.connection.pages(HUBNESS, f"round == {round_number}", ["hubness"]):
                count += len(page)
                total += sum(row["hubness"] for row in page)
            settings["mean_hubness"], settings["mean_hubness_round"] = round(total / max(count, 1), 6), round_number
            state.put_settings(settings)

    def put_document(self, name: str, text: str | None) -> None:
        """Store a document of a caller; see `Store.put_document`.

        The new version is written first, then the settings that refer to it; then the old version is deleted.
        """
        if not is_document_name(name):
            raise ValueError(f"{name!r} is no name of a document")
        self._check_lease()
        state = self._state
        versions = dict(state.document_versions())
        old_version = versions.pop(name, None)
        if text is not None:
            versions[name] = document_version(text)
            state.documents.put({caller_document(name, versions[name]): text})
        state.put_settings({**state.settings(), "documents": versions})
        if old_version and old_version != versions.get(name):
            state.documents.delete([caller_document(name, old_version)])

    def repair(self) -> None:
        """Count terms and languages again, and delete rows and documents that belong to no article."""
        settings = self._state.settings()
        self._recount(settings)
        settings["dirty"], settings["count_version"] = False, settings["count_version"] + 1
        self._state.put_settings(settings)

    def _recount(self, settings: dict[str, Any]) -> None:
        """Count terms and languages from the articles into the settings; delete what belongs to no article."""
        state = self._state
        counts, names, article_keys = ArticleCounts(), set(INDEX_DOCUMENTS), set[str]()
        names |= {caller_document(*version) for version in settings.get("documents", {}).items()}
        hubness_keys = self._keys(HUBNESS)
        for page in state.connection.pages(ARTICLES, "", ["content_hash", "checksum"]):
            keys = [row["pk"] for row in page]
            for stored in self._undamaged(keys).values():
                counts.add(stored)
            names |= {text_document(row["pk"], row["content_hash"]) for row in page}
            names |= {overflow_document(row["pk"], row["checksum"]) for row in page}
            state.connection.upsert(HUBNESS, [hubness_row(key) for key in keys if key not in hubness_keys])
            article_keys.update(keys)
        state.connection.delete(HUBNESS, sorted(hubness_keys - article_keys))
        if settings["term_vectors"] == "hashed":
            state.connection.delete(TERM_VECTORS, sorted(self._keys(TERM_VECTORS) - article_keys))
        state.documents.delete([name for name in state.documents.names() if name not in names])
        state.dictionary.correct(counts.document_frequencies)
        settings["languages"], settings["words"] = counts.languages, counts.words

    def _keys(self, collection: str) -> set[str]:
        return {row["pk"] for page in self._state.connection.pages(collection, "", []) for row in page}
