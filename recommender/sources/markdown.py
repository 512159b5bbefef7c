"""Reader of Markdown and HTML files with front matter, one article per file, as static site generators use them.

Hugo, Jekyll, Eleventy, Pelican, MkDocs, Docusaurus and Astro name the same fields differently, see `front_record`.
The text contains prose only: markup, code, short codes and components are removed. Links to other files of the source
become the ids of their articles.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin

from recommender.article import record_id
from recommender.sources import markup, notion, obsidian, record
from recommender.sources.entry import MAX_MARKUP_BYTES, Entry, File, decode
from recommender.sources.front_matter import MAX_FRONT_MATTER_BYTES, FrontMatter, split_front_matter, split_head
from recommender.sources.front_record import front_record, notion_page
from recommender.sources.generators.base import DATED_STEM, HTML_ENDINGS, LIST_PAGE, Page, Site
from recommender.sources.mdx import strip_javascript
from recommender.sources.site import find_page, names_content, on_site
from recommender.text.clean import normalise_title
from recommender.text.spans import without_spans

_TAG = r"(?:[^\n{]|\{(?![{%])|\n(?![ \t]*\n)){0,2000}?"  # a short code ends within its paragraph and contains no other
_SHORT_CODES = (
    # Links that a generator expands: Hugo's ref, Jekyll's post_url and link, Hexo's post_link, Pelican's {filename}.
    (re.compile(r"\{%-?\s*post_link\s+([^\s%]{1,500})\s*-?%\}"), r"[\1](<\1.md>)"),
    (
        re.compile(r"\{%-?\s*post_link\s+([^\s%]{1,500})\s+([\"']?)([^%\n]{1,500}?)\2(?:\s+(?:true|false))?\s*-?%\}"),
        r"[\3](<\1.md>)",
    ),
    (re.compile(r"\{%-?\s*post_path\s+([^\s%]{1,500})\s*-?%\}"), r"\1.md"),
    (re.compile(r"\{\{[<%]\s*(?:rel)?ref\s+[\"']?([^\"'\s>%]{1,500})[\"']?[^}]{0,200}[>%]\}\}"), r"\1"),
    (re.compile(r"\{%-?\s*post_url\s+([^\s%]{1,500})\s*-?%\}"), r"\1.md"),
    (re.compile(r"\{%-?\s*link\s+([^\s%]{1,500})\s*-?%\}"), r"/\1"),
    (re.compile(r"[{|]filename[}|]"), ""),
    (re.compile(r"!\[\[[^\]]{1,500}\]\]"), ""),
    (re.compile(rf"\{{\{{[<%]{_TAG}[>%]\}}\}}|\{{%{_TAG}%\}}|\{{\{{{_TAG}\}}\}}"), ""),
    (re.compile(r"^(=== )", re.M), "!!! note "),  # tabs: their content is indented like that of an admonition
    (re.compile(r":(?:material|fontawesome|octicons|simple)(?:-[a-z0-9]+)+:"), ""),  # icons of Material for MkDocs
    (re.compile(r"^(?::::.*|\[TOC\]|--8<--.*)$", re.M), ""),
    (re.compile(r"\{[:#.][^}\n]{0,200}\}"), ""),
    (re.compile(r"^((?:[ \t]*>)+[ \t]*)\[![\w-]+\][+-]?[ \t]*", re.M), r"\1"),  # callouts
    (re.compile(r"^([ \t>]*(?:[-*+]|\d+[.)])[ \t]+)\[[ xX/-]\][ \t]+", re.M), r"\1"),  # tasks
)
# Blocks of code: `{% codeblock %}` of Hexo, `{% highlight %}` of Jekyll, `{{< highlight >}}` of Hugo.
_CODE_TAG = re.compile(
    r"\{(?:%-?|\{[<%])\s*(?P<end>end|/)?(?P<name>codeblock|code|highlight)\b[^%>\n]{0,500}[%>]\}{1,2}"
)
_REFERENCE_LABEL = re.compile(r"^ {0,3}\[([^\]\n]{1,200})\]:", re.M)
_OBJECT_REFERENCE = re.compile(
    r"(?<!!)\[([^\[\]\n]{1,200})\]\[([A-Za-z_]\w*(?:\.[\w()]+)+)\]|(?<!!)\[(\x02\d+\x03)\]\[\]"
)
# Fenced code, code in HTML, code spans: their short codes are text.
_CODE = re.compile(
    r"^[ \t>*+\-\d.)]*(`{3,}(?=[^`\n]*$)|~{3,}).*(?:\n.*)*?(?:\n[ \t>]*\1[`~]*[ \t]*$|\Z)"
    r"|<pre\b(?s:.*?)(?:</pre\s*>|\Z)"
    r"|<code\b[^<>]*>(?:[^<]|<(?!/?code\b))*+</code\s*>"
    r"|(?<![\\`])(`++)(?:[^`\n]|\n(?![ \t]*\n)|(?!\2(?!`))`++){1,2000}+\2(?!`)",
    re.M | re.I,
)
# Loops over pages in Liquid and Nunjucks, and text that is none of a template. Hugo and Zola run none in content.
_LOOP = re.compile(r"\{%-?\s*for\s[^%]{1,100}?\sin\s+(?:site|paginator|pagination|collections|[\w.]*(?:posts|pages))\b")
_RAW = re.compile(r"\{%-?\s*(raw|highlight)\b")
_RAW_ENDS = {name: re.compile(rf"\{{%-?\s*end{name}\s*-?%\}}") for name in ("raw", "highlight")}
_EXPRESSION, _EXPRESSION_END = re.compile(r"\{[{%]"), re.compile(r"[}%]\}")
_ELEMENT = re.compile(r"<[^<>]*>")
_TITLE_LINE = re.compile(r"\A(?:[^\n`]*\n)*?#[ \t]+(.+?)[ \t]*#*$", re.M)  # above all code
MAX_LIST_PAGE_WORDS = 150


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return parser.use(footnote_plugin).use(deflist_plugin).use(admon_plugin)


def read(file: File) -> Iterator[Entry]:
    """Yield the Entry of a file."""
    content = file.read_article_bytes(MAX_MARKUP_BYTES)
    if isinstance(content, Entry):
        yield content
        return
    yield from read_text(decode(content), file)


def read_text(text: str, file: File) -> Iterator[Entry]:
    """Yield the Entry of a file with this text: Markdown, or HTML with front matter."""
    yield read_parts(_split(text, file), file)


def read_parts(parts: FrontMatter, file: File) -> Entry:
    """Return the Entry of a file with this front matter and body."""
    front, body, problems = parts
    body, codes = _take_code(body)
    if obsidian.is_note(body, file.root):
        body, inline_fields, inline_tags = obsidian.read_note(body)
        front = {**inline_fields, **front}
    else:
        inline_tags = []
    by_heading = file.site is not None and file.site.titles_from_headings and "title" not in front
    title = _TITLE_LINE.search(body) if by_heading else None
    page = file.page({**front, "title": _restore_code(title[1], codes)} if title else front)
    if notion.has_id(file.path.stem):
        page = notion_page(page, front, file)
    fields = front_record(front, file, page)
    if not page.excluded:
        page = replace(page, excluded=LIST_PAGE if _lists_pages(body) else obsidian.exclusion(front, body))
    if page.excluded:
        return file.excluded_entry(page, record_id(record.rename_fields(fields, file.fields)))
    site = page.url

    @cache  # a page often repeats a link, and each takes several look-ups in the file system
    def resolve(link: str) -> str | None:
        return link_target(file, site, link)

    markup_text = markup.read_markup(_html(body, codes, file), resolve=resolve)
    words, heading = markup_text.text, markup_text.heading
    if heading and fields.get("title") and normalise_title(heading) != normalise_title(str(fields["title"])):
        words = f"{heading}\n\n{words}"
    fields["title"] = fields.get("title") or heading or (title_from_name(file) if words else "")
    fields["text"] = words
    if inline_tags and isinstance(tags := fields.get("tags") or [], list):
        fields["tags"] = [*tags, *inline_tags]
    notes = [f"{name}{obsidian.WIKI_MARK}" for name in obsidian.property_links(fields.get("related"))]
    related = [resolve(link) for link in notes or map(str, _as_list(fields.get("related")))]
    fields["related"] = list(dict.fromkeys(link for link in (*related, *markup_text.related) if link))
    names = (name for value in front.values() for name in obsidian.property_links(value))
    links = (*markup_text.links, *(resolve(f"{name}{obsidian.WIKI_MARK}") for name in names))
    fields["links"] = list(dict.fromkeys(link for link in links if link and link not in fields["related"]))
    fields["id"] = fields.get("id") or fields.get("url") or file.id
    fields["url"] = page.url
    entry = record.record_entry(file.name, fields, id=file.id, fields=file.fields, html=False)
    return replace(entry, problems=(*problems, *entry.problems))


def identity(file: File) -> str:
    """Return the id of a file's article without reading more than its front matter."""
    try:
        state = file.path.stat()
        return _identity(file.path, file.root, tuple(file.fields.items()), file.site, state.st_mtime_ns, state.st_size)
    except OSError:
        return file.id


