"""The intake of articles: which entries are accepted, and the problems of the others, each kind once with a count."""

import logging
import re
import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from recommender.article import Article
from recommender.errors import SourceWarning
from recommender.sources.entry import EMPTY_FILE, Entry
from recommender.sources.record import NO_ID, quote_names
from recommender.sources.vocabulary import suggest_fields
from recommender.system.seen_ids import ACCEPTED, EXCLUDED, SKIPPED, SeenIds

OnProblem = Callable[[str], None]

_log = logging.getLogger("recommender")
MAX_KINDS = 50  # kinds of problems reported apart; problems of further kinds are counted together
MAX_LOCATIONS = 3  # locations listed for a kind after its first
MAX_NAMES = 200  # field names collected from a source
MAX_NAMES_SHOWN = 20  # field names listed in a message
MAX_SAMPLED = 1000  # articles of a source that are checked for empty fields
SUGGESTED = ("title", "text", "url", "published", "section", "tags", "language")

SKIPPED_RECORD, EXCLUDED_RECORD, TAKEN_RECORD = (
    "Skipped {where}: {clause}.",
    "Left out: {where}: {clause}.",
    "{where}: article {id!r} was taken, but {clause}.",
)
_VARYING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+(?:[.,]\d+)*")  # values and numbers in a problem


@dataclass(slots=True)
class _Kind:
    """Problems that differ only in values, numbers and locations."""

    first: str
    clause: str
    count: int = 1
    locations: list[str] = field(default_factory=list)

    def further_problems(self) -> str:
        """Return a sentence on all but the first problem."""
        locations = ", ".join(self.locations) + (", …" if self.count - 1 > len(self.locations) else "")
        return f"… and {self.count - 1:,} more ({locations}): {self.clause}."


class Problems:
    """The problems of a run, by kind: the first of each kind is reported at once, the others are counted and logged.

    Args:
        on_problem: called with a sentence for the first problem of each kind and for the number of the others; None to
            collect the sentences for `warn`.

    Attributes:
        collected: whether the sentences are collected.
    """

    def __init__(self, on_problem: OnProblem | None) -> None:
        self.collected = on_problem is None
        self._on_problem = on_problem or (lambda problem: None)
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._further = 0

    def note(self, sentence: str) -> None:
        """Report information that is not a problem."""
        self._on_problem(sentence)

    def add(self, sentence: str) -> None:
        """Report a problem of a whole source or run, once."""
        if ("", sentence) not in self._kinds:
            self._kinds["", sentence] = _Kind(sentence, sentence)
            self._on_problem(sentence)

    def add_record(self, form: str, where: str, clause: str, *, id: str = "", advice: str = "") -> None:
        """Report a problem of one record.

        Args:
            form: the sentence form: SKIPPED_RECORD, EXCLUDED_RECORD or TAKEN_RECORD.
            where: file and line, or the like.
            clause: the problem, as a clause.
            id: the id of the article, for TAKEN_RECORD.
            advice: a sentence that follows the first problem of this kind.
        """
        key = (form, _VARYING.sub(lambda varying: "'…'" if varying[0][0] in "'\"" else "…", clause))
        sentence = form.format(where=where, clause=clause, id=id)
        if kind := self._kinds.get(key):
            _log.debug("%s", sentence)
            kind.count += 1
            if len(kind.locations) < MAX_LOCATIONS:
                kind.locations.append(where)
        elif len(self._kinds) < MAX_KINDS:
            self._kinds[key] = _Kind(f"{sentence} {advice}".rstrip(), key[1])
            self._on_problem(self._kinds[key].first)
        else:
            _log.debug("%s", sentence)
            self._further += 1

    def close(self) -> None:
        """Report how many problems of each kind followed the first."""
        for sentence in self._further_problems():
            self._on_problem(sentence)

    def sentences(self) -> list[str]:
        """Return one or two sentences for each kind: its first problem, and the number of the others."""
        return [
            f"{kind.first} {kind.further_problems()}" if kind.count > 1 else kind.first for kind in self._kinds.values()
        ] + self._beyond()

    def _further_problems(self) -> list[str]:
        return [kind.further_problems() for kind in self._kinds.values() if kind.count > 1] + self._beyond()

    def _beyond(self) -> list[str]:
        return [f"… and {self._further:,} more problems, of other kinds."] if self._further else []


