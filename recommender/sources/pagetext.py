"""Reader for text files, one article per file: plain text, or text copied from a news page in a browser.

Plain text is a title line, possibly a date or a byline below it, and the text. A file is page text if it has furniture
("Share", "Get short URL"), a date or byline far from the first line, tags or links; see `is_page_text`. Page text has
no markup, so its parts are found by their form and order:

- The head, up to the first paragraph: site furniture, a section, a headline, a date, a byline. A line of one to
  three words is a section, a longer one the headline. A date counts if it is below the headline (or, without one, the
  section) or has a label: a time above them is when the page was copied.
- The body: lines that end like sentences. Captions, credits and furniture between them are left out.
- The tail: headlines of other articles, which are the editorial links, until furniture follows; a line of short
  items with commas between them, which are the tags.

Furniture is matched by its words, in several languages; the other rules hold for any language.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from recommender.sources import record
from recommender.sources.entry import STRAY_BYTES, Entry, File, encoding_of
from recommender.sources.markup import RELATED_HEADING
from recommender.text.clean import MAX_TITLE_CHARS
from recommender.text.dates import parse_date

# Furniture: lines of these words only, also where the copy lacks the spaces between them.
_STOPS = (  # the article ends before these
    "community standards|discussions?|(leave a |add a |post a |view |show |all )?comments?|join the conversation|"
    "most (read|popular|viewed)|trending( now)?|popular( now)?|latest( news)?|you (may|might) also like|"
    "recommended( for you)?|top stories|more from .{3,30}|kommentare|commentaires|comentarios|комментарии|"
    "meistgelesen|les plus lus|lo más leído"
)
_FURNITURE = (
    "listen (live|to this article)|watch( live)?|live|get short url|short url|copy link|link copied|kurzlink|"
    "share( this article| this| on)?|tweet|facebook|twitter|whats ?app|telegram|linkedin|reddit|pinterest|"
    "e-?mail( this)?|print( this)?|save|bookmark|send feedback|send|like|"
    "subscribe( now| to our newsletter)?|newsletters?|"
    "sign (in|up|out)|log ?(in|out)|register|my account|menu|search|home|skip to (main )?content|close|"
    "advertisement|advertising|ad|sponsored|promoted|anzeige|publicité|publicidad|реклама|"
    "read more|more|show more|view all|see all|back to top|next|previous|follow us( on)?|"
    "report (a|an) (mistake|error|correction|typo)|feedback|corrections?|"
    "terms (of use|of service|and conditions)|privacy( policy)?|cookies?( policy)?|contact( us)?|about( us)?|"
    "all rights reserved|play( video)?|video|audio|photos?|gallery|enlarge( image)?|view in app|"
    "download( the| our)? app|"
    "teilen|drucken|merken|partager|imprimer|compartir|imprimir|поделиться|and|&"
)
MAX_DATE_LINES = 60  # parsed per page; each takes up to 50 ms
MAX_DATE_LINE_CHARS = 120
MAX_SECTION_WORDS = 3
MIN_PARAGRAPH_WORDS = 4
MIN_LONG_PARAGRAPH_WORDS = 20  # of a line that is a paragraph at any position
MAX_QUESTION_WORDS = 16  # of a headline
MIN_PAGE_SIGNS = 2
# Possessive: without it, the number of ways to split a line into these words grows exponentially.
_STOP_LINE = re.compile(rf"(?>{_STOPS}|{_FURNITURE}|[\W\d_])++", re.I)
_HAS_STOP = re.compile(rf"^[\W\d_]*(?:{_STOPS})|(?:{_STOPS})[\W\d_]*$", re.I)
_LEGAL = re.compile(
    r"all rights reserved|^copyright\b|^©|views? (and opinions? )?expressed|uses? cookies|our newsletter|"
    r"terms of (use|service)|privacy policy|follow us on|click here|comments are closed|download (the|our) app",
    re.I,
)
_TAGS = re.compile(
    r"(?:tags?|topics?|keywords?|key words|tagged(?: with| as)?|filed under|schlagw(?:ö|oe)rter|schlagworte|themen|"
    r"mots[- ]clés|etiquetas|parole chiave|trefwoorden|теги|ключевые слова)\s*[:：]\s*(?P<rest>.+)",
    re.I,
)
_CREDIT = re.compile(
    r"©.*|\(c\) .*|(?:file )?(?:photo|image|picture|foto|credit|bild|caption)s?(?: (?:by|credit|courtesy))?\s*[:/].*|"
    r"(?:ap|afp|reuters|epa|getty|dpa|tass)\b.{0,20}/.*",
    re.I,
)
_BYLINE = re.compile(r"(?:by|von|par|por|di|door|автор:?)\s+(?P<name>[^\W\d_].{1,80})", re.I)
_INVISIBLE = re.compile(r"[\u200b\u200e\u200f\u2060\ufeff]")
_URL = re.compile(r"https?://\S+", re.I)
_SENTENCE_END = re.compile(r"[.!?…。！？](?:\[\d+\])?[\"'“”’»)\]）」』]*$")
_BULLET = re.compile(r"^(?:[-*•·▪‣–—]|\d{1,2}[.)])\s+")
_UNDERLINE = re.compile(r"\A\s*[=~*#-]{3,}[^\S\n]*(?:\n|\Z)")  # of a title
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")  # Thai, Lao, Japanese, Chinese
_PUBLISHED = re.compile(
    r"^(?:first )?(?:published|posted|date|veröffentlicht|publié|publicado)\b(?: (?:on|at|le|el|am))?\s*:?\s*",
    re.I,
)
_UPDATED = re.compile(r"\(?\b(?:last )?(?:updated|modified|aktualisiert|mis à jour|actualizado|обновлено)\b", re.I)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the page: its text, whether it is indented, and whether it reads as a paragraph."""

    text: str
    indented: bool
    prose: bool


