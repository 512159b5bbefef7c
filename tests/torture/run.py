"""Kill writers at every kind of step, simulate losses of power and full disks, and check the index afterwards.

    python tests/torture/run.py [--kills N] [--power N] [--full N] [--seed S] [--fault NAME]

Each trial runs one part (a first build, a build that changes, adds and removes, an add, a removal, edits of pins and
settings, a repair) in a process and interrupts it:

- kill: SIGKILL just before one step: a creation, write, truncation, sync, rename or removal of a file.
- power: the steps are recorded, and the disk is reconstructed as after a loss of power just after one of them: without
  all unsynced changes ("dropped"), with names but without unsynced content ("names"), or with some of the unsynced
  writes ("torn").
- full: from one step on, the disk is full or fails.

Steps are drawn; the most dangerous ones are always tried: a kill between any two transactions, and a loss of power just
after each acknowledgement, in each of the three ways.

Then the index is opened. It must contain all acknowledged changes, each article in its old or its new version and
unaltered, and no later batch without the earlier ones. It must pass `verify`, each article must be the nearest to its
own text, and the same part, repeated, must end with the usual result and without litter.

shim.c, compiled with `cc` and loaded before the C library, records the steps. Vectors are hashes of the text instead of
a model's, so that the vector of another article is never similar by chance. The same seed runs the same trials. --fault
injects a fault, which must be detected, and stops at the first detection. Exit status: 0 nothing lost, 1 something
lost. (Linux only.)
"""

import argparse
import contextlib
import errno
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parts import Part, article, prepare_parts, stand_in
from processes import again_under_the_shim, arm, in_a_process, under_the_shim

from recommender import Article, IndexNotFoundError, Recommender
from recommender.errors import RecommenderError
from recommender.indexing import pipeline

BATCH = 6  # articles that are committed at once
BEGIN = "create index/articles.sqlite-journal"  # the step with which a transaction begins to write
POWER = ("power dropped", "power names", "power torn")
TRIED = "tried"  # the article whose block shows whether another finds itself


