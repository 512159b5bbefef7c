"""A store on Milvus: articles with their vectors in one collection, what belongs to them in others beside it."""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.errors import ArticleError, IndexDamagedError, IndexFormatError, IndexLockedError, IndexNotFoundError
from recommender.filters import Condition
from recommender.store.base import CandidateQuery, ContentHashes, Guarantees, Signals, Store, Upsert
from recommender.store.milvus import batch, words
from recommender.store.milvus import rows as packing
from recommender.store.milvus.address import Address
from recommender.store.milvus.batch import DUE
from recommender.store.milvus.documents import Documents
from recommender.store.milvus.engine import MOST_KEYS, Engine
from recommender.store.milvus.filter_expression import expression
from recommender.store.milvus.lease import Lease
from recommender.store.milvus.rows import (
    FIELDS,
    UNDATED,
    Stored,
    documents_of,
    hashed,
    key_of,
    listed,
    quoted,
    rest_name,
    text_name,
)
from recommender.store.milvus.schema import ARTICLES, COLLECTIONS, NEARNESS, WORDS, create_collections
from recommender.store.milvus.terms import TermCounts
from recommender.store.milvus.verify import Tally, Verification
from recommender.text.clean import clean_text, normalise_title
from recommender.text.urls import normalise_url

FORMAT = 1
SETTINGS, POLICY, MODEL = "settings", "policy", "model"  # documents
OWN_DOCUMENTS = frozenset({SETTINGS, POLICY, MODEL, Lease.NAME})
STALE_SHARE = 0.05  # of the articles; past it what has changed calls for a new round over all
SMALL = 1000  # articles; up to so many every change does
NO_CHANGE = 0
OWN = (
    "id",
    "format",
    "change",
    "round",
    "moved",
    "dirty",
    "counted",
    "languages",
    "length",
    "words",
    "mean",
    "mean_of",
)
# What an HNSW, an IVF and a DiskANN index each take to look far enough; one passes over what is another's.
WIDTH = {"ef": 200, "nprobe": 64, "search_list": 200}
ROWS = 200  # read whole at once: each may hold 120 KB
MOST_TARGETS = 300  # of links that are looked up at once
MOST_FOUND = 16_384  # rows that Milvus gives for one search
DAY = 86_400