class SourceIntake:
    """Counts and field names of the entries of one source.

    Args:
        name: the name of the source in messages.
        fields: its field mapping, see `record.record_entry`.
        in_python: whether the records were passed in: advice then names arguments instead of options.

    Attributes:
        accepted: number of articles accepted.
        excluded: number of records by `Entry.excluded`.
        duplicates: number of records whose id another record of this run has.
        refused: number of records or files that gave no article for other reasons.
        skipped: `duplicates`, `refused` and empty files together.
        with_id: number of records with an id, accepted or not.
        doubt: why the set of its articles may be incomplete; empty if it is complete.
        reason: why the first refused record was refused.
        cut_short: whether it could not be read to its end.
        advised: whether a field mapping was suggested.
    """

    def __init__(self, name: str, fields: Mapping[str, str] | None = None, *, in_python: bool = False) -> None:
        self.name = name
        self.in_python = in_python
        self.fields = dict(fields or {})
        self.accepted = self.duplicates = self.refused = self.skipped = self.with_id = 0
        self.excluded: Counter[str] = Counter()
        self.doubt = self.reason = ""
        self.cut_short = self.advised = False
        self._absent: set[str] | None = None  # names in the mapping that no record had so far
        self._empty_fields = set(SUGGESTED)  # fields that no article had so far
        self._names: dict[str, None] = {}
        self._last_names: tuple[str, ...] = ()

    def count(self, entry: Entry) -> None:
        """Collect the field names of an entry."""
        self.cut_short |= entry.failed
        if entry.unknown and not self.doubt:
            self.doubt = f"{entry.where}: {entry.problems[0]}"
        if entry.names != self._last_names and entry.names:
            self._last_names = entry.names
            if len(self._names) < MAX_NAMES:
                self._names |= dict.fromkeys(entry.names)
        if entry.names and self.fields and (self._absent or self._absent is None):
            self._absent = set(entry.absent) if self._absent is None else self._absent & set(entry.absent)
        if self._empty_fields and entry.article and self.accepted < MAX_SAMPLED:
            has_title = "title" in self.fields or "title" in map(str.lower, entry.names)  # else a sentence of the text
            self._empty_fields = {
                name
                for name in self._empty_fields
                if not getattr(entry.article, name) or (name == "title" and not has_title)
            }

    def advice(self, entry: Entry) -> str:
        """Return advice on a field mapping for a record without id, or without title and text; else an empty text."""
        no_id = NO_ID in entry.problems
        if not entry.names or not (no_id or "neither a title nor a text" in entry.problems[0]):
            return ""
        fitting = {name: source for name, source in self.fields.items() if source not in entry.absent}
        present = {name.lower() for name in entry.names} | fitting.keys()
        suggested = suggest_fields(entry.names, [name for name in ("id", *SUGGESTED) if name not in present])
        listed = _listed(entry.names)
        if no_id and not present & {"id", "url"} and "id" not in suggested:
            suggested = {"id": "NAME"} | suggested
            listed += "; none of them looks like an id"
        if not {"title", "text"} & {*suggested, *present}:
            suggested |= {"title": "NAME", "text": "NAME"}
        if not suggested:
            return ""
        self.advised = True
        return f"Its fields are {listed}. Name those of an article: {self.option(fitting | suggested)}"

    def option(self, fields: Mapping[str, str]) -> str:
        """Return a field mapping as options of the command, or as a Python argument."""
        if self.in_python:
            return f"fields={dict(fields)!r}"
        options = ["--id-field", fields["id"]] if "id" in fields else []
        if pairs := ",".join(f"{name}={source}" for name, source in fields.items() if name != "id"):
            options += ["--map", pairs]
        return shlex.join(options)

    def absent(self, known_names: Set[str] = frozenset()) -> str:
        """Return a sentence on mapped names that no record has, except `known_names`; else an empty text."""
        absent = sorted((self._absent or set()) - known_names)
        if not absent:
            return ""
        return (
            f"No record of {self.name} has a field {quote_names(absent)}; the fields are {_listed(tuple(self._names))}."
        )

    def failure(self) -> str:
        """Return a sentence if no record of the source gave an article; else an empty text."""
        if self.accepted or self.duplicates or self.cut_short or not self.refused:
            return ""
        return f"No article could be taken from {self.name} ({self.refused:,} skipped), the first since {self.reason}"

    def hint(self) -> str:
        """Return a sentence on source fields that may contain what all articles lack; empty if there are none."""
        used = set(self.fields.values())
        names = [name for name in self._names if name not in used]
        suggested = suggest_fields(names, [name for name in SUGGESTED if name in self._empty_fields])
        if not suggested or not self.accepted or self.advised:
            return ""
        return (
            f"{self.name}: no article has {' or '.join(suggested)}; the source has fields that may be meant: "
            f"{self.option(self.fields | suggested)}"
        )


