"""Sitemaps and sitemap indexes (sitemaps.org), in XML or as a text of one URL per line."""

import re
from pathlib import Path

from lxml import etree

from recommender.sources import damaged_xml
from recommender.sources.entry import MAX_ARTICLE_BYTES

_MAX_HEAD_BYTES = 2**17  # of a file whose root element is read
_END_OF_URL = re.compile(rb"</(?:[\w.-]{1,50}:)?loc\s*>", re.I)
_SITEMAPS = ("urlset", "sitemapindex")


def is_sitemap(path: Path) -> bool:
    """Return whether a file is a sitemap or a sitemap index (sitemaps.org), in XML or as a text of one URL per line."""
    return root_name(path) in _SITEMAPS or is_url_list(path)


def is_url_list(path: Path) -> bool:
    """Return whether the lines of a text are URLs; only its beginning is read."""
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").split()
    except OSError:
        return False
    return bool(lines) and all(line.startswith((b"http://", b"https://")) for line in lines[:-1] or lines)


def root_name(path: Path) -> str:
    """Return the name of the root element of an XML file in lower case, without its prefix; "" for other files."""
    try:
        with path.open("rb") as file:
            head = damaged_xml.repair(damaged_xml.without_prologue(file.read(_MAX_HEAD_BYTES)))
        parser = etree.XMLPullParser(("start",), resolve_entities=False, no_network=True, recover=True)
        parser.feed(head)
        for _, element in parser.read_events():
            return str(element.tag).rpartition("}")[2].lower()
    except (etree.XMLSyntaxError, OSError):
        pass
    return ""


def sitemap_urls(sitemap: Path) -> tuple[list[tuple[str, str]], str, bool]:
    """Return the kind ("url" or "sitemap") and the URL of each entry of a sitemap, a problem, and whether it is whole.

    The problem is a clause, empty for a sitemap without faults. A URL that the end of the file cuts is left out.
    """
    with sitemap.open("rb") as file:
        content = file.read(MAX_ARTICLE_BYTES + 1)
    if len(content) > MAX_ARTICLE_BYTES:
        return [], f"the sitemap is longer than {MAX_ARTICLE_BYTES // 2**20} MB, the limit", False
    if is_url_list(sitemap):
        return [("url", url) for url in content.decode("utf-8-sig", errors="replace").split()], "", True
    root, error, is_whole = damaged_xml.parse(content)
    if not is_whole:  # the last URL may be cut
        ends = [match.end() for match in _END_OF_URL.finditer(content)]
        root = damaged_xml.parse(content[: ends[-1]])[0] if ends else root
    if root is None or str(root.tag).rpartition("}")[2].lower() not in _SITEMAPS:
        return [], "it is not a sitemap" + (f", or is damaged ({error})" if error else ""), False
    urls = [
        (str(element.tag).rpartition("}")[2], url)
        for element in root.iter("{*}url", "{*}sitemap")
        if (url := (element.findtext("{*}loc") or "").strip())
    ]
    consequence = "was repaired, but may lack pages" if is_whole else "was read as far as possible"
    return urls, error and f"the sitemap is damaged or cut short, and {consequence} ({error})", is_whole
