"""Which blocks differ from those of the last time: only what may have changed is made anew."""

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
from recommender.blocks.eligibility import Eligibility, stored_query_articles
from recommender.errors import RecommenderError
from recommender.filters import Condition
from recommender.ranking.matching import chunk_size, compare, rank_by, stored_queries
from recommender.ranking.scoring import BOTH, Weights
from recommender.store import Signals, Store
from recommender.system.files import create_parent
from recommender.text.dates import subtract_age

APPLICATION_ID = 0x52434D53  # "RCMS"
FORMAT = 2
REACHED = 200  # articles near to a new one, by each signal, whose blocks may change
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (
    id TEXT PRIMARY KEY,
    line TEXT NOT NULL,        -- the block as it was written, JSON
    pool TEXT NOT NULL,        -- the ids of the articles that it follows from, JSON
    least REAL NOT NULL,       -- the least relevance with which one more article may change it
    open INTEGER NOT NULL,     -- 1: there was less to choose from than is wanted, so that one from far off may
    short INTEGER NOT NULL     -- 1: it has fewer links than were asked for, or something was filled in
) WITHOUT ROWID;
"""


class ChangedLinks:
    """The blocks that differ from those of the last time.

    A context: the state is stored when it ends without error and all of `blocks` was read.

    Attributes:
        full: why every block is made anew; empty if only some are.
        made: how many blocks that were made anew were read and compared so far.
        written: how many of them differed.
        deleted: ids that had a block the last time and are no articles of the index any more.
    """

    def __init__(
        self,
        store: Store,
        state: Path,
        frame: Eligibility,
        k: int,
        *,
        full: bool,
        n_jobs: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._store, self._path, self._frame, self._k = store, state, frame, k
        self._on_progress, self._n_jobs = on_progress, n_jobs
        self._asked = full
        self.full = ""
        self.made = self.written = self.empty = 0
        self.deleted: list[str] = []
        self._ids: Sequence[str] | None = None  # those to make anew; None for all
        self._finished = False

    def __enter__(self) -> "ChangedLinks":
        """Find out what may have changed."""
        create_parent(self._path)
        with self._told():
            self._state = sqlite3.connect(self._path, isolation_level=None)
            try:
                self._state.execute("BEGIN IMMEDIATE")
                self._open()
                self._find()
            except BaseException:
                self._end(keep=False)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Store the state, unless something went wrong."""
        with self._told():
            self._end(keep=kind is None and self._finished)

    def _end(self, *, keep: bool) -> None:
        with contextlib.closing(self._state):
            if self._state.in_transaction:
                self._state.execute("COMMIT" if keep else "ROLLBACK")
        if not keep and not self._path.stat().st_size:
            self._path.unlink()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what SQLite raises as an error of this package."""
        try:
            yield
        except sqlite3.Error as error:
            what = "is in use by another run; try again when it has finished" if "locked" in str(error) else str(error)
            raise RecommenderError(f"The state {self._path} cannot be used: {what}.") from error

    def sentence(self) -> str:
        """Say what was done."""
        how = f"Full pass ({self.full})" if self.full else "Only what may have changed"
        return (
            f"{how}: {self.made:,} blocks made, {self.written:,} of them differ, {self.empty:,} of which are empty; "
            f"{len(self.deleted):,} articles are gone."
        )

    @property
    def blocks(self) -> Iterator[tuple[str, list[Recommendation]]]:
        """The blocks that differ, by article, in the order of the ids. To be read once."""
        make = partial(_made, self._store, self._frame, self._k)
        for id, (block, inputs) in map_articles(self._store, make, self._ids, self._on_progress, self._n_jobs):
            self.made += 1
            with self._told():
                differs = self._keep(id, block, inputs)
            if differs:
                self.written += 1
                self.empty += not block
                yield id, block
        self._finished = True

    def _keep(self, id: str, block: list[Recommendation], inputs: BlockInputs) -> bool:
        """Store a block; return whether it differs from the one of the last time."""
        line = json.dumps([[link.id, round(link.score, 2), link.via] for link in block], ensure_ascii=False)
        row = self._state.execute("SELECT line FROM blocks WHERE id = ?", (id,)).fetchone()
        short = len(block) < self._k or any(link.via == "fill" for link in block)
        pool = json.dumps(inputs.pool, ensure_ascii=False)
        values = (id, line, pool, inputs.least, not inputs.full, short)
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

    def _find(self) -> None:
        """Find out which blocks to make anew, and which are gone."""
        with self._store.snapshot():
            facts = self._facts()
            old = {name: json.loads(value) for name, value in self._state.execute("SELECT name, value FROM facts")}
            known = {id for (id,) in self._state.execute("SELECT id FROM blocks")}
            self.deleted = sorted(known - set(self._store.ids()))
            self.full = self._why_full(old, facts)
            if not self.full:
                self._ids = sorted(self._affected(old, facts))
            for id in self.deleted:
                self._state.execute("DELETE FROM blocks WHERE id = ?", (id,))
            self._state.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def _facts(self) -> dict[str, Any]:
        frame, policy = self._frame, self._frame.policy.to_record()
        index, change, derived = self._store.revision()
        return {
            "index": index,
            "change": change,
            "derived": derived,
            "scale": self._store.settings().get("scale"),
            "k": self._k,
            "settings": [frame.settings.to_record(), policy["rules"], sorted(frame.exclude), str(frame.as_of)],
            "pins": policy["pins"],
            "bans": policy["bans"],
            "now": frame.now.isoformat(),
        }

    def _why_full(self, old: dict[str, Any], new: dict[str, Any]) -> str:
        if self._asked:
            return "as asked for"
        if not old:
            return "there is no last time"
        if old["index"] != new["index"] or old["change"] > new["change"]:
            return "the index is another one than the last time"
        if (old["k"], old["settings"]) != (new["k"], new["settings"]):
            return "settings or rules have changed"
        if (old["derived"], old["scale"]) != (new["derived"], new["scale"]):
            return "the search files were made anew since, and every score may have moved a little"
        if old["now"] > new["now"]:
            return "the last time lies in the future"
        return ""

    def _affected(self, old: dict[str, Any], new: dict[str, Any]) -> set[str]:
        """Return the articles whose blocks may have changed."""
        moved = set(self._store.ids_changed_after(old["change"])) | self._by_hand(old, new) | self._by_time(old)
        stored = set(self._store.content_hashes(sorted(moved)))
        reached, reweighed = self._reached(sorted(stored))
        changed = moved | reweighed | set(self.deleted)
        pools = self._state.execute("SELECT id, pool FROM blocks") if changed else ()
        listing = {id for id, pool in pools if not changed.isdisjoint(json.loads(pool))}
        filling = bool(moved) and self._frame.settings.fill != "none"
        filled = {id for (id,) in self._state.execute("SELECT id FROM blocks WHERE short")} if filling else set()
        pinned = {id for id, links in self._frame.policy.pins.items() if not moved.isdisjoint(links)}
        linking = set(self._store.backlinks(sorted(stored)))
        affected = stored | reweighed | listing | filled | pinned | linking | reached
        return set(self._store.content_hashes(sorted(affected)))

    @staticmethod
    def _by_hand(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
        """Return the articles that pins and bans were put on or taken from."""
        pins = {id for id in {*old["pins"], *new["pins"]} if old["pins"].get(id) != new["pins"].get(id)}
        articles = set(old["bans"]["articles"]) ^ set(new["bans"]["articles"])
        pairs = {tuple(pair) for pair in old["bans"]["pairs"]} ^ {tuple(pair) for pair in new["bans"]["pairs"]}
        return pins | articles | {id for pair in pairs for id in pair}

    def _by_time(self, old: dict[str, Any]) -> set[str]:
        """Return the articles whose day has come, or passed, since the last time."""
        then, now, age = datetime.fromisoformat(old["now"]), self._frame.now, self._frame.settings.age
        spans = [(math.floor(then.timestamp()), math.floor(now.timestamp()))]
        if age and self._frame.settings.age_from == "today":
            start, end = subtract_age(then, age), subtract_age(now, age)
            if start and end:
                spans.append((math.ceil(start.timestamp()) - 1, math.ceil(end.timestamp()) - 1))
        return {id for after, before in spans for id in self._store.published_between(after, before)}

    def _reached(self, ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Return the articles that are so near to one of these that it may enter their blocks, and those of whose terms
        one may weigh since it came.
        """
        reached, reweighed = self._open_to(ids) if ids else set[str](), set[str]()
        size = chunk_size(self._store)
        for start in range(0, len(ids), size):
            stored = stored_queries(self._store, ids[start : start + size]).values()
            queries = [replace(query, condition=Condition()) for query in stored]
            signals = self._store.signals([query.id or "" for query in queries])
            hubness = dict(zip(signals.ids, signals.hubness.tolist(), strict=True))
            comparing, (rankings,) = rank_by(self._store, queries, REACHED, [Weights(hubness=0.0)])
            for query, ranking in zip(queries, rankings, strict=True):
                for other, score in comparing.with_ids(ranking):  # without hubness it is the same from both sides
                    row = self._state.execute("SELECT least FROM blocks WHERE id = ?", (other,)).fetchone()
                    if row and query.scale.display(score - BOTH.hubness * hubness[query.id or ""]) >= row[0]:
                        reached.add(other)
            reweighed |= _reweighed(comparing.signals, signals, ids)
        return reached, reweighed

    def _open_to(self, ids: Sequence[str]) -> set[str]:
        """Return those of the articles with little to choose from whose blocks one of these may enter."""
        rows = dict(self._state.execute("SELECT id, least FROM blocks WHERE open").fetchall())
        found = {id for id, least in rows.items() if not least}
        asked = sorted(rows.keys() - found)
        size = chunk_size(self._store)
        for start in range(0, len(asked), size):
            queries = list(stored_queries(self._store, asked[start : start + size]).values())
            for query, scores in zip(queries, compare(self._store, queries, [ids] * len(queries)), strict=True):
                id = query.id or ""
                if any(query.scale.display(score) >= rows[id] for score in scores.values()):
                    found.add(id)
        return found


def _reweighed(near: Signals, new: Signals, ids: Sequence[str]) -> set[str]:
    """Return the articles that alone held a term before new ones did: it weighs nothing in one article, see `tfidf`.

    Args:
        near: the signals of articles near to the new ones.
        new: the signals of some of the new ones.
        ids: the ids of all new ones.
    """
    old = np.isin(near.ids, ids, invert=True)
    held = np.isin(near.term_ids, new.term_ids[new.document_frequencies <= 2]) & old[near.rows]
    _, first, holders = np.unique(near.term_ids[held], return_index=True, return_counts=True)
    return {near.ids[row] for row in near.rows[held][first[holders == 1]].tolist()}


def _made(
    store: Store, frame: Eligibility, k: int, ids: Sequence[str]
) -> list[tuple[str, tuple[list[Recommendation], BlockInputs]]]:
    """Return the ids of stored articles, and their blocks with the articles that these follow from."""
    with store.snapshot():
        subjects = stored_query_articles(store, ids)
        made = BlockBuilder(store, frame).build_with_inputs(subjects, k)
    return [(subject.query.id or "", of_it) for subject, of_it in zip(subjects, made, strict=True)]
