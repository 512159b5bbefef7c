"""The catalog: links and fields of all articles as arrays, the input of a learned ranking's features."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from recommender.article import ArticleSummary
from recommender.store import Store
from recommender.text.terms import extract_terms

LinkKind = Literal["related", "links"]
CHUNK = 1024  # articles that are read at once
MAX_PREFIXES = 12  # of a path; deeper folders count as the twelfth
GROUPINGS = ("folder", "parent", "section")  # by which the habits of linking are counted
_LIST_FIELDS = ("titles", "prefixes", "tags", "authors")
_SECONDS_PER_DAY = 86_400.0
_TYPES = {  # of the arrays
    **{"id_offsets": "i8", "id_bytes": "u1", "hashes": "u8", "hash_rows": "i8", "revision": "i8"},
    **{"link_offsets": "i8", "link_targets": "i8", "sections": "i8", "days": "f8"},
    **{name: "i8" for field in _LIST_FIELDS for name in (field, f"{field}_offsets")},
}


@dataclass(frozen=True, slots=True)
class ArticleFields:
    """The fields of one article that features are computed from.

    Attributes:
        titles: ids of the terms of its title, ascending: int64; terms that no stored article has are left out.
        prefixes: hashes of the folders of its path, the outermost first: int64.
        section: the hash of its section, 0 without one.
        tags: hashes of its tags, ascending: int64.
        authors: hashes of its authors, ascending: int64.
        day: its publication date in days since 1970; NaN without one.
    """

    titles: NDArray[np.int64]
    prefixes: NDArray[np.int64]
    section: int
    tags: NDArray[np.int64]
    authors: NDArray[np.int64]
    day: float


@dataclass(frozen=True)  # no slots, for cached_property
class Lists:
    """A list of numbers for each of n rows, concatenated.

    Attributes:
        offsets: the start of each row's list, and the end of the last: int64, shape (n + 1,).
        values: the lists: shape (offsets[-1],).
    """

    offsets: NDArray[np.int64]
    values: NDArray[Any]

    @classmethod
    def of(cls, lists: Iterable[Sequence[int] | NDArray[np.int64]]) -> Self:
        """Concatenate lists."""
        arrays = [np.asarray(values, dtype=np.int64) for values in lists]
        offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
        return cls(offsets, np.concatenate([np.empty(0, dtype=np.int64), *arrays]))

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return the list of a row."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each list: int64, shape (n,)."""
        return np.diff(self.offsets)

    def gather(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the concatenated lists of some rows, and the position in `rows` of each number's row."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        indices = np.arange(int(lengths.sum())) + np.repeat(self.offsets[rows] - ends + lengths, lengths)
        return np.repeat(np.arange(len(rows)), lengths), self.values[indices]

    def is_consistent(self, n: int) -> bool:
        """Return whether there are `n` lists, whose offsets ascend within the values."""
        offsets = self.offsets
        return (
            len(offsets) == n + 1
            and int(offsets[0]) == 0
            and int(offsets[-1]) == len(self.values)
            and bool((offsets[1:] >= offsets[:-1]).all())  # differences of hostile offsets would overflow
        )


class Catalog:
    """Links and fields of the articles of an index, by row. Threads may share it.

    Args:
        arrays: as `to_arrays` returns them.

    Attributes:
        links: of each article, the rows that its links lead to, ascending, without itself.
        backlinks: of each article, the rows that link to it, ascending.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._id_bytes = Lists(arrays["id_offsets"], arrays["id_bytes"])
        self._hashes, self._hash_rows = arrays["hashes"], arrays["hash_rows"]
        self.revision = int(arrays["revision"][0])
        self.size = len(self._id_bytes.offsets) - 1
        self.links = Lists(arrays["link_offsets"], arrays["link_targets"])
        self.titles, self.prefixes, self.tags, self.authors = (
            Lists(arrays[f"{name}_offsets"], arrays[name]) for name in _LIST_FIELDS
        )
        self.sections, self.days = arrays["sections"], arrays["days"]

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> "Catalog | None":
        """Return the catalog of stored arrays; None if they do not fit together."""
        try:
            if {name: array.dtype.str[1:] for name, array in arrays.items()} != _TYPES:
                return None
            catalog = cls(arrays)
            n = catalog.size
            rows = (catalog.links.values, catalog._hash_rows)
            valid = (
                all(part.is_consistent(n) for part in (catalog._id_bytes, catalog.links))
                and all(getattr(catalog, name).is_consistent(n) for name in _LIST_FIELDS)
                and {len(array) for array in (catalog.sections, catalog.days, catalog._hashes, catalog._hash_rows)}
                == {n}
                and all(int(part.max(initial=0)) < max(n, 1) and int(part.min(initial=0)) >= 0 for part in rows)
            )
        except IndexError:
            return None
        return catalog if valid else None

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        fields: Sequence[ArticleFields],
        links: Mapping[str, Iterable[str]],
        revision: int = 0,
    ) -> Self:
        """Return the catalog of articles.

        Args:
            ids: of the articles, ascending.
            fields: of each article.
            links: the ids that articles link to, by id; unknown ids are left out.
            revision: of the index.
        """
        return cls(_arrays(ids, fields, _resolved(ids, links), revision))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the catalog, one-dimensional."""
        return dict(self._arrays)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of articles: int64, shape (n,); -1 where the catalog has none."""
        hashes = np.array([_id_hash(id) for id in ids], dtype=np.uint64)
        positions = np.searchsorted(self._hashes, hashes)
        positions[positions == self.size] = 0
        if not self.size:
            return np.full(len(ids), -1, dtype=np.int64)
        return np.where(self._hashes[positions] == hashes, self._hash_rows[positions], -1).astype(np.int64)

    @cached_property
    def id_hashes(self) -> NDArray[np.uint64]:
        """A 64-bit hash of each article's id: uint64, shape (n,)."""
        hashes = np.empty(self.size, dtype=np.uint64)
        hashes[self._hash_rows] = self._hashes
        return hashes

    def ids(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of the articles at some rows."""
        return [self._id_bytes[row].tobytes().decode("utf-8", "replace") for row in rows]

    def fields(self, row: int) -> ArticleFields:
        """Return the fields of the article at a row."""
        return ArticleFields(
            self.titles[row],
            self.prefixes[row],
            int(self.sections[row]),
            self.tags[row],
            self.authors[row],
            float(self.days[row]),
        )

    def with_links(self, links: Mapping[str, Iterable[str]]) -> "Catalog":
        """Return a copy with other links, given by id as in `of`."""
        part = _resolved(self.ids(range(self.size)), links)
        return Catalog({**self._arrays, "link_offsets": part.offsets, "link_targets": part.values})

    def without_links_of(self, rows: NDArray[np.int64], *, to: bool = True) -> "Catalog":
        """Return a copy without the links from the articles at some rows, and without those to them."""
        hidden = np.zeros(self.size, dtype=np.bool_)
        hidden[rows] = True
        sources = np.repeat(np.arange(self.size), self.links.lengths)
        return self._with_links_where(~hidden[sources] & ~(to & hidden[self.links.values]))

    def with_links_of(self, rows: NDArray[np.int64]) -> "Catalog":
        """Return a copy with the links from the articles at some rows only."""
        is_known = np.zeros(self.size, dtype=np.bool_)
        is_known[rows] = True
        return self._with_links_where(np.repeat(is_known, self.links.lengths))

    def _with_links_where(self, is_visible: NDArray[np.bool_]) -> "Catalog":
        """Return a copy with some of the links: bool, shape (links,)."""
        sources = np.repeat(np.arange(self.size), self.links.lengths)
        lengths = np.bincount(sources[is_visible], minlength=self.size)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Catalog({**self._arrays, "link_offsets": offsets, "link_targets": self.links.values[is_visible]})

    @cached_property
    def backlinks(self) -> Lists:
        """Of each article, the rows that link to it, ascending."""
        sources = np.repeat(np.arange(self.size), self.links.lengths)
        order = np.argsort(self.links.values, kind="stable")
        lengths = np.bincount(self.links.values, minlength=self.size)
        return Lists(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), sources[order])

    @cached_property
    def title_idf(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The term ids of all titles, ascending, and ln((n + 1) / df) of each: int64 and float64, shape (t,)."""
        terms, counts = np.unique(self.titles.values, return_counts=True)
        return terms, np.log((self.size + 1) / counts)

    @cached_property
    def folders(self) -> NDArray[np.int64]:
        """The hash of each article's folder: int64, shape (n,); 0 without one."""
        return _nth_last(self.prefixes, 1)

    @cached_property
    def parents(self) -> NDArray[np.int64]:
        """The hash of the folder around each article's folder: int64, shape (n,); 0 without one."""
        return _nth_last(self.prefixes, 2)

    @property
    def groups(self) -> dict[str, NDArray[np.int64]]:
        """The hash of each article's group, by the grouping: int64, shape (n,)."""
        return {"folder": self.folders, "parent": self.parents, "section": self.sections}

    @cached_property
    def habits(self) -> "dict[str, Habits]":
        """How often the articles of each folder, parent folder and section link to each article."""
        return {name: Habits.of(self.groups[name], self.links) for name in GROUPINGS}


@dataclass(frozen=True, slots=True)
class Habits:
    """How often the articles of each group link to each article.

    Attributes:
        groups: the hashes of the groups, ascending: int64, shape (g,).
        linking: the number of articles of each group that have links: int64, shape (g,).
        keys: group · n + target of each pair with a link, ascending: int64, shape (p,).
        counts: the number of links of each pair: int64, shape (p,).
        size: the number of articles, n.
    """

    groups: NDArray[np.int64]
    linking: NDArray[np.int64]
    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    size: int

    @classmethod
    def of(cls, hashes: NDArray[np.int64], links: Lists) -> Self:
        """Count the links of groups; the hash of each article's group is given."""
        groups, codes = np.unique(hashes, return_inverse=True)
        sources = np.repeat(np.arange(len(hashes)), links.lengths)
        keys, counts = np.unique(codes[sources] * len(hashes) + links.values, return_counts=True)
        linking = np.bincount(codes[links.lengths > 0], minlength=len(groups))
        return cls(groups, linking, keys, counts, len(hashes))

    def targets(self, group: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows that the articles of a group link to, ascending, and the number of links to each."""
        code = int(np.searchsorted(self.groups, group))
        if code == len(self.groups) or self.groups[code] != group:
            return self.keys[:0], self.counts[:0]
        start, end = np.searchsorted(self.keys, [code * self.size, (code + 1) * self.size])
        return self.keys[start:end] - code * self.size, self.counts[start:end]

    def links_to(self, group: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Return the number of links from a group to the articles at some rows, and of its articles that have links."""
        code = int(np.searchsorted(self.groups, group))
        if code == len(self.groups) or self.groups[code] != group or not len(self.keys):
            return np.zeros(len(rows), dtype=np.int64), 0
        return lookup(self.keys, self.counts, code * self.size + rows), int(self.linking[code])


def contains(ascending: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which values an ascending array contains: `np.isin` would sort both."""
    if not len(ascending):
        return np.zeros(len(values), dtype=np.bool_)
    positions = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    is_contained: NDArray[np.bool_] = ascending[positions] == values
    return is_contained


def lookup(keys: NDArray[np.int64], values: NDArray[Any], wanted: NDArray[np.int64]) -> NDArray[Any]:
    """Return the value of each key that is wanted; 0 for keys that are not among the ascending `keys`."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=values.dtype)
    positions = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[positions] == wanted, values[positions], 0)


def read_catalog(store: Store, kinds: Sequence[LinkKind], previous: Catalog | None = None) -> Catalog:
    """Read the catalog of an index; with a previous one, only articles that changed since are read.

    Args:
        store: the store; hold a snapshot of it.
        kinds: the kinds of links.
        previous: a catalog of the same index and kinds.
    """
    _, revision, _ = store.revision()
    ids = list(store.ids())
    changed = set(store.ids_changed_after(previous.revision)) if previous else set(ids)
    if previous and len(changed) > len(ids) // 5:
        previous, changed = None, set(ids)
    stored_rows = previous.rows(ids) if previous else np.full(len(ids), -1, dtype=np.int64)
    is_stale = np.array(
        [row < 0 or id in changed for id, row in zip(ids, stored_rows.tolist(), strict=True)], dtype=np.bool_
    )
    stale_ids = [id for id, stale in zip(ids, is_stale.tolist(), strict=True) if stale]
    fields_of = dict(_read_fields(store, stale_ids))
    relinked = set(stale_ids)
    if previous:
        relinked |= set(store.backlinks(stale_ids)) if stale_ids else set()
        relinked |= set(_former_sources(previous, stored_rows[~is_stale])) & set(ids)
    links = read_links(store, kinds, sorted(relinked) if previous else None)
    if previous is None:
        present = [id for id in ids if id in fields_of]
        return Catalog.of(present, [fields_of[id] for id in present], links, revision)
    return _merged(previous, ids, stored_rows, fields_of, relinked, links, revision)


def read_links(store: Store, kinds: Sequence[LinkKind], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return by id the ids that the links of some kinds lead to; of all articles, or of some."""
    links: dict[str, list[str]] = {}
    for kind in kinds:
        for id, targets in store.links(kind, ids).items():
            links.setdefault(id, []).extend(targets)
    return links


def article_fields(summary: ArticleSummary, title_ids: Iterable[int]) -> ArticleFields:
    """Return the fields of an article.

    Args:
        summary: the article.
        title_ids: ids of the terms of its title, distinct.
    """
    authors = summary.metadata.get("authors") or summary.metadata.get("author") or ()
    authors = [authors] if isinstance(authors, str) else authors if isinstance(authors, list | tuple) else ()
    return ArticleFields(
        titles=np.array(sorted(title_ids), dtype=np.int64),
        prefixes=np.array(_prefix_hashes(summary), dtype=np.int64),
        section=_hash(summary.section) if summary.section else 0,
        tags=_hashes(summary.tags),
        authors=_hashes(author for author in authors if isinstance(author, str)),
        day=summary.published.timestamp() / _SECONDS_PER_DAY if summary.published else np.nan,
    )


def _read_fields(store: Store, ids: Sequence[str]) -> Iterable[tuple[str, ArticleFields]]:
    remaining = iter(ids)
    while chunk := list(islice(remaining, CHUNK)):
        summaries, signals = store.summaries(chunk), store.signals(chunk)
        language_of = dict(zip(signals.ids, signals.languages, strict=True))
        title_terms, terms_of_language = {}, dict[str, set[str]]()
        for id, summary in summaries.items():
            language = language_of.get(id, "und")
            title_terms[id] = extract_terms(summary.title, "", language)
            terms_of_language.setdefault(language, set()).update(title_terms[id])
        stored_terms = {language: store.lookup_terms(language, terms) for language, terms in terms_of_language.items()}
        for id, summary in summaries.items():
            stored = stored_terms[language_of.get(id, "und")]
            yield id, article_fields(summary, {stored[term][0] for term in title_terms[id] if term in stored})


def _former_sources(previous: Catalog, unchanged_rows: NDArray[np.int64]) -> list[str]:
    """Return the articles that linked to an article that was changed or removed since, and may link to another now."""
    is_gone = np.ones(previous.size, dtype=np.bool_)
    is_gone[unchanged_rows] = False
    _, sources = previous.backlinks.gather(np.flatnonzero(is_gone))
    return previous.ids(np.unique(sources).tolist())


def _merged(
    previous: Catalog,
    ids: Sequence[str],
    stored_rows: NDArray[np.int64],
    fields_of: Mapping[str, ArticleFields],
    relinked: set[str],
    links: Mapping[str, Iterable[str]],
    revision: int,
) -> Catalog:
    """Return the catalog of `ids`: fields and links of changed articles anew, those of the others as before."""
    present = [(id, row) for id, row in zip(ids, stored_rows.tolist(), strict=True) if row >= 0 or id in fields_of]
    row_of = {id: row for row, (id, _) in enumerate(present)}
    new_rows = np.full(previous.size, -1, dtype=np.int64)
    for row, (_, stored_row) in enumerate(present):
        if stored_row >= 0:
            new_rows[stored_row] = row
    fields = [fields_of[id] if id in fields_of else previous.fields(row) for id, row in present]
    targets = []
    for row, (id, stored_row) in enumerate(present):
        if id in relinked or stored_row < 0:
            linked = {row_of[target] for target in links.get(id, ()) if target in row_of}
        else:
            linked = set(new_rows[previous.links[stored_row]].tolist()) - {-1}
        targets.append(sorted(linked - {row}))
    ids = [id for id, _ in present]
    return Catalog(_arrays(ids, fields, Lists.of(targets), revision))


def _resolved(ids: Sequence[str], links: Mapping[str, Iterable[str]]) -> Lists:
    """Return the rows that each article links to, ascending, without itself."""
    row_of = {id: row for row, id in enumerate(ids)}
    return Lists.of(
        sorted({row_of[id] for id in links.get(source, ()) if id in row_of} - {row}) for row, source in enumerate(ids)
    )


def _arrays(
    ids: Sequence[str], fields: Sequence[ArticleFields], links: Lists, revision: int
) -> dict[str, NDArray[Any]]:
    encoded = [id.encode("utf-8", "replace") for id in ids]
    hashes = np.array([_id_hash(id) for id in ids], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    arrays: dict[str, NDArray[Any]] = {
        "id_offsets": np.concatenate([[0], np.cumsum([len(id) for id in encoded])]).astype(np.int64),
        "id_bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "hashes": hashes[order],
        "hash_rows": order.astype(np.int64),
        "revision": np.array([revision], dtype=np.int64),
        "link_offsets": links.offsets,
        "link_targets": links.values,
        "sections": np.array([item.section for item in fields], dtype=np.int64),
        "days": np.array([item.day for item in fields], dtype=np.float64),
    }
    for name in _LIST_FIELDS:
        part = Lists.of(getattr(item, name) for item in fields)
        arrays |= {f"{name}_offsets": part.offsets, name: part.values}
    return arrays


def _nth_last(lists: Lists, n: int) -> NDArray[np.int64]:
    """Return the nth last number of each list; 0 where there is none."""
    has_nth = lists.lengths >= n
    values = np.zeros(len(lists.lengths), dtype=np.int64)
    values[has_nth] = lists.values[lists.offsets[1:][has_nth] - n]
    return values


def _prefix_hashes(summary: ArticleSummary) -> list[int]:
    """Return the hashes of the folders of an article's path, the path of its URL or else its id."""
    path = re.sub(r"^[a-z][a-z0-9+.-]*://[^/]*", "", summary.url or summary.id, flags=re.IGNORECASE)
    parts = [part for part in re.split(r"[?#]", path)[0].split("/") if part][:-1]
    return [_hash("/".join(parts[: depth + 1]).casefold()) for depth in range(min(len(parts), MAX_PREFIXES))]


def _hashes(texts: Iterable[str]) -> NDArray[np.int64]:
    return np.array(sorted({_hash(text.strip().casefold()) for text in texts}), dtype=np.int64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=7).digest(), "little") + 1


def _id_hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8).digest(), "little")