@dataclass(slots=True)
class _Page:
    """The parts of a page, filled in by the functions for its head, body and tail."""

    section: str = ""
    title: str = ""
    published: datetime | None = None
    author: str = ""
    url: str = ""
    body: list[str] = field(default_factory=list)
    related: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    dates: "_Dates" = field(default_factory=lambda: _Dates())  # noqa: PLW0108 - it is defined below


class _Dates(dict[str, tuple[datetime, str] | None]):
    """Dates by line, with their label: "published", "updated" or none; None for a line without a date."""

    def __missing__(self, line: str) -> tuple[datetime, str] | None:
        """Parse a line; None if it has no year or is too long, or after MAX_DATE_LINES parsed lines."""
        if len(line) > MAX_DATE_LINE_CHARS or not re.search(r"\d", line) or not re.search(r"(?:19|20)\d\d|年", line):
            return None
        dated = self[line] = _date(line) if len(self) < MAX_DATE_LINES else None
        return dated


def read(file: File) -> Iterator[Entry]:
    """Read one file; a file that is not UTF-8 yields an Entry with the problem."""
    content = file.read_article_bytes()
    if isinstance(content, Entry):
        yield content
        return
    errors = STRAY_BYTES if encoding_of(content) == "utf-8-sig" else "strict"
    try:
        fields = text_record(content.decode("utf-8-sig", errors))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield Entry(f"{file.name}:{line}", id=file.id, problems=("the line is not UTF-8; save the page as UTF-8",))
        return
    yield record.record_entry(file.name, fields, id=file.id, html=False)


def text_record(text: str) -> dict[str, Any]:
    """Return a text file as a record for `Article.from_record`, read as page text or as plain text."""
    dates = _Dates()  # shared, since parsing a date is slow
    return page_record(text, dates) if is_page_text(text, dates) else plain_record(text, dates)


def is_page_text(text: str, dates: _Dates | None = None) -> bool:
    """Return whether a text was copied from a page.

    Two of these signs are required: a date or byline above the first paragraph, lines of furniture (each
    counts), a heading of related links, a line of tags, a credit, a line that is a URL. A date or byline further down
    than the second line, below a section or a standfirst, is enough.
    """
    lines, dates = _lines(text), dates if dates is not None else _Dates()
    texts = [line.text for line in lines]
    start = next((i for i, line in enumerate(lines) if line.prose), len(lines))
    marks = [i for i, line in enumerate(texts[:start]) if dates[line] or _BYLINE.fullmatch(line)]
    furniture = {line for line in texts if _is_furniture(line) and any(map(str.isalpha, line))}
    signs = (
        bool(marks),
        any(map(RELATED_HEADING.fullmatch, texts)),
        any(map(_CREDIT.fullmatch, texts)),
        any(map(_URL.fullmatch, texts)),
        any(_tags(line.text, dates) for line in lines if not line.prose),
    )
    return len(furniture) + sum(signs) >= MIN_PAGE_SIGNS or any(i > 1 for i in marks)


