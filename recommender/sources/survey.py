"""Counts and samples of an archive, with which a person checks what was read of it."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from recommender.article import Article
from recommender.sources.entry import Entry
from recommender.text.clean import normalise_title
from recommender.text.language import language_of

MIN_YEAR = 1990  # of a date that is not odd
MAX_EXAMPLES = 3  # ids or files listed for each finding
MAX_LISTED = 500  # left-out and skipped records that a report lists
MAX_REPORTED_ARTICLES = 200
MIN_TEXT_CHARS = 20  # of a text that counts as one
UNKNOWN_LANGUAGE = "unknown"
_ENDING = re.compile(r"\.[a-z]\w{0,8}(?:\.gz)?(?=(?::[\d.]+)*$|: (?:item|entry|record) \d)", re.I)


@dataclass(slots=True)
class Finding:
    """Articles that share a possible fault: how many, and the first ids."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count an article."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)


class Survey:
    """Counts of the entries of an archive.

    Attributes:
        kinds: number of articles by the ending of their file; "other" for a URL or a database.
        languages: number of articles by language, as the source states it or as detected.
        findings: possible faults by name, in the order of printing.
        left_out: excluded records: reason, location, details; at most MAX_LISTED.
        skipped: skipped records: location, problem; at most MAX_LISTED.
        articles: the first MAX_REPORTED_ARTICLES articles.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.findings: dict[str, Finding] = {
            name: Finding()
            for name in (
                "no date", "no address", "hardly any text", f"date before {MIN_YEAR}", "date in the future",
                "title of another article", "text of another article", "address of another article",
            )
        }  # fmt: skip
        self.left_out: list[tuple[str, str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.articles: list[Article] = []
        self._seen: set[int] = set()  # hashes of titles, texts and addresses
        self._now = datetime.now(UTC)

    def add(self, entry: Entry) -> None:
        """Count an entry, whose article was accepted if it has one."""
        article = entry.article
        if article is None:
            problem = "; ".join(entry.problems)
            if entry.excluded and len(self.left_out) < MAX_LISTED:
                self.left_out.append((entry.excluded, entry.where, problem))
            elif not entry.excluded and len(self.skipped) < MAX_LISTED:
                self.skipped.append((entry.where, problem))
            return
        if len(self.articles) < MAX_REPORTED_ARTICLES:
            self.articles.append(article)
        ending = _ENDING.search(entry.where) if "://" not in entry.where else None
        self.kinds[ending[0].lower() if ending else "other"] += 1
        self.languages[language_of(article.title, article.text, article.language) or UNKNOWN_LANGUAGE] += 1
        has_text = len(article.text) >= MIN_TEXT_CHARS
        date = article.published
        faults = {
            "no date": date is None,
            "no address": not article.url,
            "hardly any text": not has_text,
            f"date before {MIN_YEAR}": date is not None and date.year < MIN_YEAR,
            "date in the future": date is not None and date > self._now,
            "title of another article": self._is_repeated("title", normalise_title(article.title)),
            "text of another article": has_text and self._is_repeated("text", article.text),
            "address of another article": self._is_repeated("url", article.url),
        }
        for name, is_present in faults.items():
            if is_present:
                self.findings[name].add(article.id)

    def _is_repeated(self, kind: str, value: str | None) -> bool:
        """Return whether an article before had this value; an empty value never counts."""
        key = hash((kind, value))
        repeated = key in self._seen
        if value:
            self._seen.add(key)
        return repeated and bool(value)
