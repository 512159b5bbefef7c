"""Kinds of files: which reader reads them, and how to convert those that no reader reads."""

from collections import Counter
from pathlib import Path

MAX_SNIFFED_BYTES = 2**16  # of a file whose reader is chosen by content
# The module that reads a file, by the ending of its name; imported on demand, since some imports are slow.
READERS = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "page",
    ".htm": "page",
    ".xhtml": "page",
    ".rst": "rst",
    ".ipynb": "notebook",
    ".txt": "pagetext",
    ".json": "jsonlist",
    ".xml": "",  # chosen by the content
    ".rss": "feed",
    ".atom": "feed",
    ".rdf": "feed",
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
    ".parquet": "parquet",
}
# The endings that are read from a folder by default: its other files may be tables, settings or a sitemap.
PAGE_ENDINGS = {".md", ".markdown", ".mdx", ".html", ".htm", ".xhtml", ".rst", ".ipynb"}
FOLDER_ENDINGS = PAGE_ENDINGS | {".jsonl", ".jsonl.gz", ".ndjson", ".txt"}
# Folders of a site generator that contain no articles.
SKIPPED_FOLDERS = {
    *("node_modules", "_includes", "_layouts", "_data", "_site", "_sass"),
    *("_sources", "_static", "_downloads", "_modules"),  # of a site built by Sphinx
}
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", ".xml.gz", ".json.gz", ".csv.gz", ".tar.gz", ".tar.xz", ".tar.bz2")
# Kinds of texts that are not read, by how to read them all the same.
_CONVERSIONS = {
    "Convert them to Markdown, such as with `pandoc FILE -o FILE.md`": (
        *(".adoc", ".asciidoc", ".org", ".docx", ".odt", ".rtf", ".tex", ".epub", ".textile", ".mediawiki", ".wiki"),
        *(".creole", ".dokuwiki", ".opml", ".fb2", ".typ", ".t2t"),
    ),
    "Convert them to text, such as with `pdftotext FILE`": (".pdf", ".ps"),
    "Convert them with LibreOffice: `soffice --convert-to docx FILE`, then with pandoc": (".doc", ".pages", ".wpd"),
    "Render them with Quarto or knitr, or rename them to .md": (".qmd", ".rmd", ".rnw"),
    "They are templates: read the built site": (
        *(".njk", ".liquid", ".hbs", ".ejs", ".pug", ".haml", ".erb", ".slim", ".jade", ".mustache", ".twig"),
        ".astro",
    ),
}
ADVICE = {ending: advice for advice, endings in _CONVERSIONS.items() for ending in endings}


def ending_of(path: Path) -> str:
    """Return the longest key of READERS that the file's name ends with; an empty string without one."""
    name = path.name.lower()
    return next((ending for ending in sorted(READERS, key=len, reverse=True) if name.endswith(ending)), "")


def ending_by_content(path: Path) -> str:
    """Return the key of READERS for the content of a file without a name."""
    with path.open("rb") as file:
        head = file.read(MAX_SNIFFED_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    start = head[:512].lower()
    if head.startswith(b"\x1f\x8b"):
        return ".jsonl.gz"
    if head.startswith(b"PAR1"):
        return ".parquet"
    if start.startswith((b"<!doctype html", b"<html")):
        return ".html"
    if head.startswith(b"<"):
        return ".xml"
    if head.startswith((b"---", b"+++")):
        return ".md"
    first_line, _, remainder = head.partition(b"\n")
    if head.startswith((b"[", b"{")):
        return (
            ".jsonl" if head.startswith(b"{") and first_line.rstrip().endswith(b"}") and remainder.strip() else ".json"
        )
    if any(mark in first_line for mark in (b",", b"\t", b";")) and any(
        name in first_line for name in (b"id", b"title", b"url")
    ):
        return ".csv"
    return ".jsonl"


def conversion_notes(counts: Counter[str]) -> list[str]:
    """Return a clause for each way to convert files that cannot be read, given their number by ending."""
    notes = []
    for advice, endings in _CONVERSIONS.items():
        if present := [f"{counts[ending]:,} {ending}" for ending in endings if counts[ending]]:
            notes.append(f"{', '.join(present)}, which cannot be read. {advice}")
    return notes
