"""The parts: operations on an index that trials interrupt."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from disk import Record
from processes import SHIM, arm, in_a_process

from recommender import Recommender
from recommender.embedding.encoder import DenseEncoder, DenseModel

Acknowledge = Callable[[str], None]
Do = Callable[[Path, Acknowledge], None]


@dataclass
class Part:
    """One thing that is done to an index.

    Attributes:
        name: its name.
        before: a folder with the index as it is before; its content is copied.
        then: the articles that are there before: by id, which version.
        do: does it; given the folder of the index and what to call with each name of what is acknowledged.
        now: the articles that are there after.
        order: ids in the order in which they are read.
        steps: what each step of it is.
        acknowledged: by name, after which step.
    """

    name: str
    before: Path
    then: dict[str, int]
    do: Do
    now: dict[str, int]
    order: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    record: Record | None = None


def stand_in() -> None:
    """Replace the vectors of the model by hashes of the text."""

    def vector(text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        numbers = np.random.default_rng(seed).normal(size=384)
        return (numbers / np.linalg.norm(numbers)).astype(np.float32)

    model = "0" * 32
    DenseEncoder.encode_articles = lambda self, articles, on_done=None: np.stack(
        [vector(f"{article.title}. {article.text}") for article in articles]
    )
    DenseEncoder.hash = model
    DenseEncoder.model = DenseModel("all-MiniLM-L6-v2", model, 384, 128, ["en"])


def article(id: str, version: int) -> dict[str, object]:
    """Return a record: all of it follows from the id and the version."""
    draw = random.Random(f"{id} {version}")
    words = [f"word{draw.randrange(400)}" for _ in range(30)]
    return {
        "id": id,
        "title": f"Title of {id}, version {version}",
        "text": " ".join(words),
        "language": "en",
        "url": f"https://example.org/{id}",
        "section": f"section {draw.randrange(3)}",
        "tags": [f"tag {version}"],
        "related": [f"a{draw.randrange(20):02}"],
    }


def build(versions: dict[str, int]) -> Do:
    """Return a function that builds an index of these articles."""

    def do(index: Path, acknowledge: Acknowledge) -> None:
        with Recommender(index / "index") as rec:
            rec.build([article(*item) for item in versions.items()], prune=True, prune_limit=100)
        acknowledge("build")

    return do


def add(versions: dict[str, int]) -> Do:
    """Return a function that adds these articles."""

    def do(index: Path, acknowledge: Acknowledge) -> None:
        with Recommender(index / "index") as rec:
            rec.add([article(*item) for item in versions.items()])
        acknowledge("add")

    return do


def remove(*ids: str) -> Do:
    """Return a function that removes these articles."""

    def do(index: Path, acknowledge: Acknowledge) -> None:
        with Recommender(index / "index") as rec:
            rec.remove(*ids)
        acknowledge("remove")

    return do


def edit(index: Path, acknowledge: Acknowledge) -> None:
    """Pin, ban and set something, one after the other."""
    with Recommender(index / "index") as rec:
        rec.pin("a00", "a05")
        acknowledge("pin")
        rec.ban("a06")
        acknowledge("ban")
        rec.configure(diversity=0.5)
        acknowledge("settings")


def repair(index: Path, acknowledge: Acknowledge) -> None:
    """Rebuild all derived data."""
    with Recommender(index / "index") as rec:
        list(rec.verify(repair=True))
    acknowledge("repair")


def prepare_parts(scratch: Path) -> list[Part]:
    """Build the indexes that the parts start from, and run each part once to record its steps."""
    empty, built, damaged = (scratch / name for name in ("empty", "built", "damaged"))
    first = {f"a{number:02}": 1 for number in range(20)}
    second = {**first, **{f"a{number:02}": 2 for number in range(3, 9)}, **{f"b{number}": 1 for number in range(8)}}
    for id in ("a15", "a16", "a17"):
        del second[id]
    delta = {"a01": 3, "c0": 1, "c1": 1}
    remaining = {id: version for id, version in first.items() if id not in ("a02", "a03")}
    empty.mkdir()
    in_a_process(lambda: build(first)(built, lambda name: None))
    shutil.copytree(built, damaged)
    for path in (damaged / "index").glob("inverted_index-*/positions"):
        path.write_bytes(b"torn")
    parts = [
        Part("first build", empty, {}, build(first), first, list(first)),
        Part("build", built, first, build(second), second, list(second)),
        Part("add", built, first, add(delta), {**first, **delta}, list(delta)),
        Part("remove", built, first, remove("a02", "a03"), remaining),
        Part("edit", built, first, edit, first),
        Part("repair", damaged, first, repair, first),
    ]
    for part in parts:
        learn(part, scratch)
    return parts


def learn(part: Part, scratch: Path) -> None:
    """Run a part once without an interruption, and record its steps."""
    index, log = scratch / "trial", scratch / f"log of {part.name}"
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(part.before, index)
    log.mkdir()
    part.record = Record(index, log)
    reader, writer = os.pipe()

    def do() -> None:
        arm(index, log=log)
        part.do(index, lambda name: os.write(writer, f"{name} {SHIM.torture_steps()}\n".encode()))

    wrong = in_a_process(do)
    os.close(writer)
    if wrong:
        raise SystemExit(f"{part.name} does not run: {wrong}")
    with os.fdopen(reader) as lines:
        part.acknowledged = {name: int(step) for name, step in (line.split() for line in lines)}
    part.steps = part.record.read()
