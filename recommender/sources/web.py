"""Articles from the web: a page, a feed, or a sitemap and the pages that it names.

Politely: robots.txt is obeyed, a page that has not changed is not sent again (ETag, Last-Modified), what fails for a
moment is tried again later, as the server asks; sizes and times are bounded.
"""

import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from lxml import etree

from recommender.errors import SourceError
from recommender.sources.entry import MAX_ARTICLE_BYTES, Entry, File
from recommender.system.files import cache_folder

if TYPE_CHECKING:
    import requests

PRODUCT = "recommender"  # the token that a group of robots.txt names us by
AGENT = f"{PRODUCT}/{version('recommender')} (+related-article index; obeys robots.txt)"
# A product token ends before a version (RFC 9309, 2.2.1).
_GROUP = re.compile(r"^\s*user[- ]?agent\s*[:\s]\s*(\*(?![^\s#])|[a-z_-]*).*", re.I)
_TIMES = (10, 30)  # seconds to connect, and between two parts of an answer
_TRIES = 3
_SLOWEST = 60.0  # seconds between two requests that robots.txt can ask for
_DEEPEST = 3  # sitemaps that name sitemaps
_SITEMAPS = ("urlset", "sitemapindex")
_BY_TYPE = {  # what an answer is read as
    "html": ".html",
    "xml": ".xml",
    "json": ".json",
    "ndjson": ".jsonl",
    "jsonl": ".jsonl",
    "csv": ".csv",
    "tab-separated-values": ".tsv",
    "markdown": ".md",
}


class _NotFetchedError(Exception):
    """A page was not fetched; the message contains the reason."""


@dataclass(frozen=True, slots=True)
class _Answer:
    path: Path  # of a file with the content
    url: str  # that it came from in the end


def read(url: str, fields: Mapping[str, str], read_file: Callable[[File], Iterator[Entry]]) -> Iterator[Entry]:
    """Read what stands at a URL.

    Args:
        url: of http or https.
        fields: see `record.entry`.
        read_file: reads a file; the ending of its name decides its kind.
    """
    with TemporaryDirectory(prefix="recommender-") as folder:
        parts = urlsplit(url)
        visitor = _Visitor(Path(folder), (unquote(parts.username or ""), unquote(parts.password or "")))
        url = without_password(url)
        try:
            answer = visitor.fetch(url)
        except _NotFetchedError as error:
            yield Entry(url, problems=(str(error),), unknown=True, failed=True)
            return
        if is_sitemap(answer.path):
            yield from _pages(visitor, answer.path, answer.url, fields, read_file, _DEEPEST)
        else:
            yield from read_file(_file(answer, url, fields))


def without_password(url: str) -> str:
    """Return a URL without the user and the password in it."""
    return re.sub(r"//[^/@]*@", "//", url, count=1)


def read_sitemap(file: File, read_file: Callable[[File], Iterator[Entry]]) -> Iterator[Entry]:
    """Read the pages that a sitemap on disk names."""
    with TemporaryDirectory(prefix="recommender-") as folder:
        yield from _pages(_Visitor(Path(folder)), file.path, None, file.fields, read_file, _DEEPEST)


def is_sitemap(path: Path) -> bool:
    """Return whether a file is a sitemap (sitemaps.org), or a list of them."""
    return path.suffix == ".xml" and root_name(path) in _SITEMAPS


def root_name(path: Path) -> str:
    """Return the name of the outermost element of an XML file, without its namespace; "" if it is none."""
    try:
        with path.open("rb") as file:
            for _, element in etree.iterparse(file, events=("start",), resolve_entities=False, no_network=True):
                return str(element.tag).rpartition("}")[2].lower()
    except (etree.XMLSyntaxError, OSError):
        pass
    return ""


def _pages(
    visitor: "_Visitor",
    sitemap: Path,
    origin: str | None,
    fields: Mapping[str, str],
    read_file: Callable[[File], Iterator[Entry]],
    deepest: int,
) -> Iterator[Entry]:
    name = origin or str(sitemap)
    for kind, url in list(_sitemap_urls(sitemap)):
        if origin and urlsplit(url).netloc.lower() != urlsplit(origin).netloc.lower():
            problem = f"{name} names it, which speaks for its own host only"
            yield Entry(url, problems=(problem,))
            continue
        if kind == "sitemap" and not deepest:
            yield Entry(url, problems=("it lies too deep within other sitemaps",), unknown=True)
            continue
        try:
            answer = visitor.fetch(url)
        except _NotFetchedError as error:
            yield Entry(url, id=url if kind == "url" else "", problems=(str(error),), unknown=True)
            continue
        if kind == "sitemap":
            yield from _pages(visitor, answer.path, answer.url, fields, read_file, deepest - 1)
        else:
            yield from read_file(_file(answer, url, fields))
        answer.path.unlink(missing_ok=True)


def _sitemap_urls(sitemap: Path) -> Iterator[tuple[str, str]]:
    """Yield the entries of a sitemap: "url" or "sitemap", and its address."""
    try:
        with sitemap.open("rb") as file:
            for _, element in etree.iterparse(
                file, tag=("{*}url", "{*}sitemap"), resolve_entities=False, no_network=True, load_dtd=False
            ):
                url = (element.findtext("{*}loc") or "").strip()
                if url:
                    yield str(element.tag).rpartition("}")[2], url
                element.clear()
    except etree.XMLSyntaxError:
        return


