"""Reader for URLs: a page, a feed, or a sitemap and the pages that it lists.

The reader obeys robots.txt (RFC 9309), revalidates cached pages (ETag, Last-Modified), retries temporary failures after
the delay that the server requests (Retry-After), and limits sizes and delays.
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

from recommender.errors import SourceError
from recommender.sources.entry import MAX_ARTICLE_BYTES, ONE_PAGE, Entry, File
from recommender.sources.sitemap import is_sitemap, sitemap_urls
from recommender.system.files import cache_folder

if TYPE_CHECKING:
    import requests

PRODUCT = "recommender"  # our product token in robots.txt
AGENT = f"{PRODUCT}/{version('recommender')} (+related-article index; obeys robots.txt)"
# A product token ends before a version (RFC 9309, 2.2.1).
_AGENT_LINE = re.compile(r"^\s*user[- ]?agent\s*[:\s]\s*(\*(?![^\s#])|[a-z_-]*).*", re.I)
_TIMEOUTS = (10, 30)  # seconds to connect, and between two chunks of a response
_MAX_RETRIES = 3
_MAX_DELAY_SECONDS = 60.0  # between two requests, whatever robots.txt or Retry-After request
_MAX_SITEMAP_DEPTH = 3  # levels of sitemaps within sitemaps
_ENDING_BY_MEDIA_TYPE = {  # keys: ends of media types
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
class _FetchedPage:
    """A fetched page.

    Attributes:
        path: the file with its content.
        url: the URL after redirects.
        next_url: the URL of the next page of an API's answer, by the Link header (RFC 8288); empty without one.
    """

    path: Path
    url: str
    next_url: str = ""


def read(url: str, fields: Mapping[str, str], read_file: Callable[[File], Iterator[Entry]]) -> Iterator[Entry]:
    """Read the page, feed or sitemap at a URL.

    Args:
        url: an http or https URL, which may contain a user and a password.
        fields: see `record.record_entry`.
        read_file: reads a file by the ending of its name.
    """
    with TemporaryDirectory(prefix="recommender-") as folder:
        parts = urlsplit(url)
        fetcher = _Fetcher(Path(folder), (unquote(parts.username or ""), unquote(parts.password or "")))
        url = without_password(url)
        try:
            page = fetcher.fetch(url)
        except _NotFetchedError as error:
            yield Entry(url, problems=(str(error),), unknown=True, failed=True)
            return
        if is_sitemap(page.path):
            yield from _pages(fetcher, page.path, page.url, fields, read_file, _MAX_SITEMAP_DEPTH)
        else:
            yield from _answers(fetcher, page, url, fields, read_file)


def _answers(
    fetcher: "_Fetcher",
    page: _FetchedPage,
    url: str,
    fields: Mapping[str, str],
    read_file: Callable[[File], Iterator[Entry]],
) -> Iterator[Entry]:
    """Read a page; of an answer of an API in JSON, such as WordPress's, also the pages that follow it."""
    read_urls = set[str]()
    while True:
        yield from read_file(_file(page, url, fields))
        page.path.unlink(missing_ok=True)
        read_urls.add(url)
        origin, url = url, page.next_url
        if page.path.suffix != ".json" or not url or url in read_urls:
            return
        if not _is_on_host_of(origin, url):
            yield Entry(origin, problems=(ONE_PAGE,), unknown=True)
            return
        try:
            page = fetcher.fetch(url)
        except _NotFetchedError as error:
            yield Entry(url, problems=(str(error),), unknown=True, failed=True)
            return


def without_password(url: str) -> str:
    """Return a URL without its user and password."""
    return re.sub(r"//[^/@]*@", "//", url, count=1)


def read_sitemap(file: File, read_file: Callable[[File], Iterator[Entry]]) -> Iterator[Entry]:
    """Read the pages that a sitemap file lists.

    Args:
        file: the sitemap.
        read_file: reads a file by the ending of its name.
    """
    with TemporaryDirectory(prefix="recommender-") as folder:
        yield from _pages(_Fetcher(Path(folder)), file.path, None, file.fields, read_file, _MAX_SITEMAP_DEPTH)


