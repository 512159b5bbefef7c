"""Damage every file of an index in every way, query the index, and count the outcomes.

    python tests/torture/damage.py [--flips N] [--damages N] [--seed S]

Each file of an index is removed, emptied, truncated, replaced by the file of another index or by noise, and has one
bit flipped at N positions (the database at 10 N); --damages draws so many of these. Then the block of every article is
computed, with and without a filter, `verify` reads the index, and a writer continues. Possible outcomes:

- same: all answers equal those of the intact index;
- warned: the same, and a warning names the damage;
- error: an error of the project is raised, perhaps for one article only; all other answers are the same;
- other: blocks lack articles or do not meet the filter, since SQLite's own indexes are trusted; each link has its own
  title, and `verify` finds the damage.

Failures are a wrong answer, a traceback, a crash, a `verify` that finds nothing after an error or a warning, and
damaged search files after the next writer. The same seed does the same damage.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from parts import article, build, stand_in
from processes import again_under_the_shim, under_the_shim

from recommender import Recommender, RecommenderError

ARTICLES = {f"a{number:02}": 1 for number in range(24)}


class Warned(logging.Handler):
    """Collects the messages of warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Append the message of a record."""
        self.messages.append(record.getMessage())


def main() -> int:
    """Damage an index in every way and print a matrix of the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--damages", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not under_the_shim():  # which does not wait for the disk
        return again_under_the_shim()
    stand_in()
    warned = Warned()
    logging.getLogger("recommender").handlers = [warned]
    logging.getLogger("recommender").propagate = False
    matrix: dict[tuple[str, str], Counter[str]] = {}
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        whole, other = (Path(name, part) for part in ("whole", "other"))
        build(ARTICLES)(whole, lambda name: None)
        build({f"x{number:02}": 1 for number in range(24)})(other, lambda name: None)
        expected = answers(whole / "index")
        draw = random.Random(options.seed)
        every = list(damages(whole / "index", other / "index", options.flips, draw))
        for file, kind, content in draw.sample(every, min(options.damages or len(every), len(every))):
            damaged_index = Path(name, "damaged")
            shutil.rmtree(damaged_index, ignore_errors=True)
            shutil.copytree(whole, damaged_index)
            target = damaged_index / "index" / file
            if content is None:
                target.unlink()
            else:
                target.write_bytes(content)
            warned.messages.clear()
            outcome, wrong = check_answers(damaged_index / "index", expected, warned)
            group = f"{file.split('/')[0]}/*" if "/" in file else file
            matrix.setdefault((group, kind), Counter())[outcome] += 1
            if wrong:
                failures += 1
                print(f"{file}, {kind}: {wrong}")
    print(f"{'':32}{'':24}{'same':>8}{'warned':>8}{'error':>8}{'other':>9}{'wrong':>7}")
    for (file, kind), outcomes in sorted(matrix.items()):
        counts = (outcomes[outcome] for outcome in ("same", "warned", "error", "other", "wrong"))
        print("{:32}{:24}{:>8}{:>8}{:>8}{:>9}{:>7}".format(file, kind, *counts))
    total = sum(sum(outcomes.values()) for outcomes in matrix.values())
    print(f"{total:,} damages; seed {options.seed}; {failures} failures.")
    return 1 if failures else 0


def damages(whole: Path, other: Path, flips: int, draw: random.Random) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield (file, kind of damage, damaged content); the content of a removed file is None."""
    for path in sorted(path for path in whole.rglob("*") if path.is_file()):
        file, content = str(path.relative_to(whole)), path.read_bytes()
        yield file, "removed", None
        yield file, "emptied", b""
        yield file, "cut short", content[: len(content) // 2]
        yield file, "longer", content + content[:512]
        yield file, "noise", draw.randbytes(len(content) or 100)
        if (other / file).is_file() and file != "articles.sqlite":  # it would be that index
            yield file, "of another index", (other / file).read_bytes()
        count = 10 * flips if file == "articles.sqlite" else flips if content else 0
        for _ in range(count):
            damaged = bytearray(content)
            damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            yield file, "a bit flipped", bytes(damaged)


def answers(index: Path) -> dict[tuple[str, str], object]:
    """Return the answer to every query, by article id and kind of query; an error stands for itself."""
    answer_of: dict[tuple[str, str], object] = {}
    with Recommender(index) as rec:
        for id in ARTICLES:
            for how, options in (("", {}), ("filtered", {"section": "section 1", "score_threshold": False})):
                try:
                    links = rec.related(id, 5, **options)
                    answer_of[id, how] = [(link.id, link.title, round(link.score, 3), link.via) for link in links]
                except RecommenderError as error:
                    answer_of[id, how] = error
            try:
                answer_of[id, "whole"] = rec.get(id)
            except RecommenderError as error:
                answer_of[id, "whole"] = error
        try:
            answer_of["", "count"] = len(rec)
        except RecommenderError as error:
            answer_of["", "count"] = error
    return answer_of


def may_be(how: str, answer: object) -> bool:
    """Return whether a different answer can follow from a damaged SQLite index of the database."""
    if how == "whole":
        return answer is None  # by its id it is not found
    if how == "count":
        return True
    return all(title == article(id, 1)["title"] for id, title, *_ in answer)


def check_answers(index: Path, expected: dict[tuple[str, str], object], warned: Warned) -> tuple[str, str]:
    """Query a damaged index, verify it, and write to it; return the outcome and the failure, empty without one."""
    try:
        answers_now = answers(index)
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    errors = [answer for answer in answers_now.values() if isinstance(answer, RecommenderError)]
    other_answers = {what: answer for what, answer in answers_now.items() if not isinstance(answer, RecommenderError)}
    different = [what for what, answer in other_answers.items() if answer != expected[what]]
    if odd := [what for what in different if not may_be(what[1], other_answers[what])]:
        return "wrong", f"another answer to {odd[0]}: {other_answers[odd[0]]}"
    outcome = "error" if errors else "other" if different else "warned" if warned.messages else "same"
    try:
        with Recommender(index) as rec:
            wrong = list(rec.verify())
    except RecommenderError as error:
        wrong = [str(error)]
    except Exception as error:
        return "wrong", f"verify: {type(error).__name__}: {error}"
    if outcome != "same" and not wrong:
        return "wrong", f"verify finds nothing, where it was {outcome}: {[*errors, *warned.messages, *different][0]}"
    try:
        with Recommender(index) as rec:
            rec.add([article("new", 1)])
            if "new" not in rec:
                return "wrong", "what was added is not there"
            problems = [problem for problem in rec.verify() if "search f" in problem.lower()]
            if problems:
                return "wrong", f"after the next writer: {problems[0]}"
    except RecommenderError:
        if not errors and not wrong:
            return "wrong", "the next writer is refused, for nothing"
    except Exception as error:
        return "wrong", f"add: {type(error).__name__}: {error}"
    return outcome, ""


if __name__ == "__main__":
    sys.exit(main())