def main() -> int:
    """Run the trials and print a tally of the failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=400)
    parser.add_argument("--power", type=int, default=400)
    parser.add_argument("--full", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", choices=FAULTS)
    options = parser.parse_args()
    if not under_the_shim():
        return again_under_the_shim()
    stand_in()
    pipeline.BATCH_ARTICLES = BATCH
    if options.fault:
        FAULTS[options.fault]()
    started, draw = time.monotonic(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        parts = prepare_parts(Path(name))
        tally: Counter[str] = Counter()
        failures = 0
        for trial in trials(parts, options, draw):
            wrong = trial.run(Path(name))
            tally[trial.what] += 1
            if wrong:
                failures += 1
                print(
                    f"{trial.what}, {trial.part.name}, step {trial.step} ({trial.part.steps[trial.step - 1]}): {wrong}"
                )
                if options.fault:
                    break
    for what, count in sorted(tally.items()):
        print(f"{count:6} × {what}")
    covered = Counter(step for part in parts for step in set(part.steps))
    print(f"{sum(len(part.steps) for part in parts):,} steps of {len(covered)} kinds in {len(parts)} parts; ", end="")
    print(f"seed {options.seed}; {time.monotonic() - started:.0f} s; {failures} failures.")
    return 1 if failures else 0


@dataclass
class Trial:
    """One interruption of a part."""

    what: str
    part: Part
    step: int
    seed: int

    def run(self, scratch: Path) -> str:
        """Interrupt the part, check the index, and repeat the part; return the failure, empty without one."""
        index = scratch / "trial"
        shutil.rmtree(index, ignore_errors=True)
        if self.what.startswith("power"):
            index.mkdir()
            self.part.record.replay(index, self.step, self.what.split()[1], random.Random(self.seed))
            done = {name for name, step in self.part.acknowledged.items() if step <= self.step}
        else:
            shutil.copytree(self.part.before, index)
            error = {"kill": 0, "full disk": errno.ENOSPC, "failing disk": errno.EIO}[self.what]
            done, wrong = broken_off(self.part, index, self.step, error)
            if wrong:
                return wrong
        return in_a_process(lambda: check(self.part, index, done, litter=not self.what.startswith(("kill", "power"))))


def trials(parts: list[Part], options: argparse.Namespace, draw: random.Random) -> Iterator[Trial]:
    """Yield trials at the most dangerous steps, then drawn ones: half of the first and the last step of each kind
    in each part, half at random. Steps differ between machines, so the same seed need not meet the same fault.
    """
    for part in parts if options.kills else ():
        for step in [step for step, kind in enumerate(part.steps, 1) if kind == BEGIN][1:]:
            yield Trial("kill", part, step, 0)
    for part in parts if options.power else ():
        for step in part.acknowledged.values():
            for way in POWER:
                yield Trial(way, part, step, draw.randrange(2**32))
    counts = {
        ("kill",): options.kills,
        POWER: options.power,
        ("full disk", "failing disk"): options.full,
    }
    for names, count in counts.items():
        chosen = [
            (part, step)
            for part in parts
            for kind in dict.fromkeys(part.steps)
            for step in {part.steps.index(kind) + 1, len(part.steps) - part.steps[::-1].index(kind)}
        ]
        draw.shuffle(chosen)
        del chosen[(count + 1) // 2 :]
        while len(chosen) < count:
            part = draw.choice(parts)
            chosen.append((part, draw.randint(1, len(part.steps))))
        for number, (part, step) in enumerate(chosen):
            yield Trial(names[number % len(names)], part, step, draw.randrange(2**32))


def broken_off(part: Part, index: Path, step: int, error: int) -> tuple[set[str], str]:
    """Run a part up to a step; return the acknowledged changes, and the failure, empty without one."""
    reader, writer = os.pipe()

    def do() -> str:
        if error:
            arm(index, fail_at=step, error=error)
        else:
            arm(index, kill_at=step)
        try:
            part.do(index, lambda name: os.write(writer, f"{name}\n".encode()))
        except RecommenderError as failure:
            return "" if error and re.search("room|cannot be|damaged", str(failure)) else f"it raised {failure}"
        return ""  # a step that need not succeed, or one that another run does not come to

    wrong = in_a_process(do, killed=not error)
    os.close(writer)
    with os.fdopen(reader) as lines:
        return {line.strip() for line in lines}, wrong


def check(part: Part, index_path: Path, done: set[str], *, litter: bool) -> str:
    """Open the index, check all of it, and repeat the part; return the failure, empty without one."""
    index = index_path / "index"
    whole = done == set(part.acknowledged)

    def stored() -> dict[str, int]:
        with Recommender(index) as rec:
            versions_by_id = {}
            for stored_article in rec:
                versions = [
                    version
                    for version in {part.then.get(stored_article.id), part.now.get(stored_article.id)} - {None}
                    if stored_article == Article.from_record(article(stored_article.id, version))[0]
                ]
                if not versions:
                    raise AssertionError(f"{stored_article.id} is no version of it that was ever written")
                versions_by_id[stored_article.id] = versions[0]
                probe = Article(TRIED, title=stored_article.title, text=stored_article.text, language="en")
                options = {
                    "editorial": "ignore",
                    "drop_near_duplicates": False,
                    "score_threshold": False,
                    "diversity": 0.0,
                    "max_age": None,
                }
                nearest = rec.related(probe, 1, **options)
                banned = {*rec.policy.banned}
                if stored_article.id not in banned and [link.id for link in nearest] != [stored_article.id]:
                    raise AssertionError(f"by its own text {stored_article.id} finds {[link.id for link in nearest]}")
            return versions_by_id

    def verified(*, allowed: str = "^$") -> None:
        with Recommender(index) as rec:
            wrong = [problem for problem in rec.verify() if not re.search(allowed, problem)]
            if wrong:
                raise AssertionError(f"verify says: {wrong[0]}")

    litter_names = [path.name for path in index.glob(".*")] if index.exists() else []
    if litter and litter_names:
        return f"it leaves {litter_names[0]}"
    try:
        try:
            versions_by_id = stored()
            # Before the first search files are made there are none; nothing else may be wrong.
            verified(
                allowed="There is no search file|^The search file.*damaged"
                if part.name == "repair"
                else "no search file"
            )
        except IndexNotFoundError:
            versions_by_id = {}
        if whole and versions_by_id != part.now:
            return f"what was acknowledged is not there: {set(versions_by_id.items()) ^ set(part.now.items())}"
        if wrong := torn(part, versions_by_id):
            return wrong
        with contextlib.suppress(IndexNotFoundError), Recommender(index) as rec:
            if part.name == "edit":
                policy = rec.policy.to_record()
                has = {
                    "pin": policy["pins"] == {"a00": ["a05"]},
                    "ban": policy["bans"]["articles"] == ["a06"],
                    "settings": policy["settings"] == {"diversity": 0.5},
                }
                if lost := [name for name in done if not has[name]]:
                    return f"{lost} was acknowledged and is not there"
        part.do(index_path, lambda name: None)
        if (again := stored()) != part.now:
            return f"done again, it is not as it should be: {set(again.items()) ^ set(part.now.items())}"
        verified()
    except AssertionError as error:
        return str(error)
    # A journal that was cut off before it was whole undoes nothing, and stays until the next commit.
    empty = {path for path in index.glob("*-journal") if not path.read_bytes()[:8].strip(b"\0")}
    names = {re.sub(r"-\d+(-\d+)?", "-N", path.name) for path in {*index.iterdir()} - empty}
    expected = {"articles.sqlite", "inverted_index-N", "forward_index-N", "writer.lock"}
    return f"litter: {names ^ expected}" if names != expected else ""


def torn(part: Part, versions: dict[str, int]) -> str:
    """Return the violation of atomic, ordered batches; empty without one."""
    for id in {*part.then, *part.now, *versions}:
        if versions.get(id) not in {part.then.get(id), part.now.get(id)}:
            return f"{id} is {'lost' if id not in versions else 'there'}"
    written = [id for id in part.order if part.then.get(id) != part.now.get(id)]
    fresh = [versions.get(id) == part.now[id] for id in written]
    batches = [fresh[start : start + BATCH] for start in range(0, len(fresh), BATCH)]
    if any(len(set(batch)) > 1 for batch in batches):
        return f"half a batch is there: {dict(zip(written, fresh, strict=True))}"
    if sorted(fresh, reverse=True) != fresh:
        return f"a later batch is there without an earlier one: {dict(zip(written, fresh, strict=True))}"
    return ""


# Faults that must be detected


def two_transactions() -> None:
    """Remove the old version of an article in a separate transaction, before the new one is written."""
    from recommender.store.local import writer

    delete = writer.delete_articles

    def at_once(connection: object, keys: list[int], *arguments: object) -> None:
        delete(connection, keys, *arguments)
        if keys:
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")

    writer.delete_articles = at_once


def no_sync_of_database() -> None:
    """Omit the syncs of the database."""
    from recommender.store.local import database

    opened = database.open_writer

    def open_writer(file: Path) -> object:
        connection = opened(file)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    database.open_writer = open_writer


def no_sync_of_files() -> None:
    """Omit the syncs of search files."""
    from recommender.store.local import forward_index, inverted_index, neighbours, vector_index

    @contextlib.contextmanager
    def replacing(path: Path) -> Iterator[Path]:
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        yield beside
        beside.replace(path)

    @contextlib.contextmanager
    def making_folder(path: Path) -> Iterator[Path]:
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        beside.mkdir()
        yield beside
        beside.rename(path)

    neighbours.atomic_write = replacing
    inverted_index.atomic_folder = forward_index.atomic_folder = vector_index.atomic_folder = making_folder


FAULTS = {
    "two transactions": two_transactions,
    "no sync of database": no_sync_of_database,
    "no sync of files": no_sync_of_files,
}


if __name__ == "__main__":
    sys.exit(main())