def _pages(
    fetcher: "_Fetcher",
    sitemap: Path,
    origin: str | None,
    fields: Mapping[str, str],
    read_file: Callable[[File], Iterator[Entry]],
    remaining_depth: int,
) -> Iterator[Entry]:
    """Read the pages of a sitemap and of the sitemaps that it lists, `remaining_depth` levels deep."""
    name = origin or str(sitemap)
    urls, problem, is_whole = sitemap_urls(sitemap)
    for kind, link in urls:
        url = _joined(origin, link)
        if origin and not _is_on_host_of(origin, url):
            reason = f"{name} lists it, but a sitemap may list pages of its own host only"
            yield Entry(url, problems=(reason,))
            continue
        if kind == "sitemap" and not remaining_depth:
            reason = f"the sitemap is more than {_MAX_SITEMAP_DEPTH} levels deep within other sitemaps"
            yield Entry(url, problems=(reason,), unknown=True)
            continue
        try:
            page = fetcher.fetch(url)
        except _NotFetchedError as error:
            yield Entry(url, id=url if kind == "url" else "", problems=(str(error),), unknown=True)
            continue
        if kind == "sitemap":
            yield from _pages(fetcher, page.path, page.url, fields, read_file, remaining_depth - 1)
        else:
            yield from read_file(_file(page, url, fields))
        page.path.unlink(missing_ok=True)
    if problem:
        yield Entry(name, problems=(problem,), unknown=True, failed=not is_whole)


def _joined(origin: str | None, link: str) -> str:
    """Return a link of a sitemap as an absolute URL."""
    try:
        return urljoin(origin, link) if origin else link
    except ValueError:
        return link


def _is_on_host_of(origin: str, url: str) -> bool:
    """Return whether two URLs have the same host."""
    try:
        return urlsplit(url).netloc.lower() == urlsplit(origin).netloc.lower()
    except ValueError:
        return False


def _file(page: _FetchedPage, url: str, fields: Mapping[str, str]) -> File:
    return File(page.path, url, page.path.parent, page.path.name, fields, url=page.url)