@lru_cache(maxsize=65_536)  # many pages link to the same pages
def _identity(
    path: Path, root: Path, fields: tuple[tuple[str, str], ...], site: Site | None, changed: int, size: int
) -> str:
    file = File(path, str(path), root, path.relative_to(root).as_posix(), dict(fields), site=site)
    with path.open("rb") as opened:
        front = _split(decode(opened.read(MAX_FRONT_MATTER_BYTES)), file).fields
    return record_id(record.rename_fields(front_record(front, file, Page()), file.fields)) or file.id


def _split(text: str, file: File) -> FrontMatter:
    """Return the front matter and the body of a page, with the properties of a page that Notion exported."""
    if file.site is not None and file.site.html_is_source and file.path.suffix.lower() in HTML_ENDINGS:
        return split_head(text)
    parts = split_front_matter(text)
    return notion.split_properties(text) if not parts.fields and notion.has_id(file.path.stem) else parts


def _lists_pages(body: str) -> bool:
    """Return whether a body consists of a loop over the site's pages, with little text around it."""
    body = without_spans(body, _RAW, lambda start: _RAW_ENDS[start[1]]) if "{" in body else ""
    if not _LOOP.search(body):
        return False
    words = _ELEMENT.sub(" ", without_spans(body, _EXPRESSION, lambda start: _EXPRESSION_END, " "))
    return len(re.findall(r"\w+", words)) <= MAX_LIST_PAGE_WORDS


