"""Repair of damaged XML, so that one bad byte costs at most the element that contains it.

lxml's recover mode drops what it cannot read: the rest of a URL after a bare `&`, a title's words after `&nbsp;`, a
whole file after a NUL. The faults that exports and sitemaps really have are repaired first; lxml recovers from others.
"""

import html
import re
from typing import Any

from lxml import etree

MAX_PROLOGUE_BYTES = 2**16  # before the document: blank lines, a warning of PHP
# Documents begin with a declaration, a document type or a comment, else with the root element.
_DECLARATION = re.compile(rb"<\?xml[\s?]|<!DOCTYPE\s(?!html)", re.I)
_BLANKS = re.compile(rb"(?:\s|\xef\xbb\xbf|\x00)*")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"\x00<", b"<\x00")
_ENCODING = re.compile(rb"<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w.:-]+)")
_ROOT = re.compile(rb"<[A-Za-z][\w.:-]*")
_PREFIX = re.compile(rb"<([A-Za-z][\w.-]*):")
_DECLARED_PREFIX = re.compile(rb"\sxmlns:([\w.-]+)\s*=")
MAX_PREFIXES = 20  # without a declaration; more are no XML
_NAMESPACES = {
    b"atom": b"http://www.w3.org/2005/Atom",
    b"content": b"http://purl.org/rss/1.0/modules/content/",
    b"dc": b"http://purl.org/dc/elements/1.1/",
    b"media": b"http://search.yahoo.com/mrss/",
    b"thr": b"http://purl.org/syndication/thread/1.0",
    b"wp": b"http://wordpress.org/export/1.2/",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_CDATA_OR_REFERENCE = re.compile(
    rb"(<!\[CDATA\[.*?(?:\]\]>|\Z))|&(?:(amp|lt|gt|quot|apos);|#(?:x([0-9a-f]{1,8})|([0-9]{1,8}));|([a-z]\w{1,30});)?",
    re.I | re.S,
)


def parse(content: bytes) -> tuple[Any, str, bool]:
    """Parse an XML document; custom entities and external references are not resolved.

    Returns:
        The root element, None if there is none; the first error, an empty text for a well-formed document or one
        with junk before it; and whether everything in the document could still be read.
    """
    content = without_prologue(content)
    try:
        return etree.fromstring(content, _parser()), "", True
    except (etree.XMLSyntaxError, ValueError) as error:
        problem = message(error)
    content = repair(content)
    try:
        return etree.fromstring(content, _parser()), problem, True
    except (etree.XMLSyntaxError, ValueError):
        pass
    try:
        return etree.fromstring(content, _parser(recover=True)), problem, False
    except (etree.XMLSyntaxError, ValueError):
        return None, problem, False


def message(error: Exception) -> str:
    """Return the message of a parser's error on one line, without the control characters that it quotes."""
    text = " ".join(str(getattr(error, "msg", error)).split())
    return "".join(char for char in text if char.isprintable())[:200]


def without_prologue(content: bytes) -> bytes:
    """Return an XML document without blank lines, byte order marks and messages of PHP before it."""
    if content.startswith(_UTF_16):
        return content
    if declaration := _DECLARATION.search(content, 0, MAX_PROLOGUE_BYTES):
        return content[declaration.start() :]
    blanks = _BLANKS.match(content)
    return content[blanks.end() :] if blanks else content


def repair(content: bytes, encoding: str | None = None) -> bytes:
    """Return XML without control characters, bare ampersands, references to HTML's entities and stray bytes.

    Args:
        content: a document or a part of one.
        encoding: the encoding of a part; None to take that which the document declares.
    """
    if content.startswith(_UTF_16):
        return content
    declared = _ENCODING.match(content)
    encoding = encoding or (declared[1].decode("ascii") if declared else "utf-8")
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        content = content.decode("utf-8", errors="replace").encode()
    return _declare_prefixes(_CDATA_OR_REFERENCE.sub(_repaired_reference, _CONTROL.sub(b"", content)))


def _declare_prefixes(content: bytes) -> bytes:
    """Return a document whose root element declares the namespace prefixes that no element declares."""
    root = _ROOT.search(content)
    missing = set(_PREFIX.findall(content)) - set(_DECLARED_PREFIX.findall(content)) - {b"xml"}
    if not root or not missing or len(missing) > MAX_PREFIXES:
        return content
    declarations = b"".join(
        b' xmlns:%s="%s"' % (prefix, _NAMESPACES.get(prefix, b"urn:undeclared:" + prefix)) for prefix in sorted(missing)
    )
    return content[: root.end()] + declarations + content[root.end() :]


def _repaired_reference(match: re.Match[bytes]) -> bytes:
    cdata, predefined, hexadecimal, decimal, name = match.groups()
    if cdata is not None or predefined is not None:
        return match[0].lower() if predefined is not None else match[0]
    if hexadecimal or decimal:
        code = int(hexadecimal, 16) if hexadecimal else int(decimal)
        is_valid = code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0xFFFF < code < 0x110000
        return match[0] if is_valid else b""
    character = html.unescape(f"&{name.decode('ascii', errors='replace')};") if name else "&"
    # A name that HTML does not define is text.
    return b"&amp;" + match[0][1:] if character.startswith("&") else b"".join(b"&#%d;" % ord(c) for c in character)


def _parser(*, recover: bool = False) -> Any:
    # Files may be hostile, so entities and external references stay unresolved.
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=recover)
