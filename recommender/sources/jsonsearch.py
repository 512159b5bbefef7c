"""Search of a JSON file for its articles: a list of objects, an object of objects, or one object."""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import ijson

from recommender.article import record_id
from recommender.sources import record
from recommender.sources.entry import File
from recommender.sources.vocabulary import suggest_fields

GHOST = "db.item.data"  # path of the tables in an export of Ghost
MAX_DEPTH = 4  # nested objects that are searched
MAX_SAMPLES = 5  # objects by which a list is scored
MAX_FIELDS = 1000  # fields by which an object is scored
MAX_OBJECTS = 10_000  # objects outside lists that are scored
MAX_NESTING = 500  # nested values; the memory of ijson grows with the square of the depth
MAX_EVENTS = 2**16  # parser events per list before the search may stop with the best list so far
MIN_LONG_TEXT_CHARS = 200
# Points of `_score` for a title, a text, and a long text.
TITLE_SCORE, TEXT_SCORE, LONG_SCORE = 4, 3, 2
ARTICLE_SCORE = TITLE_SCORE + TEXT_SCORE
# Points for a list named as in _ARTICLE_LIST, a path with a name as in _PART, and an object with all of an article.
LIST_NAME_SCORE, PART_SCORE, WHOLE_SCORE = 2, -6, 3
OBJECTS_SCORE = 1 + ARTICLE_SCORE + LONG_SCORE + 2 + WHOLE_SCORE  # more than the highest score of one object
_ARTICLE_LIST = re.compile(
    r"(?:article|item|post|page|result|record|doc|document|node|edge|row|hit)s?|entry|entries|story|stories|news|"
    r"content|data|value",
    re.I,
)
# Words in the names of lists and objects that are parts of an article or a site, not articles.
_PART = re.compile(
    r"(?:menu|breadcrumb|tag|term|topic|keyword|section|author|user|person|contributor|comment|reaction|link|image|"
    r"picture|video|file|asset|attachment|enclosure|translation|version|revision|source|reference|footnote|block|"
    r"include|error|ad)s?|nav|navigation|categor(?:y|ies)|taxonom(?:y|ies)|people|repl(?:y|ies)|galler(?:y|ies)|media|"
    r"history|related|similar|included|seo|social",
    re.I,
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_VALUE_NAMES = ("rendered", "value", "raw", "processed")  # fields that contain the text of an object for a text
_NAME_OF_ANYTHING = re.compile(r"name|subject|description|summary|excerpt|caption|message|label", re.I)


@dataclass(frozen=True, slots=True)
class Location:
    """An object or a list in a JSON file, scored by its likeness to articles.

    Attributes:
        path: the names of the enclosing objects and its own.
        kind: a "list" of articles, "objects" (an object whose values are articles), or one "article".
        score: its likeness to an article or articles; higher is more alike.
        is_certain: whether the search can stop here.
    """

    path: tuple[str, ...]
    kind: Literal["list", "objects", "article"]
    score: float
    is_certain: bool = False

    @property
    def prefix(self) -> str:
        """The path as ijson writes it; empty for the whole file."""
        return ".".join(self.path)


def is_too_deep(file: File) -> bool:
    """Return whether a file nests more than MAX_NESTING values, too many for ijson to read in bounded memory."""
    depth = 0
    with file.path.open("rb") as opened, suppress(ijson.JSONError):  # the reader reports damage
        if opened.read(3) != b"\xef\xbb\xbf":
            opened.seek(0)
        for event, _ in ijson.basic_parse(opened):
            if event in ("start_map", "start_array"):
                depth += 1
                if depth > MAX_NESTING:
                    return True
            elif event in ("end_map", "end_array"):
                depth -= 1
    return False


def locate_articles(file: File) -> Location | None:
    """Return the object or list of a file that is most like articles; None if there is neither list nor article.

    Raises:
        ijson.JSONError: the file is not JSON, or is damaged before the first list.
    """
    lists: Location | None = None
    article: Location | None = None
    with file.path.open("rb") as opened:
        if opened.read(3) != b"\xef\xbb\xbf":
            opened.seek(0)
        try:
            for location in _Search(ijson.basic_parse(opened), file.fields).locations():
                if location is None:
                    if lists and lists.score >= ARTICLE_SCORE:
                        break
                elif location.is_certain:
                    return location
                elif location.kind == "list":
                    lists = location if lists is None or location.score > lists.score else lists
                else:
                    # At equal scores the outer object, which ends later, wins.
                    article = location if article is None or location.score >= article.score else article
        except ijson.JSONError:  # the reader reports damage after the list
            if not lists:
                raise
    if lists is None:
        return article if article and article.score >= TITLE_SCORE else None
    min_score = TITLE_SCORE if lists.score < 0 else ARTICLE_SCORE  # a list with a score below 0 is part of an article
    return article if article and article.score >= max(lists.score, min_score) else lists


class _Search:
    """Finds in the parser events of a JSON file the objects and lists that may be or contain articles."""

    def __init__(self, events: Iterable[tuple[str, Any]], fields: Mapping[str, str]) -> None:
        self._events = iter(events)
        self._fields = fields
        self._enclosing: list[dict[str, Any]] = []  # for each enclosing object, the values read so far
        self._articles: list[int] = []  # for each enclosing object, how many of its direct objects are like articles
        self._compared = 0

    def locations(self) -> Iterator[Location | None]:
        """Yield lists after their first objects, objects at their ends, and None every MAX_EVENTS within lists."""
        event, _ = next(self._events)
        if event == "start_array":
            yield Location((), "list", score=0, is_certain=True)
        elif event == "start_map":
            yield from self._object(())

    def _object(self, path: tuple[str, ...]) -> Generator[Location | None, None, dict[str, Any]]:
        """Yield the locations in an object and its own; return its values other than objects and lists."""
        values: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        self._enclosing.append(values)
        self._articles.append(0)
        name = ""
        for event, value in self._events:
            if event == "end_map":
                break
            if event == "map_key":
                name = value
            elif event == "start_map":
                inner: dict[str, Any] = {}
                if len(path) < MAX_DEPTH:
                    inner = yield from self._object((*path, name))
                else:
                    self._skip()
                if len(values) < MAX_FIELDS:
                    values[name] = inner
            elif event == "start_array":
                if (*path, name) == ("db",):
                    yield Location((*GHOST.split("."), "posts"), "list", score=0, is_certain=True)
                values[name] = ["..."]  # an article's text may be a list
                yield from self._list((*path, name))
            elif len(values) < MAX_FIELDS:
                values[name] = plain[name] = value
        self._enclosing.pop()
        articles = self._articles.pop()
        # After two articles in one object its other objects need no score.
        self._compared += 1
        is_known = self._compared > MAX_OBJECTS or (self._articles and self._articles[-1] >= 2)
        score = 0 if is_known else _score(values, self._fields)
        if not path and record_id(record.rename_fields(values, self._fields)):  # a deleted article may have an id alone
            score = max(score, TITLE_SCORE)
        if articles >= 2 and score < ARTICLE_SCORE:
            yield Location(path, "objects", score=OBJECTS_SCORE + _part_score(path))
        elif score:
            is_whole = score > ARTICLE_SCORE  # title, text, and a date, URL or long text: not the wrapper of a list
            location = Location(path, "article", score=score + _part_score(path) + WHOLE_SCORE * is_whole)
            if self._articles and location.score >= ARTICLE_SCORE:
                self._articles[-1] += 1
            yield location
        return plain

    def _list(self, path: tuple[str, ...]) -> Iterator[Location | None]:
        """Yield the location of a list, scored by its first MAX_SAMPLES objects, and None every MAX_EVENTS."""
        samples: list[Mapping[str, Any]] = []
        builder: ijson.ObjectBuilder | None = None
        depth = 0
        try:
            for number, (event, value) in enumerate(self._events, start=1):
                if event == "start_map" and not depth and len(samples) < MAX_SAMPLES:
                    builder = ijson.ObjectBuilder()
                depth += _step(event)
                if depth < 0:
                    break
                if builder:
                    builder.event(event, value)
                    if not depth:
                        samples.append(builder.value)
                        builder = None
                        if len(samples) == MAX_SAMPLES:
                            yield self._location(path, samples)
                if not number % MAX_EVENTS:
                    yield None
        except ijson.JSONError:
            if 0 < len(samples) < MAX_SAMPLES:
                yield self._location(path, samples)
            raise
        if 0 < len(samples) < MAX_SAMPLES:
            yield self._location(path, samples)

    def _skip(self) -> None:
        """Read to the end of an object."""
        depth = 1
        while depth:
            depth += _step(next(self._events)[0])

    def _location(self, path: tuple[str, ...], samples: list[Mapping[str, Any]]) -> Location:
        """Return the location of a list, scored by the mean over sample objects and by its path."""
        score = sum(_score(sample, self._fields, nested=True) for sample in samples) / len(samples)
        part_score, is_named = _part_score(path), bool(_ARTICLE_LIST.fullmatch(path[-1]))
        is_in_article = any(_score(values, self._fields) >= ARTICLE_SCORE for values in self._enclosing)
        return Location(
            path,
            "list",
            score=score + part_score + LIST_NAME_SCORE * is_named,
            is_certain=score >= ARTICLE_SCORE and is_named and not part_score and not is_in_article,
        )


def _step(event: str) -> int:
    """Return by how much a parser event changes the depth: 1, 0 or -1."""
    return (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))