def plain_record(text: str, dates: _Dates) -> dict[str, Any]:
    """Return plain text as a record: the first line is the title, the rest the text.

    A date or byline right below the title becomes `published` or `author`. A text that begins with a wrapped paragraph
    or a long line has no title.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    first_block = [row.strip() for row in re.split(r"\n\s*\n", text, maxsplit=1)[0].split("\n")]
    title = _INVISIBLE.sub("", first_block[0]).strip()
    if len(title) > MAX_TITLE_CHARS or _is_wrapped(first_block):
        return {"title": "", "text": text}
    record: dict[str, Any] = {"title": title}
    body = _UNDERLINE.sub("", text.partition("\n")[2], count=1).strip("\n")
    line, _, below = body.partition("\n")
    line = line.strip()
    if dated := dates[line]:
        record["published"], body = dated[0], below
    elif byline := _BYLINE.fullmatch(line):
        record["author"], body = byline["name"], below
    return record | {"text": body.strip("\n")}


def page_record(text: str, dates: _Dates | None = None) -> dict[str, Any]:
    """Return page text as a record for `Article.from_record`, by the rules of this module's docstring."""
    lines = _lines(text)
    texts = [line.text for line in lines]
    is_long = [line.prose and _count_words(line.text) >= MIN_LONG_PARAGRAPH_WORDS for line in lines]
    first_strong = is_long.index(True) if any(is_long) else len(lines)
    page = _Page(dates=dates if dates is not None else _Dates())
    marks = [i for i, line in enumerate(texts[:first_strong]) if page.dates[line] or _BYLINE.fullmatch(line)]
    start = marks[-1] + 1 if marks else 0
    while start < len(lines) and (not lines[start].prose or _is_question_headline(texts, start, page.dates)):
        start += 1
    if start == len(lines):  # a page without a sentence keeps its lines
        return {"text": "\n".join(line for line in texts if not _is_furniture(line))}
    indented_body = any(line.indented for line in lines[start:])
    _read_head(page, [line for line in lines[:start] if line.indented or not indented_body or page.dates[line.text]])
    if not page.title and not page.section and indented_body:
        _read_head(page, lines[:start])
    end = _body_end(lines, start, page.dates)
    _read_body(page, texts[start:end])
    _read_tail(page, lines[end:])
    record: dict[str, Any] = {
        "title": page.title,
        "text": "\n\n".join(page.body),
        "url": page.url or None,
        "published": page.published,
        "section": page.section,
        "tags": page.tags,
        "related": [title for title in page.related if title != page.title],
    }
    if page.author:
        record["author"] = page.author
    return record


def _read_head(page: _Page, lines: list[_Line]) -> None:
    """Read section, title, date and author from the lines above the body.

    In a page with an indented body, lines that are not indented belong to the site.
    """
    short: list[int] = []
    long: list[int] = []
    crumbs = ""
    dates: list[tuple[int, datetime, str]] = []
    for i, line in enumerate(line.text for line in lines):
        if dated := page.dates[line]:
            dates.append((i, *dated))
        if byline := _BYLINE.match(line):
            page.author = page.author or re.split(r"\s*[|•·,]\s*|\s+[–—-]\s+", byline["name"])[0]
        elif _URL.fullmatch(line):
            page.url = page.url or line
        elif len(steps := re.split(r"\s+[›»>/]\s+", line)) > 1 and max(map(_count_words, steps)) <= MAX_SECTION_WORDS:
            crumbs = steps[-1]
        elif not dated and not _is_furniture(line) and not _CREDIT.fullmatch(line):
            (short if _count_words(line) <= MAX_SECTION_WORDS else long).append(i)
    title: int | None = None
    if long:
        # Navigation may precede the section, and a standfirst may follow the headline.
        above = max((i for i in short if i < long[-1]), default=-1)
        title = next(i for i in long if i > above)
    elif len(short) > 1 and _count_words(lines[short[-1]].text) == MAX_SECTION_WORDS:
        title = short.pop()
    sections = [i for i in short if title is None or i < title] or short
    page.section = crumbs or (lines[sections[-1]].text if sections else "")
    page.title = "" if title is None else lines[title].text
    heading = title if title is not None else (sections[-1] if sections else len(lines))
    for preferred_label in ("published", "", "updated"):
        for i, date, label in dates:
            below = i > heading or bool(crumbs)
            above = i == heading - 1 and title is not None and (i > 0 or date.hour == date.minute == 0)
            if page.published is None and label == preferred_label and (label or below or above):
                page.published = date