def _take_code(body: str) -> tuple[str, list[str]]:
    """Return a body with a placeholder for each piece of code, and the pieces."""
    codes: list[str] = []

    def placeholder(code: re.Match[str]) -> str:
        codes.append(code[0])
        return f"\x02{len(codes) - 1}\x03"

    return _CODE.sub(placeholder, re.sub("[\x02\x03]", "", body)), codes


def _restore_code(body: str, codes: list[str]) -> str:
    return re.sub("\x02(\\d+)\x03", lambda number: codes[int(number[1])], body)


def _html(body: str, codes: list[str], file: File) -> str:
    """Return HTML without its short codes; render Markdown, without the imports and exports of MDX.

    Args:
        body: a body from `_take_code`, with its pieces of code in `codes`.
    """
    is_mdx = file.path.suffix.lower() == ".mdx" or (file.site is not None and file.site.markdown_is_mdx)
    body = strip_javascript(body, is_mdx=is_mdx)
    body = _without_code_blocks(body)
    for pattern, replacement in _SHORT_CODES:
        body = pattern.sub(replacement, body)
    body = _drop_identifiers(obsidian.convert_links(body))
    body = _restore_code(body, codes)
    return body if file.path.suffix.lower() in HTML_ENDINGS else str(_parser().render(body))


def _drop_identifiers(body: str) -> str:
    """Replace references to documented objects (mkdocstrings), `[Module][griffe.Module]`, by their text."""
    if "][" not in body:
        return body
    labels = {label.casefold() for label in _REFERENCE_LABEL.findall(body)}
    return _OBJECT_REFERENCE.sub(
        lambda link: link[0] if link[2] and link[2].casefold() in labels else link[1] or link[3], body
    )


def _without_code_blocks(body: str) -> str:
    parts: list[str] = []
    position, start = 0, None
    for tag in _CODE_TAG.finditer(body):
        if start is None and not tag["end"]:
            start = tag
        elif start is not None and tag["end"] and tag["name"] == start["name"]:
            parts.append(body[position : start.start()])
            position, start = tag.end(), None
    return "".join([*parts, body[position:]])


def link_target(file: File, site: str | None, link: str) -> str | None:
    """Return the target of a link: the id of a file of the source, else a URL or a title; None for the page itself."""
    url = on_site(None, link)
    if url is None or re.match(r"https?:", url, re.I):
        return url
    is_name = url.endswith(obsidian.WIKI_MARK)
    url = url.removesuffix(obsidian.WIKI_MARK)
    page = find_page(file, url) or (obsidian.find_note(file.root, unquote(url)) if is_name else None)
    if page is not None:
        other = replace(file, path=page, name=str(page), id=page.relative_to(file.root).as_posix())
        other_id = identity(other)
        return other_id if other_id != identity(file) else None
    if names_content(file, url):  # a file that is missing, or outside the source
        return None
    return on_site(site, url) if not is_name and ("/" in url or "." in url) else unquote(url)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def title_from_name(file: File) -> str:
    """Return a title made of a file's name."""
    stem = notion.without_id(PurePosixPath(file.id).stem)
    date, name = obsidian.split_name(stem)
    if date and not name:  # a daily note
        return stem
    stem = name
    dated = DATED_STEM.fullmatch(stem)
    words = re.sub(r"[-_]+", " ", dated[4] if dated else stem).strip()
    return words[:1].upper() + words[1:]