def _part_score(path: tuple[str, ...]) -> int:
    """Return PART_SCORE if a name in the path denotes a part of an article or a site, else 0."""
    return PART_SCORE * any(_PART.fullmatch(word) for name in path for word in _WORD.findall(name))


def _score(values: Mapping[str, Any], fields: Mapping[str, str], *, nested: bool = False) -> int:
    """Return the likeness of an object to an article: points for a title, text, date, URL or id, and a long text.

    Args:
        values: the object.
        fields: the mapping of its field names, see `record.record_entry`.
        nested: whether to look one object deeper as well, as for `attributes.title` of JSON:API.
    """
    texts: dict[str, Any] = {}
    for name, value in record.rename_fields(values, fields).items():
        if not isinstance(value, Mapping):
            texts[name] = value
        else:
            texts |= {f"{name}.{part}": text for part, text in value.items() if nested or part in _VALUE_NAMES}
    texts = {name: text for name, text in texts.items() if text and text is not True}
    is_long = any(isinstance(text, str) and len(text) >= MIN_LONG_TEXT_CHARS for text in texts.values())
    return LONG_SCORE * is_long + _score_of_names(tuple(texts))


@lru_cache(maxsize=4096)
def _score_of_names(names: tuple[str, ...]) -> int:
    """Return the points for the fields with these names; ambiguous names such as "label" count for none."""
    strong = [name for name in names if not _NAME_OF_ANYTHING.fullmatch(name.rpartition(".")[2])]
    has = {*names, *suggest_fields(strong, ("title", "text", "published", "url", "id"))}
    address = "url" in has or "id" in has
    return TITLE_SCORE * ("title" in has) + TEXT_SCORE * ("text" in has) + ("published" in has) + address