def _read_body(page: _Page, lines: list[str]) -> None:
    """Read the paragraphs, and the links between them."""
    heading = False
    for line in lines:
        related = RELATED_HEADING.fullmatch(line)
        if related:
            heading = not related["rest"]
            if related["rest"]:
                page.related.append(related["rest"])
            continue
        sentence = _SENTENCE_END.search(line) or line.endswith((":", "："))
        if heading and not sentence:
            page.related.append(_BULLET.sub("", line))
            continue
        heading = False
        if _is_furniture(line) or _CREDIT.fullmatch(line) or page.dates[line]:
            continue
        if sentence or _count_words(line) >= 12 or _BULLET.match(line):
            page.body.append(line)


def _read_tail(page: _Page, lines: list[_Line]) -> None:
    """Read links, tags and a labelled date from the lines below the body."""
    collecting, announced = True, False
    links = 0
    for line in lines:
        related = RELATED_HEADING.fullmatch(line.text)
        tags = _tags(line.text, page.dates)
        if related:
            collecting, announced = True, not related["rest"]
            if related["rest"]:
                page.related.append(related["rest"])
                links += 1
        elif tags:
            page.tags = page.tags or tags
            collecting, announced = collecting and not links, False
        elif _is_furniture(line.text):
            if links or _HAS_STOP.search(line.text):
                collecting = False
        elif date := page.dates[line.text]:
            if page.published is None and date[1] == "published":
                page.published = date[0]
        elif collecting and not _CREDIT.fullmatch(line.text) and not _LEGAL.search(line.text):
            title = _BULLET.sub("", line.text)
            if announced or (_count_words(title) >= 3 and not line.prose):
                page.related.append(title)
                links += 1


def _body_end(lines: list[_Line], start: int, dates: _Dates) -> int:
    """Return the index after the last paragraph of the body that begins at `start`."""
    prose = [i for i in range(start, len(lines)) if lines[i].prose and not RELATED_HEADING.fullmatch(lines[i].text)]
    sentences = [0, *accumulate(bool(_SENTENCE_END.search(line.text)) for line in lines[start:])]
    legal = (bool(_LEGAL.search(line.text)) for line in lines[start:])
    strong_lines = (line.prose and _count_words(line.text) >= MIN_LONG_PARAGRAPH_WORDS for line in lines[start:])
    strong = [
        0,
        *accumulate(is_strong and not is_legal for is_strong, is_legal in zip(strong_lines, legal, strict=True)),
    ]
    mark = len(lines)
    for i in range(start + 1, len(lines)):
        text = lines[i].text
        related = RELATED_HEADING.fullmatch(text)
        before, strong_after = sentences[i - start], strong[-1] - strong[i - start + 1]
        ends = _tags(text, dates) or (_is_furniture(text) and _HAS_STOP.search(text))
        lists = (related and not related["rest"]) or all(_is_link_like(line) for line in lines[i : i + 2])
        if (ends and (before >= 2 or not strong_after)) or (lists and i + 1 < len(lines) and strong_after < 2):
            mark = i
            break
    inside = [i for i in prose if i < mark]
    while len(inside) > 1 and _LEGAL.search(lines[inside[-1]].text) and _count_words(lines[inside[-1]].text) < 40:
        inside.pop()
    end = inside[-1] + 1 if inside else mark
    while end < mark and _SENTENCE_END.search(lines[end].text) and not _is_link_like(lines[end]):
        end += 1  # a last paragraph of two or three words
    return end