class MilvusStore(Store):
    """The store at an address. Threads may share one for reading.

    Milvus has no transaction over rows: a write that is cut off leaves each article in its old or its new state, and
    counts that are off by what it did not come to, which the next build or add finds and makes right.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self.name = address.shown
        self.guarantees = Guarantees(atomic="article", processes=not address.lite)
        self._engine = Engine(address)
        self._documents = Documents(self._engine)
        self._terms = TermCounts(self._engine)
        self._held = threading.local()  # what a thread's snapshot has read
        self._lease: Lease | None = None
        self._cut_off = False  # whether the writer before did not come to its end, so that counts may be off
        self._new: tuple[dict[str, Any], dict[str, bytes]] | None = None
        self._policy: tuple[str, dict[str, Any]] = ("", {})  # as it was read, and what it is
        self._seen = False  # whether there was an index the last time

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the address alone: another process connects for itself, once."""
        return _opened, (self._address,)

    # Opening and closing

    def exists(self) -> bool:
        """See Store."""
        with self.snapshot():
            return self._found_settings() is not None

    def source_label(self, source: Path) -> str:
        """See Store. In full: the index is in no folder that a path could be relative to."""
        return clean_text(source.resolve().as_posix())

    def close(self) -> None:
        """See Store."""
        self._engine.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See Store. What was read once within it is not read again."""
        held = self._held
        held.depth = getattr(held, "depth", 0) + 1
        if held.depth == 1:
            self._forget()
        try:
            yield
        finally:
            held.depth -= 1
            if not held.depth:
                self._forget()

    def _forget(self) -> None:
        self._held.rows, self._held.settings, self._held.policy = {}, None, ""

    def _found_settings(self) -> dict[str, Any] | None:
        """Return all settings; None if there is no index."""
        if getattr(self._held, "depth", 0) and self._held.settings is not None:
            found: dict[str, Any] = self._held.settings
            return found
        if not self._seen and not self._engine.exists("documents"):
            return None
        try:
            documents = self._documents.get([SETTINGS, POLICY])
        except IndexNotFoundError:  # someone dropped it
            documents = {}
        text = documents.get(SETTINGS)
        self._seen = text is not None
        if text is None:
            return None
        settings = self._parsed(text, "settings")
        if settings.get("format", 0) > FORMAT:
            raise IndexFormatError(
                f"The index {self.name} has the format {settings['format']}, and this version reads {FORMAT}. Install "
                f"a newer version of recommender."
            )
        self._terms.update((settings["id"], settings["counted"]))
        if getattr(self._held, "depth", 0):
            self._held.settings, self._held.policy = settings, documents.get(POLICY, "")
        return settings

    def _parsed(self, text: str, what: str) -> dict[str, Any]:
        try:
            made, _, document = text.partition("\n")
            if made != f"{hashed('document', document):x}":
                raise ValueError
            found: dict[str, Any] = json.loads(document)
        except ValueError as error:
            raise IndexDamagedError(
                f"The {what} of the index {self.name} are damaged: they are not what was written. "
                + (
                    "Load them again with `recommender policy --load FILE`."
                    if what == "policy"
                    else "Build it again under another name."
                )
            ) from error
        return found

    def _put_document(self, name: str, value: Mapping[str, Any]) -> None:
        document = json.dumps(value, sort_keys=True)
        self._documents.put({name: f"{hashed('document', document):x}\n{document}"})

    def _settings_of(self) -> dict[str, Any]:
        if (settings := self._found_settings()) is None:
            raise self._engine.not_found()
        return settings

    # Reading

    def settings(self) -> dict[str, Any]:
        """See Store."""
        return {name: value for name, value in self._settings_of().items() if name not in OWN}

    def count(self, sources: Iterable[str] | None = None) -> int:
        """See Store."""
        settings = self._settings_of()
        if sources is None and not settings["dirty"]:
            return sum(articles for articles, _ in settings["languages"].values())
        return self._engine.count(ARTICLES, _from(sources))

    def ids(self, sources: Iterable[str] | None = None, after: str = "") -> Iterator[str]:
        """See Store."""
        self._settings_of()
        where = [part for part in (_from(sources), f'pk > "{key_of(after)}"' if after else "") if part]
        for page in self._engine.pages(ARTICLES, " and ".join(where), [] if sources is None else ["origin"]):
            for row in page:
                yield self._id(row["pk"])

    def _id(self, pk: str) -> str:
        if "~" not in pk:
            return bytes.fromhex(pk).decode()
        return next((stored.id for stored in self._rows([pk]).values()), "")  # or it was removed meanwhile

    def content_hashes(self, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """See Store."""
        self._settings_of()
        keys = {key_of(id): id for id in ids}
        rows = self._engine.by_key(ARTICLES, "pk", list(keys), ["content", "digest", "source"])
        return {
            keys[row["pk"]]: ContentHashes(bytes.fromhex(row["content"]), bytes.fromhex(row["digest"]), row["source"])
            for row in rows
        }

    def _rows(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Return those of the articles that are stored, by primary key, checked."""
        inside = getattr(self._held, "depth", 0) > 0
        found: dict[str, Stored] = {}
        if inside:
            found = {key: self._held.rows[key] for key in keys if key in self._held.rows}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        raw = list(self._engine.by_key(ARTICLES, "pk", missing, FIELDS, at_once=ROWS))
        long = self._long([row for row in raw if not row["record"]])
        for row in raw:
            stored = packing.unpack(row, long.get(row["pk"]))
            if stored is None:
                raise self._damaged(row["pk"])
            found[stored.pk] = stored
        if inside:
            self._held.rows.update(found)
        return found

    def _long(self, raw: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
        """Return record and terms of rows that do not hold them, by primary key."""
        names = {rest_name(row["pk"], row["checksum"]): row["pk"] for row in raw}
        documents = self._documents.get(list(names)) if names else {}
        found = {}
        for name, text in documents.items():
            with contextlib.suppress(ValueError):
                record, terms = json.loads(text)
                found[names[name]] = (record, terms)
        return found

    def _damaged(self, pk: str) -> IndexDamagedError:
        id = bytes.fromhex(pk.partition("~")[0]).decode(errors="replace")
        return IndexDamagedError(
            f"The index {self.name} is damaged: what it holds of article {id!r} is not what was written. Remove it "
            f"with `recommender remove`, then build again from its source."
        )

    def _of(self, ids: Sequence[str]) -> dict[str, Stored]:
        """Return those of the articles that are stored, by id."""
        self._settings_of()
        return {stored.id: stored for stored in self._rows([key_of(id) for id in ids]).values()}

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """See Store."""
        found, wrong = self._articles(self._of(ids))
        if wrong:  # a writer may have replaced them between the reading of their rows and of their texts
            self._forget_rows(wrong)
            again, still = self._articles(self._of([id for id in ids if key_of(id) in wrong]))
            if still:
                raise self._damaged(min(still))
            found |= again
        return found

    def _articles(self, stored: Mapping[str, Stored]) -> tuple[dict[str, Article], set[str]]:
        """Return articles with their texts, by id, and the primary keys of those that do not fit together."""
        names = {id: text_name(of_it.pk, of_it.content) for id, of_it in stored.items()}
        texts = self._documents.get(list(names.values())) if names else {}
        found, wrong = {}, set[str]()
        for id, of_it in stored.items():
            try:
                found[id] = of_it.article(texts[names[id]])
            except (KeyError, ValueError, TypeError, ArticleError):
                wrong.add(of_it.pk)
        return found, wrong

    def _forget_rows(self, keys: Iterable[str]) -> None:
        for key in keys if getattr(self._held, "depth", 0) else ():
            self._held.rows.pop(key, None)

    def summaries(self, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """See Store."""
        return {id: stored.card() for id, stored in self._of(ids).items()}

    def signals(self, ids: Sequence[str]) -> Signals:
        """See Store."""
        return self._signals([*self._of(ids).values()])

    def _signals(self, stored: Sequence[Stored]) -> Signals:
        settings = self._settings_of()
        lengths = [len(of_it.numbers) for of_it in stored]
        rows = np.repeat(np.arange(len(stored), dtype=np.int64), lengths)
        places = self._terms.places(np.concatenate([np.empty(0, dtype=np.int64), *(one.numbers for one in stored)]))
        frequencies = np.concatenate([np.empty(0, dtype=np.int64), *(one.frequencies for one in stored)])
        order = np.lexsort((places, rows))
        places, frequencies = places[order], frequencies[order]
        sizes = {name: articles for name, (articles, _) in settings["languages"].items()}
        totals = np.array([sizes.get(of_it.language, 0) for of_it in stored], dtype=np.int64)
        return Signals(
            ids=[of_it.id for of_it in stored],
            languages=[of_it.language for of_it in stored],
            vectors=np.array([of_it.vector for of_it in stored], dtype=np.float32).reshape(
                len(stored), settings["model"]["dimensions"]
            ),
            collection_sizes=totals,
            hubness=self._hubness([of_it.pk for of_it in stored], settings),
            rows=rows,
            term_ids=places,
            frequencies=frequencies,
            # The two are counted at different moments, and no term is in more articles than there are.
            document_frequencies=np.minimum(self._terms.counts(places), totals[rows]),
        )

    def _hubness(self, keys: Sequence[str], settings: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the hubness of articles, in the order of the keys; the mean where it is not known."""
        place = {key: number for number, key in enumerate(keys)}
        hubness = np.full(len(keys), settings["mean"])
        for row in self._engine.by_key(NEARNESS, "pk", keys, ["vector", "round"]):
            if row["round"] != DUE:
                # A float32 holds seven digits; six were stored.
                hubness[place[row["pk"]]] = round(float(row["vector"][0]), 6)
        return hubness

    def retrieve_candidates(self, probes: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store. Both searches are the engine's, and so is what a probe wants."""
        settings = self._settings_of()
        groups: dict[tuple[str, int], list[int]] = {}
        for place, probe in enumerate(probes):
            excluded = len(probe.condition.exclude)
            groups.setdefault((expression(probe.condition, exclude=False), excluded), []).append(place)
        found: list[dict[str, None]] = [{} for _ in probes]
        for (where, excluded), places in groups.items():
            width = min(n + excluded, MOST_FOUND)
            self._search(settings, probes, places, where, width, found)
        own = []
        for probe, keys in zip(probes, found, strict=True):
            unwanted = {key_of(id) for id in probe.condition.exclude} if probe.condition.exclude else set()
            own.append([key for key in keys if key not in unwanted])
        stored = self._rows(sorted({key for keys in own for key in keys}))
        signals = self._signals([*stored.values()])
        row_of = {key: row for row, key in enumerate(stored)}
        # One that was removed between the search and the reading of its row is none.
        return signals, [np.array([row_of[key] for key in keys if key in row_of], dtype=np.int64) for keys in own]

    def _search(
        self,
        settings: Mapping[str, Any],
        probes: Sequence[CandidateQuery],
        places: Sequence[int],
        where: str,
        width: int,
        found: Sequence[dict[str, None]],
    ) -> None:
        """Put the primary keys that both searches find for some of the probes into `found`."""
        parameters = {**WIDTH, "ef": max(WIDTH["ef"], width), "search_list": max(WIDTH["search_list"], width)}
        vectors = [probes[place].vector for place in places]
        near = self._engine.search(ARTICLES, "vector", vectors, where, width, parameters)
        for place, keys in zip(places, near, strict=True):
            found[place].update(dict.fromkeys(keys))
        with_terms = [place for place in places if len(probes[place].term_ids)]
        if not with_terms:
            return
        total = max(sum(articles for articles, _ in settings["languages"].values()), 1)
        asked: list[Any] = []
        for place in with_terms:
            counts = self._terms.counts(probes[place].term_ids)
            few = words.looked_up(counts)
            numbers, weights = probes[place].term_ids[few], probes[place].weights[few]
            hashes, rare = self._terms.hashes(numbers), words.rarity(counts[few], total)
            if settings["words"] == "sparse":
                asked.append(words.sparse(hashes, weights * rare))
            else:
                asked.append(words.folded(hashes, weights))
        if settings["words"] == "sparse":
            shared = self._engine.search(ARTICLES, "words", asked, where, width, {})
        else:
            shared = self._engine.search(WORDS, "words", asked, where, width, parameters)
        for place, keys in zip(with_terms, shared, strict=True):
            found[place].update(dict.fromkeys(keys))

    def languages(self) -> dict[str, tuple[int, int]]:
        """See Store."""
        found = self._settings_of()["languages"]
        return {name: (articles, assumed) for name, (articles, assumed) in sorted(found.items()) if articles > 0}

    def lookup_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """See Store."""
        self._settings_of()
        return self._terms.known(language, terms)

    def ids_with_assumed_language(self, language: str) -> list[str]:
        """See Store."""
        self._settings_of()
        where = f"assumed == true and language != {quoted(language)}"
        return self._all(where)

    def _all(self, where: str) -> list[str]:
        """Return the ids of all articles that an expression is true of, in their order."""
        return [self._id(row["pk"]) for page in self._engine.pages(ARTICLES, where, []) for row in page]

    def stale_hubness_ids(self) -> list[str]:
        """See Store."""
        where = f"round != {self._settings_of()['round']}"
        return [self._id(row["pk"]) for page in self._engine.pages(NEARNESS, where, ["round"]) for row in page]

    def upserts(self, ids: Sequence[str]) -> list[Upsert]:
        """See Store."""
        with self.snapshot():
            articles, stored = self.articles(ids), self._of(ids)
            names = self._terms.names_of({number for of_it in stored.values() for number in of_it.numbers.tolist()})
        found = []
        for id, article in articles.items():
            of_it = stored[id]
            if any(number not in names for number in of_it.numbers.tolist()):
                raise IndexDamagedError(
                    f"The index {self.name} is damaged: its list of terms lacks some of article {id!r}. Build it again "
                    f"under another name."
                )
            pairs = zip(of_it.numbers.tolist(), of_it.frequencies.tolist(), strict=True)
            terms = {names[number]: frequency for number, frequency in pairs}
            found.append(Upsert(article, of_it.source, of_it.vector, terms, of_it.language, of_it.assumed))
        return found

    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """See Store."""
        if ids is not None:
            return self._links(kind, self._of(ids))
        found: dict[str, list[str]] = {}
        all_ids = self.ids()
        while page := [id for _, id in zip(range(MOST_KEYS), all_ids, strict=False)]:
            found |= self._links(kind, self._of(page))
        return found

    def _links(self, kind: str, stored: Mapping[str, Stored]) -> dict[str, list[str]]:
        targets = sorted({target for of_it in stored.values() for target in of_it.record[kind]})
        meant = self._meant(targets)
        found = {}
        for id in sorted(stored):
            named = (self._one_of(meant[target], id) for target in stored[id].record[kind])
            if links := list(dict.fromkeys(link for link in named if link is not None)):
                found[id] = links
        return found

    def _meant(self, targets: Sequence[str]) -> dict[str, list[str]]:
        """Return for each target the ids of the articles that it may mean: by id, by url, by title; by id in each."""
        hashes = {target: packing.target_hashes(target) for target in targets}
        there: set[str] = set()
        by_hash: dict[int, set[str]] = {}
        for start in range(0, len(targets), MOST_TARGETS):
            some = targets[start : start + MOST_TARGETS]
            keys = listed([key_of(target) for target in some])
            wanted = ", ".join(str(hash) for target in some for hash in hashes[target][1:])
            where = f"pk in {keys}" + (f" or url_key in [{wanted}] or title_key in [{wanted}]" if wanted else "")
            for row in self._engine.query(ARTICLES, where, ["pk", "url_key", "title_key"]):
                id = self._id(row["pk"])
                there.add(id)
                for field in ("url_key", "title_key"):
                    by_hash.setdefault(row[field], set()).add(id)
        return {
            target: [
                *([target] if target in there else []),
                *(id for hash in hashes[target][1:] for id in sorted(by_hash.get(hash, ()))),
            ]
            for target in targets
        }

    @staticmethod
    def _one_of(meant: Sequence[str], but: str | None) -> str | None:
        return next((id for id in meant if id != but), None)

    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        found = set()
        hashes = sorted({hash for of_it in self._of(ids).values() for hash in packing.own_hashes(of_it.record)})
        for start in range(0, len(hashes), MOST_KEYS):
            asked = ", ".join(str(hash) for hash in [packing.ANY, *hashes[start : start + MOST_KEYS]])
            found.update(self._all(f"array_contains_any(targets, [{asked}])"))
        return sorted(found)

    def resolve_targets(self, targets: Sequence[str]) -> list[str | None]:
        """See Store."""
        self._settings_of()
        meant = self._meant(sorted(set(targets)))
        return [self._one_of(meant[target], None) for target in targets]

    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """See Store."""
        self._settings_of()
        for field, key in (("url", normalise_url(name)), ("title", normalise_title(name))):
            where = f"{field}_key == {hashed(field, key or '')}"
            if key and (rows := self._engine.query(ARTICLES, where, ["pk"])):
                return sorted(self._id(row["pk"]) for row in rows)[:n]
        return []

    def filter_ids(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """See Store."""
        self._settings_of()
        keys, found = {key_of(id): id for id in ids}, set[str]()
        where = expression(condition, exclude=True)
        for start in range(0, len(keys), MOST_KEYS):
            some = f"pk in {listed([*keys][start : start + MOST_KEYS])}"
            rows = self._engine.query(ARTICLES, f"{some} and ({where})" if where else some, ["pk"])
            found |= {keys[row["pk"]] for row in rows}
        return found

    def count_matching(self, condition: Condition) -> int:
        """See Store."""
        self._settings_of()
        return self._engine.count(ARTICLES, expression(condition, exclude=True))

    def most_recent(self, condition: Condition, n: int) -> list[str]:
        """See Store. Milvus does not sort by a field: wider and wider spans are looked into, the last first."""
        self._settings_of()
        where = expression(condition, exclude=True)
        more = f" and ({where})" if where else ""
        limits = [limit for limit in (condition.published_by, condition.before) if limit is not None]
        end = min(limits, default=2**40) + 1
        span = DAY if limits else end - int(time.time())  # what lies in the future first
        found: list[tuple[int, str]] = []
        while end > -(2**40):
            start = end - span
            rows = self._engine.pages(ARTICLES, f"time >= {start} and time < {end}{more}", ["time"])
            found += [(row["time"], self._id(row["pk"])) for page in rows for row in page]
            if len(found) >= n:
                break
            end, span = start, 4 * span
        return [id for _, id in sorted(found, key=lambda one: (-one[0], one[1]))[:n]]

    def published_between(self, after: int, before: int) -> list[str]:
        """See Store."""
        self._settings_of()
        return self._all(f"time > {max(after, UNDATED)} and time <= {before}")

    def terms(self, numbers: Sequence[int]) -> dict[int, str]:
        """See Store."""
        return self._terms.names(numbers)

    def revision(self) -> tuple[str, int, int]:
        """See Store."""
        settings = self._settings_of()
        return settings["id"], settings["change"], settings["round"]

    def ids_changed_after(self, change: int) -> list[str]:
        """See Store."""
        self._settings_of()
        return self._all(f"change > {change}")

    def model_files(self) -> dict[str, bytes]:
        """See Store."""
        from base64 import b64decode  # noqa: PLC0415 - only for an index that keeps its model

        self._settings_of()
        text = self._documents.get([MODEL]).get(MODEL)
        files = self._parsed(text, "model files") if text else {}
        return {name: b64decode(content) for name, content in files.items()}

    def policy(self) -> dict[str, Any]:
        """See Store."""
        self._settings_of()
        inside = getattr(self._held, "depth", 0)
        text = self._held.policy if inside else self._documents.get([POLICY]).get(POLICY, "")
        if text != self._policy[0]:
            self._policy = (text, self._parsed(text, "policy") if text else {})
        return self._policy[1]

    def statistics(self) -> dict[str, Any]:
        """See Store. Every article's row is looked at."""
        self._settings_of()
        counted: dict[str, Counter[str]] = {"section": Counter(), "source": Counter()}
        links = 0
        for page in self._engine.pages(ARTICLES, "", ["section", "source", "editorial"]):
            for row in page:
                links += row["editorial"]
                for name, counts in counted.items():
                    counts[row[name] or "unknown"] += 1
        matched = 0
        for page in self._engine.pages(ARTICLES, "editorial > 0", []) if links else ():
            stored = {one.id: one for one in self._rows([row["pk"] for row in page]).values()}
            meant = self._meant(sorted({target for one in stored.values() for target in one.record["related"]}))
            matched += sum(
                self._one_of(meant[target], id) is not None
                for id, one in stored.items()
                for target in one.record["related"]
            )
        order = {
            name: dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))) for name, counts in counted.items()
        }
        return {
            "sections": order["section"],
            "sources": order["source"],
            "editorial_links": {"total": links, "matched": matched},
            "bytes": _bytes(Path(self._address.uri)) if self._address.lite else None,
            "format": FORMAT,
        }

    # Writing

    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """See Store. Of two edits at the same moment the later one stays."""
        self._settings_of()  # no index, nothing to write
        with self._engine.newest():  # or the edit before this one might be lost
            old = {} if anew else self.policy()
        self._put_document(POLICY, edit(old))

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """See Store. The right to write is a lease, which lapses a while after its process was killed."""
        with self._engine.newest():
            try:
                if self._engine.exists("documents"):
                    self._begin_lease()
                yield
            finally:
                self._new = None
                if self._lease:
                    self._lease.end()
                    self._lease = None

    def _begin_lease(self) -> None:
        self._lease = Lease(self._documents, self.name)
        self._forget()
        settings = self._found_settings()
        self._cut_off = bool(settings and settings["dirty"])  # the writer before this one was

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._new = (dict(settings), dict(model_files or {}))

    def _make(self) -> dict[str, Any] | None:
        """Make the collections of a new index; return its settings, which come last. None if another made it first."""
        from base64 import b64encode  # noqa: PLC0415 - only for an index that keeps its model

        if self._new is None:
            raise self._engine.not_found()
        given, files = self._new
        there = [name for name in COLLECTIONS if self._engine.exists(name)]
        for name in there:
            if not self._engine.is_ours(name):
                raise IndexLockedError(
                    f"The server holds a collection {self._engine.full_name(name)} that is no part of this index. Name "
                    f"another index with --index."
                )
        if "documents" not in there:
            self._documents.create()
        if self._lease is None:
            self._begin_lease()
            if self._found_settings():  # another was first
                return None
        for name in there:  # of a first build that was cut off before it wrote an article
            if name != "documents":
                self._engine.drop(name)
        self._documents.delete([name for name in self._documents.names() if name not in (POLICY, Lease.NAME)])
        self._terms.create()
        create_collections(self._engine, given["model"]["dimensions"], exact=self._address.lite)
        if files:
            self._put_document(MODEL, {name: b64encode(content).decode() for name, content in files.items()})
        return {
            **given,
            "id": uuid4().hex,
            "format": FORMAT,
            "change": NO_CHANGE,
            "counted": 0,  # how often the counts were made anew
            "round": 0,  # of hubness
            "moved": 0,  # articles that came or went since the last round was called for
            "dirty": False,  # whether counts may be off
            "languages": {},
            "length": 0,
            "mean": 0.0,  # hubness of all, in the round after which it was found
            "mean_of": -1,
            "words": "sparse" if self._engine.sparse else "folded",
        }

    def write(self, changes: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """See Store.

        First the counts of terms, the texts and what is known of nearness, then the articles, each as one row that is
        replaced whole; then what nothing points to any more goes. A kill between leaves `dirty`, and with it a recount,
        to the next writer.
        """
        if self._lease is None and self._engine.exists("documents"):  # another made the index since we began
            self._begin_lease()
        if self._lease:
            self._lease.check()
        settings = self._found_settings()
        if settings and not changes and not removals:
            return
        own = {change.article.id for change in changes}
        gone_ids = [id for id in dict.fromkeys(removals) if id not in own]
        keys = [key_of(id) for id in (*own, *gone_ids)]
        stored = self._stored_for_writing(keys) if settings else {}
        for change in changes:
            if change.vector is None and (key := key_of(change.article.id)) not in stored:
                if settings and self._engine.count(ARTICLES, f'pk == "{key}"'):
                    raise self._damaged(key)
                raise ValueError(f"article {change.article.id!r} is new and needs a vector")
        if settings is None:
            settings = self._make()
            if settings is None:
                self.write(changes, removals)
                return
        elif not settings["dirty"]:
            settings["dirty"] = True
            self._put_settings(settings)
        number = settings["change"] + 1
        old = [stored[key] for key in keys if key in stored]
        moved = batch.weigh(self._terms, settings, changes, old, gone_ids)
        packed, documents = batch.packed(self._terms, settings, changes, stored, number)
        self._documents.put(documents)
        if settings["words"] == "folded":
            self._engine.upsert(WORDS, [folded for _, folded in packed if folded])
        self._engine.upsert(NEARNESS, batch.due_rows(changes, stored))
        self._engine.upsert(ARTICLES, [row for row, _ in packed])
        gone = [key_of(id) for id in gone_ids]
        for collection in (ARTICLES, NEARNESS, *((WORDS,) if settings["words"] == "folded" else ())):
            self._engine.delete(collection, "pk", gone)
        kept = {text_name(row["pk"], row["content"]) for row, _ in packed} | documents.keys()
        self._documents.delete([name for of_it in stored.values() for name in documents_of(of_it) if name not in kept])
        settings["change"], settings["moved"] = number, settings["moved"] + moved
        self._put_settings(settings)
        self._new = None

    def _there(self, ids: Sequence[str]) -> list[str]:
        """Return the primary keys of those of the articles that are stored."""
        return [row["pk"] for row in self._engine.by_key(ARTICLES, "pk", [key_of(id) for id in ids], ["pk"])]

    def _stored_for_writing(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Return what is stored of articles; what is damaged counts as not stored, and calls for a recount."""
        try:
            return self._rows(keys)
        except IndexDamagedError:
            self._cut_off = True
            found: dict[str, Stored] = {}
            for key in keys:
                with contextlib.suppress(IndexDamagedError):
                    found |= self._rows([key])
            return found

    def _put_settings(self, settings: dict[str, Any]) -> None:
        self._put_document(SETTINGS, settings)
        self._forget()

    def finish(self, *, built: bool) -> None:
        """See Store. Milvus keeps its own search files; what follows from all articles is brought up to date."""
        settings = self._found_settings()
        if settings is None:
            return
        if self._lease:
            self._lease.check()
        if self._cut_off:
            self._recount(settings)
            self._cut_off = False
        articles = sum(articles for articles, _ in settings["languages"].values())
        if settings["moved"] and settings["moved"] > (STALE_SHARE * articles if articles > SMALL else 0):
            settings["round"], settings["moved"] = settings["round"] + 1, 0
        if built:
            settings["last_build"] = datetime.now(UTC).isoformat(timespec="seconds")
            for name in (ARTICLES, *((WORDS,) if settings["words"] == "folded" else ())):
                self._engine.flush(name)
        settings["dirty"] = False
        settings["counted"] += 1  # who reads looks the counts up again
        self._put_settings(settings)

    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """See Store."""
        settings = self._settings_of()
        if self._lease:
            self._lease.check()
        there = set(self._there([*values]))
        rows = [
            {"pk": key, "vector": [value, 0.0], "round": settings["round"]}
            for id, value in values.items()
            if (key := key_of(id)) in there
        ]
        self._engine.upsert(NEARNESS, rows)
        if last and settings["mean_of"] != settings["round"]:  # the round was over all
            total, sum_of_all = 0, 0.0
            for page in self._engine.pages(NEARNESS, f"round == {settings['round']}", ["vector"]):
                total += len(page)
                sum_of_all += sum(row["vector"][0] for row in page)
            settings["mean"], settings["mean_of"] = round(sum_of_all / max(total, 1), 6), settings["round"]
            self._put_settings(settings)

    def put_setting(self, name: str, value: object) -> None:
        """See Store."""
        self._put_settings({**self._settings_of(), name: value})

    def _recount(self, settings: dict[str, Any]) -> None:
        """Count terms, languages and words anew from the articles; remove what belongs to none."""
        tally, names = Tally(), set(OWN_DOCUMENTS)
        due = {row["pk"] for page in self._engine.pages(NEARNESS, "", []) for row in page}
        for page in self._engine.pages(ARTICLES, "", ["content", "checksum"]):
            keys = [row["pk"] for row in page]
            for stored in self._stored_for_writing(keys).values():
                tally.add(stored)
            names |= {text_name(row["pk"], row["content"]) for row in page}
            names |= {rest_name(row["pk"], row["checksum"]) for row in page}
            self._engine.upsert(NEARNESS, [batch.due_row(key) for key in keys if key not in due])
            due.difference_update(keys)
        self._engine.delete(NEARNESS, "pk", sorted(due))  # what is left belongs to no article
        if settings["words"] == "folded":
            self._engine.delete(WORDS, "pk", sorted(self._words_only()))
        self._documents.delete([name for name in self._documents.names() if name not in names])
        self._terms.recount(tally.terms)
        settings["languages"], settings["length"] = tally.languages, tally.length

    def _words_only(self) -> set[str]:
        """Return the primary keys of folded words that belong to no article."""
        words = {row["pk"] for page in self._engine.pages(WORDS, "", []) for row in page}
        return words - {row["pk"] for page in self._engine.pages(ARTICLES, "", []) for row in page}

    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """See Store."""
        return Verification(
            self._engine, self._documents, self._terms, self._settings_of, self._rows, self.articles, OWN_DOCUMENTS
        ).problems(on_progress)

    def repair(self) -> None:
        """See Store."""
        settings = self._settings_of()
        self._recount(settings)
        settings["dirty"], settings["counted"] = False, settings["counted"] + 1
        self._put_settings(settings)


@lru_cache(maxsize=2)
def _opened(address: Address) -> MilvusStore:
    return MilvusStore(address)


def _from(sources: Iterable[str] | None) -> str:
    if sources is None:
        return ""
    return f"origin in [{', '.join(str(hashed('source', source)) for source in sources)}]"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