class _Fetcher:
    """Fetches pages into files, by the rules of robots.txt.

    Args:
        folder: the folder for the files.
        login: user and password for HTTP basic authentication; empty for none.

    Raises:
        SourceError: the extra `web` is not installed.
    """

    def __init__(self, folder: Path, login: tuple[str, str] = ("", "")) -> None:
        try:
            from requests.adapters import HTTPAdapter  # noqa: PLC0415 - an extra
            from requests_cache import CachedSession  # noqa: PLC0415
            from urllib3 import Retry  # noqa: PLC0415
        except ImportError as error:
            raise SourceError("To read from the web, install its libraries: pip install 'recommender[web]'") from error

        class LengthLimitedAdapter(HTTPAdapter):
            """Limits the length of a response to MAX_ARTICLE_BYTES."""

            def send(self, *args: Any, **options: Any) -> "requests.Response":
                response = super().send(*args, **options | {"stream": True})
                content = bytearray()
                for part in response.iter_content(2**16):
                    content += part
                    if len(content) > MAX_ARTICLE_BYTES:
                        response.close()
                        raise _NotFetchedError(f"it is longer than {MAX_ARTICLE_BYTES // 2**20} MB, the limit")
                response._content = bytes(content)
                return response

        self._folder, self._count = folder, 0
        self._rules: dict[str, Any] = {}
        self._last: dict[str, float] = {}
        cache = cache_folder() / "web.sqlite"
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._session = CachedSession(
            str(cache),
            serializer="json",  # the default is pickle, which can execute code
            always_revalidate=True,
            allowable_codes=(200,),
            filter_fn=_can_be_revalidated,  # others would never be fetched again
        )
        self._session.headers["User-Agent"] = AGENT
        if any(login):
            self._session.auth = login
        retry = Retry(
            total=_MAX_RETRIES,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
            retry_after_max=int(_MAX_DELAY_SECONDS),
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, LengthLimitedAdapter(max_retries=retry))

    def fetch(self, url: str) -> _FetchedPage:
        """Fetch a page into a file whose ending follows from its media type.

        Raises:
            _NotFetchedError: robots.txt disallows the page, or the request failed.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise _NotFetchedError(f"it is not a valid URL ({error})") from error
        rules = self._rules_of(f"{parts.scheme}://{parts.netloc}")
        if rules is not None and not rules.can_fetch(url, PRODUCT):
            raise _NotFetchedError("the robots.txt of the site disallows fetching it")
        wait = min(float((rules.crawl_delay(PRODUCT) if rules else 0) or 0), _MAX_DELAY_SECONDS)
        if wait and (last := self._last.get(parts.netloc)):
            time.sleep(max(0.0, last + wait - time.monotonic()))
        response = self._get(url)
        self._last[parts.netloc] = time.monotonic()
        if not response.ok:
            raise _NotFetchedError(f"the server responded with {response.status_code} {response.reason}")
        content, ending = _decompress(response.content), self._ending(response)
        self._count += 1
        path = self._folder / f"{self._count}{ending}"
        path.write_bytes(content)
        next_url = response.links.get("next", {}).get("url", "")
        return _FetchedPage(path, response.url, _joined(response.url, next_url) if next_url else "")

    def _get(self, url: str) -> "requests.Response":
        import requests  # noqa: PLC0415 - an extra

        try:
            return self._session.get(url, timeout=_TIMEOUTS)
        except (requests.RequestException, ValueError) as error:
            raise _NotFetchedError(f"it cannot be fetched ({_root_cause(error)})") from error

    def _rules_of(self, site: str) -> Any:
        """Return the parsed robots.txt of a site; None without one: every page is allowed (RFC 9309, 2.3.1.3)."""
        from protego import Protego  # noqa: PLC0415 - an extra

        if site not in self._rules:
            response = self._get(urljoin(site, "/robots.txt"))
            if response.status_code >= 500:
                problem = f"the robots.txt of {site} cannot be fetched ({response.status_code}), so the page was not"
                raise _NotFetchedError(problem)
            # RFC 9309 requires UTF-8, whatever the header declares.
            text = response.content.decode("utf-8-sig", errors="replace")
            self._rules[site] = Protego.parse(_with_whole_tokens(text)) if response.ok else None
        return self._rules[site]

    @staticmethod
    def _ending(response: "requests.Response") -> str:
        """Return the file name ending for a response: by its media type, else by its URL, else .html."""
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        ending = next(
            (_ENDING_BY_MEDIA_TYPE[name] for name in _ENDING_BY_MEDIA_TYPE if kind.rpartition("/")[2].endswith(name)),
            None,
        )
        suffix = Path(urlsplit(response.url).path.lower().removesuffix(".gz")).suffix
        return ending or (suffix if suffix in _ENDING_BY_MEDIA_TYPE.values() else ".html")


def _with_whole_tokens(robots: str) -> str:
    """Return a robots.txt with other agents renamed to "other", since Protego also matches prefixes of a token."""

    def replace_agent(group: re.Match[str]) -> str:
        return f"User-agent: {group[1] if group[1].lower() in ('*', PRODUCT) else 'other'}"

    return "\n".join(_AGENT_LINE.sub(replace_agent, line) for line in robots.splitlines())


def _can_be_revalidated(response: Any) -> bool:
    """Return whether a response can be revalidated."""
    return "ETag" in response.headers or "Last-Modified" in response.headers


def _decompress(content: bytes) -> bytes:
    """Return gzipped content decompressed, other content unchanged.

    Raises:
        _NotFetchedError: the content is damaged, or longer than MAX_ARTICLE_BYTES decompressed.
    """
    decompressed = bytearray()
    while content.startswith(b"\x1f\x8b"):  # gzip data may have several members
        try:
            decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            decompressed += decompressor.decompress(content, MAX_ARTICLE_BYTES)
        except zlib.error as error:
            raise _NotFetchedError(f"its gzip data is damaged ({error})") from error
        if decompressor.unconsumed_tail or len(decompressed) > MAX_ARTICLE_BYTES:
            raise _NotFetchedError(f"it unpacks to more than {MAX_ARTICLE_BYTES // 2**20} MB, the limit")
        if not decompressor.eof:
            raise _NotFetchedError("its gzip data is cut short")
        content = decompressor.unused_data
        if not content.startswith(b"\x1f\x8b"):
            return bytes(decompressed)
    return content


def _root_cause(error: Exception) -> str:
    """Return the message of the root cause of an error, on one line."""
    cause: BaseException | None = error
    while cause is not None and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(cause or error).split())[:200] or type(error).__name__
