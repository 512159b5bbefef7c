"""The shared state of a store on Milvus: connection, settings, policy and the cache of a snapshot."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from recommender.errors import IndexDamagedError, IndexFormatError, IndexNotFoundError
from recommender.store.base import document_damaged_error
from recommender.store.milvus.address import Address
from recommender.store.milvus.connection import Connection
from recommender.store.milvus.documents import COLLECTION as DOCUMENTS
from recommender.store.milvus.documents import Documents
from recommender.store.milvus.rows import StoredArticle, value_hash
from recommender.store.milvus.term_dictionary import TermDictionary

FORMAT = 1
SETTINGS, POLICY = "settings", "policy"  # names of documents


def document_version(text: str) -> str:
    """Return the version of a caller's document, a hash of its text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def caller_document(name: str, version: str) -> str:
    """Return the name under which a version of a caller's document is stored."""
    return f"document/{name}/{version}"


class _SnapshotCache(threading.local):
    """The values that the snapshot of a thread has read."""

    def __init__(self) -> None:
        self.depth = 0  # of nested snapshots
        self.clear()

    def clear(self) -> None:
        """Forget all values."""
        self.rows: dict[str, StoredArticle] = {}  # by primary key
        self.settings: dict[str, Any] | None = None
        self.policy_text = ""


class IndexState:
    """The settings and the policy of an index on Milvus, with the objects that read and write its collections.

    The settings are those of the caller (see `Store.create`) and these:
        id: the identifier of the index.
        format: the format of the index.
        revision: the number of the last batch.
        hubness_round: the number of the last round of hubness over all articles.
        changed_articles: the number of articles added or removed since that round was due.
        dirty: whether a writer has not finished, so that counts may be wrong.
        count_version: incremented when document frequencies change, so that readers discard cached ones.
        languages: the number of articles and of those with an assumed language, by language.
        words: the number of words of all articles.
        term_vectors: "sparse" or "hashed".
        documents: the version of each document of callers, by name; missing before the first.
        mean_hubness, mean_hubness_round: the mean of all articles, and the round that it belongs to.

    Args:
        address: the address of the index.
    """

    def __init__(self, address: Address) -> None:
        self.name = address.display
        self.connection = Connection(address)
        self.documents = Documents(self.connection)
        self.dictionary = TermDictionary(self.connection)
        self._cache = _SnapshotCache()
        self._existed = False
        self._policy: tuple[str, dict[str, Any]] = ("", {})  # text and parsed value
        self._documents: dict[str, tuple[str, str]] = {}  # version and text of documents of callers, by name

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Cache the values that this thread reads until the outermost snapshot ends."""
        cache = self._cache
        cache.depth += 1
        if cache.depth == 1:
            cache.clear()
        try:
            yield
        finally:
            cache.depth -= 1
            if not cache.depth:
                cache.clear()

    @property
    def cached_rows(self) -> dict[str, StoredArticle]:
        """The articles that the snapshot of this thread has read, by primary key; not stored without a snapshot."""
        return self._cache.rows if self._cache.depth else {}

    def find_settings(self) -> dict[str, Any] | None:
        """Return all settings; None if there is no index.

        Raises:
            IndexFormatError: a newer version wrote the index.
        """
        cache = self._cache
        if cache.depth and cache.settings is not None:
            return cache.settings
        if not self._existed and not self.connection.exists(DOCUMENTS):
            return None
        try:
            documents = self.documents.get([SETTINGS, POLICY])
        except IndexNotFoundError:  # the collection was dropped meanwhile
            documents = {}
        text = documents.get(SETTINGS)
        self._existed = text is not None
        if text is None:
            return None
        settings = self.parse_document(text, "settings")
        if settings.get("format", 0) > FORMAT:
            raise IndexFormatError(
                f"The index {self.name} has the format {settings['format']}, and this version reads {FORMAT}. Install "
                f"a newer version of recommender."
            )
        self.dictionary.set_version((settings["id"], settings["count_version"]))
        if cache.depth:
            cache.settings, cache.policy_text = settings, documents.get(POLICY, "")
        return settings

    def settings(self) -> dict[str, Any]:
        """Return all settings.

        Raises:
            IndexNotFoundError: there is no index.
        """
        if (settings := self.find_settings()) is None:
            raise self.connection.not_found()
        return settings

    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Store all settings."""
        self.put_document(SETTINGS, settings)
        self._cache.clear()

    def policy(self) -> dict[str, Any]:
        """Return the policy; empty at first."""
        self.settings()
        cache = self._cache
        text = cache.policy_text if cache.depth else self.documents.get([POLICY]).get(POLICY, "")
        if text != self._policy[0]:
            self._policy = (text, self.parse_document(text, "policy") if text else {})
        return self._policy[1]

    def document_versions(self) -> dict[str, str]:
        """Return the version of each document of callers, by name."""
        versions: dict[str, str] = self.settings().get("documents", {})
        return versions

    def document(self, name: str) -> str | None:
        """Return a document of a caller, see `Store.document`."""
        text = self._read_document(name)
        if text is None and name in self.document_versions():  # a writer may have replaced it meanwhile
            with self.connection.reading_newest():
                self.forget()
                text = self._read_document(name)
            if text is None and name in self.document_versions():
                raise document_damaged_error(self.name, name)
        return text

    def _read_document(self, name: str) -> str | None:
        """Return a document of a caller; None if it is missing or damaged."""
        version = self.document_versions().get(name)
        if version is None:
            return None
        cached_version, text = self._documents.get(name, (None, None))
        if version != cached_version:
            stored_name = caller_document(name, version)
            text = self.documents.get([stored_name]).get(stored_name)
            if text is None or document_version(text) != version:
                return None
            self._documents[name] = version, text
        return text

    def put_document(self, name: str, value: Mapping[str, Any]) -> None:
        """Store a value as a JSON document with a checksum."""
        text = json.dumps(value, sort_keys=True)
        self.documents.put({name: f"{value_hash('document', text):x}\n{text}"})

    def parse_document(self, document: str, description: str) -> dict[str, Any]:
        """Return the value of a JSON document after checking its checksum.

        Raises:
            IndexDamagedError: the checksum does not match.
        """
        try:
            checksum, _, text = document.partition("\n")
            if checksum != f"{value_hash('document', text):x}":
                raise ValueError
            value: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise IndexDamagedError(
                f"The {description} of the index {self.name} are damaged: they are not what was written. "
                + (
                    "Load them again with `recommender policy --load FILE`."
                    if description == "policy"
                    else "Build it again under another name."
                )
            ) from error
        return value

    def forget(self) -> None:
        """Clear the cache of this thread's snapshot."""
        self._cache.clear()