def _file(answer: _Answer, url: str, fields: Mapping[str, str]) -> File:
    return File(answer.path, url, answer.path.parent, answer.path.name, fields, url=answer.url)


class _Visitor:
    """Fetches pages for one run.

    Args:
        folder: where their contents are put.
        login: user and password, which the first site is given.
    """

    def __init__(self, folder: Path, login: tuple[str, str] = ("", "")) -> None:
        try:
            from requests.adapters import HTTPAdapter  # noqa: PLC0415 - an extra
            from requests_cache import CachedSession  # noqa: PLC0415
            from urllib3 import Retry  # noqa: PLC0415
        except ImportError as error:
            raise SourceError(
                "To read from the web, install what fetches pages: pip install 'recommender[web]'"
            ) from error

        class Bounded(HTTPAdapter):
            """Reads no more of an answer than a page can have."""

            def send(self, *args: Any, **options: Any) -> "requests.Response":
                answer = super().send(*args, **options | {"stream": True})
                content = bytearray()
                for part in answer.iter_content(2**16):
                    content += part
                    if len(content) > MAX_ARTICLE_BYTES:
                        answer.close()
                        raise _NotFetchedError(f"it is longer than {MAX_ARTICLE_BYTES // 2**20} MB, which is no page")
                answer._content = bytes(content)
                return answer

        self._folder, self._count = folder, 0
        self._rules: dict[str, Any] = {}
        self._last: dict[str, float] = {}
        cache = cache_folder() / "web.sqlite"
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._session = CachedSession(
            str(cache),
            serializer="json",  # the default would be pickles, which run what they hold
            always_revalidate=True,
            allowable_codes=(200,),
            filter_fn=_can_be_asked_again,  # any other would be taken from the cache for ever
        )
        self._session.headers["User-Agent"] = AGENT
        if any(login):
            self._session.auth = login
        retry = Retry(
            total=_TRIES,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
            retry_after_max=int(_SLOWEST),
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Bounded(max_retries=retry))

    def fetch(self, url: str) -> _Answer:
        """Fetch a page into a file whose ending names its kind."""
        parts = urlsplit(url)
        rules = self._rules_of(f"{parts.scheme}://{parts.netloc}")
        if rules is not None and not rules.can_fetch(url, PRODUCT):
            raise _NotFetchedError("the robots.txt of the site asks not to fetch it")
        wait = min(float((rules.crawl_delay(PRODUCT) if rules else 0) or 0), _SLOWEST)
        if wait and (last := self._last.get(parts.netloc)):
            time.sleep(max(0.0, last + wait - time.monotonic()))
        answer = self._get(url)
        self._last[parts.netloc] = time.monotonic()
        if not answer.ok:
            raise _NotFetchedError(f"the server answered {answer.status_code} {answer.reason}")
        content, ending = _unpacked(answer.content), self._ending(answer)
        self._count += 1
        path = self._folder / f"{self._count}{ending}"
        path.write_bytes(content)
        return _Answer(path, answer.url)

    def _get(self, url: str) -> "requests.Response":
        import requests  # noqa: PLC0415 - an extra

        try:
            return self._session.get(url, timeout=_TIMES)
        except (requests.RequestException, ValueError) as error:
            raise _NotFetchedError(f"it cannot be fetched ({_reason(error)})") from error

    def _rules_of(self, site: str) -> Any:
        """Return what the robots.txt of a site asks for; None if it has none, and all is allowed (RFC 9309)."""
        from protego import Protego  # noqa: PLC0415 - an extra

        if site not in self._rules:
            answer = self._get(urljoin(site, "/robots.txt"))
            if answer.status_code >= 500:
                raise _NotFetchedError(f"the robots.txt of {site} cannot be had ({answer.status_code}), so nothing was")
            text = answer.content.decode("utf-8-sig", errors="replace")  # whatever its header names
            self._rules[site] = Protego.parse(_with_whole_tokens(text)) if answer.ok else None
        return self._rules[site]

    @staticmethod
    def _ending(answer: "requests.Response") -> str:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        ending = next((_BY_TYPE[name] for name in _BY_TYPE if kind.rpartition("/")[2].endswith(name)), None)
        suffix = Path(urlsplit(answer.url).path.lower().removesuffix(".gz")).suffix
        return ending or (suffix if suffix in _BY_TYPE.values() else ".html")


def _with_whole_tokens(robots: str) -> str:
    """Return a robots.txt in which groups for others name "other": Protego matches the beginning of a token too."""

    def replace_agent(group: re.Match[str]) -> str:
        return f"User-agent: {group[1] if group[1].lower() in ('*', PRODUCT) else 'other'}"

    return "\n".join(_GROUP.sub(replace_agent, line) for line in robots.splitlines())


def _can_be_asked_again(answer: Any) -> bool:
    """Return whether a server can answer that a page has not changed."""
    return "ETag" in answer.headers or "Last-Modified" in answer.headers


def _unpacked(content: bytes) -> bytes:
    """Return the content of a gzipped sitemap, and any other as it is."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        unpacked = unpacker.decompress(content, MAX_ARTICLE_BYTES)
    except zlib.error as error:
        raise _NotFetchedError(f"it is gzipped, and damaged ({error})") from error
    if unpacker.unconsumed_tail:
        raise _NotFetchedError(f"it unpacks to more than {MAX_ARTICLE_BYTES // 2**20} MB, which is no page")
    return unpacked


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(cause or error).split())[:200] or type(error).__name__