class Intake:
    """Accepts the articles of a run, each id once, and reports the other entries.

    Args:
        on_problem: see `Problems`.
        report_excluded: whether to report excluded records too.

    Attributes:
        problems: the problems of the run.
        seen_ids: the ids read so far.
    """

    def __init__(self, on_problem: OnProblem | None, *, report_excluded: bool = False) -> None:
        self.problems = Problems(on_problem)
        self.seen_ids = SeenIds()
        self._report_excluded = report_excluded

    def take(self, source: SourceIntake, entry: Entry) -> Article | None:
        """Return the article of an entry if its id is new; report the problems of the entry."""
        source.count(entry)
        article = entry.article
        id = article.id if article else entry.id
        source.with_id += bool(id)
        if entry.excluded:
            source.excluded[entry.excluded] += 1
            self.seen_ids.record(id, entry.where, EXCLUDED)
            if self._report_excluded:
                reason = "; ".join(entry.problems) or f"it is excluded as {entry.excluded}"
                self.problems.add_record(EXCLUDED_RECORD, entry.where, reason)
            return None
        if article is None:
            self.seen_ids.record(id, entry.where, SKIPPED)
            reason, advice = "; ".join(entry.problems), source.advice(entry)
            source.skipped += 1
            if entry.problems != (EMPTY_FILE,):
                source.refused += 1
                if not source.reason:  # the command has printed the advice
                    source.reason = f"{reason}. {advice}".rstrip() if self.problems.collected else f"{reason}."
            self.problems.add_record(SKIPPED_RECORD, entry.where, reason, advice=advice)
            return None
        if first := self.seen_ids.record(article.id, entry.where, ACCEPTED):
            source.duplicates += 1
            source.skipped += 1
            clause = f"the id {article.id!r} stands in {first!r} too; an id names one article, and the first was taken"
            self.problems.add_record(SKIPPED_RECORD, entry.where, clause)
            return None
        source.accepted += 1
        for clause in entry.problems:
            self.problems.add_record(TAKEN_RECORD, entry.where, clause, id=article.id)
        return article


def warn(sentence: str) -> None:
    """Issue a SourceWarning at the line that called this package; a second time too, as in a cell run again."""
    caller = frame = sys._getframe()
    while frame.f_back:
        if frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
            caller = frame.f_back
        frame = frame.f_back
    warnings.warn_explicit(sentence, SourceWarning, caller.f_code.co_filename, caller.f_lineno)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (", …" if len(names) > MAX_NAMES_SHOWN else "")