def _lines(text: str) -> list[_Line]:
    """Return the lines that are not empty; wrapped paragraphs are joined."""
    lines: list[_Line] = []
    for block in re.split(r"\n[^\S\n]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        cleaned = [(row, " ".join(_INVISIBLE.sub("", row).split())) for row in block.split("\n")]
        rows, clean = [row for row, text in cleaned if text], [text for _, text in cleaned if text]
        if _is_wrapped(clean):
            rows, clean = rows[:1], [" ".join(clean)]
        prose = [_is_prose(row) for row in clean]
        if prose.count(False) >= prose.count(True):  # among headlines, a question is a headline too
            prose = [reads and not _is_question(row) for reads, row in zip(prose, clean, strict=True)]
        lines += [
            _Line(text, row[0].isspace(), reads) for text, row, reads in zip(clean, rows, prose, strict=True) if text
        ]
    return lines


def _is_wrapped(rows: list[str]) -> bool:
    """Return whether the lines are one paragraph, wrapped to lines of about the same length."""
    if len(rows) < 2 or not _SENTENCE_END.search(rows[-1]):
        return False
    widest = max(map(len, rows))
    even = all(len(row) >= widest * 0.6 for row in rows[:-1]) and 40 <= widest <= 100
    running_on = sum(1 for row in rows[1:] if not row[0].isupper() or not _SENTENCE_END.search(rows[0]))
    return even and running_on * 3 >= len(rows) - 1 and any(row[0].islower() for row in rows[1:])


def _count_words(line: str) -> int:
    """Return the number of words; in scripts without spaces two characters count as one."""
    return len(line.split()) + len(_NO_SPACES.findall(line)) // 2


def _is_prose(line: str) -> bool:
    """Return whether a line reads as a paragraph: a sentence of four words or more, or very long."""
    return (_count_words(line) >= MIN_PARAGRAPH_WORDS and bool(_SENTENCE_END.search(line))) or _count_words(line) >= 30


def _is_question(line: str) -> bool:
    """Return whether a line is a single short question or exclamation, which is more often a headline."""
    plain = line.rstrip("\"'“”’»)]")
    is_one_call = plain.endswith(("?", "!", "？", "！")) and len(re.findall(r"[.!?。！？]", plain)) == 1
    return is_one_call and _count_words(line) < MAX_QUESTION_WORDS


def _is_question_headline(lines: list[str], i: int, dates: _Dates) -> bool:
    """Return whether line `i`, the first that reads as a sentence, is the headline."""
    return _is_question(lines[i]) and not any(
        _count_words(line) > 3 and not _is_furniture(line) and not dates[line] for line in lines[:i]
    )


def _is_furniture(line: str) -> bool:
    """Return whether a line is furniture, or furniture that a copy joined to other text."""
    parts = re.split(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])", line)
    return bool(_STOP_LINE.fullmatch(line)) or (len(parts) > 1 and any(map(_STOP_LINE.fullmatch, parts)))


def _is_link_like(line: _Line) -> bool:
    """Return whether a line could be the headline of another article."""
    text = line.text
    furniture = _is_furniture(text) or _CREDIT.fullmatch(text) or _BULLET.match(text) or text.endswith((":", "："))
    return _count_words(text) >= 4 and not line.prose and not furniture


def _tags(line: str, dates: _Dates) -> list[str]:
    """Return the tags of a line of tags; an empty list for any other line."""
    labelled = _TAGS.fullmatch(line)
    text = labelled["rest"] if labelled else line
    if re.match(r"#\w", text) and "," not in text:
        items = [item for item in re.split(r"\s*#", text) if item]
    else:
        items = [item.strip().lstrip("#") for item in re.split(r"[,;|•·،、，]", text)]
    items = [item for item in items if item]
    if labelled:
        return items
    if _SENTENCE_END.search(line) or len(items) < 2 or dates[line] or _is_furniture(line):
        return []
    sizes = [_count_words(item) for item in items]
    if len(items) > 3 and max(sizes) <= 6 and sum(sizes) <= 2.5 * len(items):
        return items
    longest = max(sizes)
    return (
        items if longest <= (4 if len(items) > 2 else 2) and not re.search(r"\b(and|und|et|y|и)\b", items[-1]) else []
    )


def _date(line: str) -> tuple[datetime, str] | None:
    """Return the date in a line and its label; None if it has none."""
    for part in re.split(r"\s*[|•·(]\s*|\s+[–—-]\s+|\s+by\s+", line):
        updated = _UPDATED.search(part)
        if updated and updated.start() > 0:  # "12 May, updated 13 May"
            text, label = part[: updated.start()], ""
        else:
            text, label = (_UPDATED.sub("", part), "updated") if updated else (part, "")
        bare = _PUBLISHED.sub("", text.strip(" :()"))
        label = "published" if bare != text.strip(" :()") else label
        if re.search(r"\d", bare) and _count_words(bare) <= 8 and (date := parse_date(bare.strip(" ,;.:"))):
            return date, label
    return None
