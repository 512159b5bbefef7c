"""Changed blocks: which blocks differ from those of the last run; only blocks that may have changed are rebuilt."""

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recommender.article import Recommendation
from recommender.blocks.batch import map_articles
from recommender.blocks.builder import BlockBuilder, BlockInputs
from recommender.blocks.eligibility import Eligibility
from recommender.blocks.query_article import stored_query_articles
from recommender.errors import RecommenderError
from recommender.filters import Condition
from recommender.learning.learn import ranking_state
from recommender.ranking.hubness import UNCORRECTED
from recommender.ranking.matching import compare, rank_by
from recommender.ranking.query import chunk_size, stored_queries
from recommender.ranking.scoring import BOTH
from recommender.store import Signals, Store
from recommender.system.files import create_parent
from recommender.text.dates import subtract_age

APPLICATION_ID = 0x52434D53  # "RCMS"
FORMAT = 1
NEIGHBOUR_CANDIDATES = 200  # of a new article, by each signal, whose blocks it may enter
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (
    id TEXT PRIMARY KEY,
    line TEXT NOT NULL,           -- the block as it was written, JSON
    pool TEXT NOT NULL,           -- the ids of the articles that determine it, JSON
    min_relevance REAL NOT NULL,  -- the relevance with which one more article may change it
    is_open INTEGER NOT NULL,     -- 1: it had too few candidates, so that any article may enter it
    is_short INTEGER NOT NULL     -- 1: it has fewer links than requested, or was filled
) WITHOUT ROWID;
"""


class ChangedLinks:
    """The blocks that differ from those of the last run.

    A context manager: it stores the state at its end, unless there was an error or not all of `blocks` was read.

    Attributes:
        full: why every block is rebuilt; empty if only some are.
        rebuilt: how many blocks were built anew and compared so far.
        written: how many of them differed.
        empty: how many of those that differed are empty.
        deleted: ids that had a block in the last run and are not in the index any more.
    """

    def __init__(
        self,
        store: Store,
        state: Path,
        eligibility: Eligibility,
        k: int,
        *,
        full: bool,
        n_jobs: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._store, self._path, self._eligibility, self._k = store, state, eligibility, k
        self._on_progress, self._n_jobs = on_progress, n_jobs
        self._full_requested = full
        self.full = ""
        self.rebuilt = self.written = self.empty = 0
        self.deleted: list[str] = []
        self._ids: Sequence[str] | None = None  # of the blocks to rebuild; None for all
        self._finished = False

    def __enter__(self) -> "ChangedLinks":
        """Open the state and find the blocks that may have changed."""
        create_parent(self._path)
        with self._translate_errors():
            self._state = sqlite3.connect(self._path, isolation_level=None)
            try:
                self._state.execute("BEGIN IMMEDIATE")
                self._open()
                self._find_changes()
            except BaseException:
                self._close(commit=False)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Store the state, unless there was an error or not all blocks were read."""
        with self._translate_errors():
            self._close(commit=kind is None and self._finished)

    def _close(self, *, commit: bool) -> None:
        with contextlib.closing(self._state):
            if self._state.in_transaction:
                self._state.execute("COMMIT" if commit else "ROLLBACK")
        if not commit and not self._path.stat().st_size:
            self._path.unlink()

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate sqlite3 errors into this package's errors."""
        try:
            yield
        except sqlite3.Error as error:
            reason = "is in use by another run; try again when it has finished" if "locked" in str(error) else error
            raise RecommenderError(f"The state {self._path} cannot be used: {reason}.") from error

    def sentence(self) -> str:
        """Return a summary of the run."""
        scope = f"Full pass ({self.full})" if self.full else "Only what may have changed"
        return (
            f"{scope}: {self.rebuilt:,} blocks rebuilt, {self.written:,} of them differ, "
            f"{self.empty:,} of which are empty; {len(self.deleted):,} articles are gone."
        )

    @property
    def blocks(self) -> Iterator[tuple[str, list[Recommendation]]]:
        """The blocks that differ, by article, in the order of the ids. Can be read once."""
        function = partial(_build, self._store, self._eligibility, self._k)
        for id, (block, inputs) in map_articles(self._store, function, self._ids, self._on_progress, self._n_jobs):
            self.rebuilt += 1
            with self._translate_errors():
                differs = self._put(id, block, inputs)
            if differs:
                self.written += 1
                self.empty += not block
                yield id, block
        self._finished = True

    def _put(self, id: str, block: list[Recommendation], inputs: BlockInputs) -> bool:
        """Store a block; return whether it differs from that of the last run."""
        line = json.dumps([[link.id, round(link.score, 2), link.via] for link in block], ensure_ascii=False)
        row = self._state.execute("SELECT line FROM blocks WHERE id = ?", (id,)).fetchone()
        is_short = len(block) < self._k or any(link.via == "fill" for link in block)
        pool = json.dumps(inputs.pool, ensure_ascii=False)
        values = (id, line, pool, inputs.min_relevance, not inputs.is_full, is_short)
        self._state.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?)", values)
        return row is None or row[0] != line

    def _open(self) -> None:
        (application,) = self._state.execute("PRAGMA application_id").fetchone()
        (version,) = self._state.execute("PRAGMA user_version").fetchone()
        (tables,) = self._state.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application == version == tables == 0:
            for statement in SCHEMA.split(";\n"):
                self._state.execute(statement)
            self._state.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._state.execute(f"PRAGMA user_version = {FORMAT}")
        elif (application, version) != (APPLICATION_ID, FORMAT):
            raise RecommenderError(f"{self._path} is not a state of `links --changed`. Name another file.")

    def _find_changes(self) -> None:
        """Find the blocks to rebuild, and the articles that are gone."""
        with self._store.snapshot():
            facts = self._facts()
            old = {name: json.loads(value) for name, value in self._state.execute("SELECT name, value FROM facts")}
            known_ids = {id for (id,) in self._state.execute("SELECT id FROM blocks")}
            self.deleted = sorted(known_ids - set(self._store.ids()))
            self.full = self._full_pass_reason(old, facts)
            if not self.full:
                self._ids = sorted(self._affected_ids(old, facts))
            for id in self.deleted:
                self._state.execute("DELETE FROM blocks WHERE id = ?", (id,))
            self._state.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def _facts(self) -> dict[str, Any]:
        """Return the facts about index, settings and date on which all blocks depend."""
        eligibility, policy = self._eligibility, self._eligibility.policy.to_record()
        index, change, derived = self._store.revision()
        return {
            "index": index,
            "change": change,
            "derived": derived,
            "ranking": ranking_state(self._store) if eligibility.settings.ranking != "content" else [],
            "scale": self._store.settings().get("scale"),
            "k": self._k,
            "settings": [
                eligibility.settings.to_record(),
                policy["rules"],
                sorted(eligibility.exclude),
                str(eligibility.as_of),
            ],
            "pins": policy["pins"],
            "bans": policy["bans"],
            "now": eligibility.now.isoformat(),
        }

    def _full_pass_reason(self, old: dict[str, Any], new: dict[str, Any]) -> str:
        """Return why every block must be rebuilt; an empty text if some may stay."""
        if self._full_requested:
            return "as requested"
        if not old:
            return "there is no earlier run"
        if old["index"] != new["index"] or old["change"] > new["change"]:
            return "the index is another one than in the last run"
        if (old["k"], old["settings"]) != (new["k"], new["settings"]):
            return "settings or rules have changed"
        if (old["derived"], old["scale"]) != (new["derived"], new["scale"]):
            return "the derived files were rebuilt since, and every score may have changed a little"
        if old["now"] > new["now"]:
            return "the last run is in the future"
        old_ranking = old.get("ranking", [])
        if old_ranking[:1] != new["ranking"][:1]:
            return "the learned ranking was trained, updated or forgotten since"
        is_changed = (old["change"], old["bans"], old_ranking) != (new["change"], new["bans"], new["ranking"])
        is_changed = is_changed or bool(self._due_ids(old))
        if new["ranking"] and is_changed:  # a block depends on the links of neighbours, and on counts of all links
            return "articles, links or bans have changed, on which every score of the learned ranking may depend"
        return ""

    def _affected_ids(self, old: dict[str, Any], new: dict[str, Any]) -> set[str]:
        """Return the articles whose blocks may have changed."""
        changed_ids = (
            set(self._store.ids_changed_after(old["change"])) | self._edited_ids(old, new) | self._due_ids(old)
        )
        stored_ids = set(self._store.content_hashes(sorted(changed_ids)))
        neighbour_ids, reweighted_ids = self._neighbour_ids(sorted(stored_ids))
        input_ids = changed_ids | reweighted_ids | set(self.deleted)
        pools = self._state.execute("SELECT id, pool FROM blocks") if input_ids else ()
        dependent_ids = {id for id, pool in pools if not input_ids.isdisjoint(json.loads(pool))}
        short_ids = set[str]()
        if changed_ids and self._eligibility.settings.fill != "none":
            short_ids = {id for (id,) in self._state.execute("SELECT id FROM blocks WHERE is_short")}
        pinned_ids = {id for id, links in self._eligibility.policy.pins.items() if not changed_ids.isdisjoint(links)}
        backlink_ids = set(self._store.backlinks(sorted(stored_ids)))
        affected_ids = (
            stored_ids | reweighted_ids | dependent_ids | short_ids | pinned_ids | backlink_ids | neighbour_ids
        )
        return set(self._store.content_hashes(sorted(affected_ids)))

    @staticmethod
    def _edited_ids(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
        """Return the articles whose pins or bans have changed."""
        pins = {id for id in {*old["pins"], *new["pins"]} if old["pins"].get(id) != new["pins"].get(id)}
        articles = set(old["bans"]["articles"]) ^ set(new["bans"]["articles"])
        pairs = {tuple(pair) for pair in old["bans"]["pairs"]} ^ {tuple(pair) for pair in new["bans"]["pairs"]}
        return pins | articles | {id for pair in pairs for id in pair}

    def _due_ids(self, old: dict[str, Any]) -> set[str]:
        """Return the articles that have become eligible or ineligible by their dates since the last run."""
        then, now = datetime.fromisoformat(old["now"]), self._eligibility.now
        age = self._eligibility.settings.age
        spans = [(math.floor(then.timestamp()), math.floor(now.timestamp()))]
        if age and self._eligibility.settings.age_from == "today":
            start, end = subtract_age(then, age), subtract_age(now, age)
            if start and end:
                spans.append((math.ceil(start.timestamp()) - 1, math.ceil(end.timestamp()) - 1))
        return {id for after, before in spans for id in self._store.published_between(after, before)}

    def _neighbour_ids(self, new_ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Return the articles whose blocks new ones may enter, and those of whose terms one has a weight only since."""
        neighbour_ids, reweighted_ids = self._enterable_ids(new_ids) if new_ids else set[str](), set[str]()
        size = chunk_size(self._store)
        for start in range(0, len(new_ids), size):
            stored = stored_queries(self._store, new_ids[start : start + size]).values()
            queries = [replace(query, condition=Condition()) for query in stored]
            signals = self._store.signals([query.id or "" for query in queries])
            hubness = dict(zip(signals.ids, signals.hubness.tolist(), strict=True))
            scorer, (rankings,) = rank_by(self._store, queries, NEIGHBOUR_CANDIDATES, [UNCORRECTED])
            for query, ranking in zip(queries, rankings, strict=True):
                correction = BOTH.hubness * hubness[query.id or ""]
                for other, raw_score in scorer.with_ids(ranking):  # symmetric without the hubness correction
                    row = self._state.execute("SELECT min_relevance FROM blocks WHERE id = ?", (other,)).fetchone()
                    if row and query.scale.display(raw_score - correction) >= row[0]:
                        neighbour_ids.add(other)
            reweighted_ids |= _reweighted_ids(scorer.signals, signals, new_ids)
        return neighbour_ids, reweighted_ids

    def _enterable_ids(self, new_ids: Sequence[str]) -> set[str]:
        """Return the articles with too few candidates whose blocks new articles may enter."""
        min_relevance = dict(self._state.execute("SELECT id, min_relevance FROM blocks WHERE is_open").fetchall())
        enterable_ids = {id for id, relevance in min_relevance.items() if not relevance}
        uncertain_ids = sorted(min_relevance.keys() - enterable_ids)
        size = chunk_size(self._store)
        for start in range(0, len(uncertain_ids), size):
            queries = list(stored_queries(self._store, uncertain_ids[start : start + size]).values())
            for query, scores in zip(queries, compare(self._store, queries, [new_ids] * len(queries)), strict=True):
                id = query.id or ""
                if any(query.scale.display(score) >= min_relevance[id] for score in scores.values()):
                    enterable_ids.add(id)
        return enterable_ids


def _reweighted_ids(neighbours: Signals, new: Signals, new_ids: Sequence[str]) -> set[str]:
    """Return the articles that alone contained a term before new ones did: in one article it has no weight.

    Args:
        neighbours: the signals of the new articles' neighbours.
        new: the signals of some of the new articles.
        new_ids: the ids of all new articles.
    """
    is_old = np.isin(neighbours.ids, new_ids, invert=True)
    rare = np.isin(neighbours.term_ids, new.term_ids[new.document_frequencies <= 2]) & is_old[neighbours.rows]
    _, first, counts = np.unique(neighbours.term_ids[rare], return_index=True, return_counts=True)
    return {neighbours.ids[row] for row in neighbours.rows[rare][first[counts == 1]].tolist()}


def _build(
    store: Store, eligibility: Eligibility, k: int, ids: Sequence[str]
) -> list[tuple[str, tuple[list[Recommendation], BlockInputs]]]:
    """Return the ids of stored articles, and their blocks with the articles that determine them."""
    with store.snapshot():
        query_articles = stored_query_articles(store, ids)
        blocks = BlockBuilder(store, eligibility).build_with_inputs(query_articles, k)
    return [(item.query.id or "", block) for item, block in zip(query_articles, blocks, strict=True)]
