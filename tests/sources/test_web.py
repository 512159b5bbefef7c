"""Web sources, read from a real server on this machine."""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recommender.sources import Source, web
from recommender.sources.entry import MAX_ARTICLE_BYTES

TEXT = (
    "<p>The ferry sailed at dawn with forty people on board, and half of the town stood on the pier to see it.</p>" * 2
)
RSS = "<rss version='2.0'><channel><item><title>A</title><link>/a</link><guid>g</guid></item></channel></rss>"


class Site:
    """Pages by path, each with status, content type and content, and the recorded requests."""

    def __init__(self):
        self.pages, self.requests, self.sent = {}, [], []

    def page(self, path, content, kind="text/html; charset=utf-8", status=200, **headers):
        self.pages[path] = (status, kind, content.encode() if isinstance(content, str) else content, headers)


@contextmanager
def serving(site):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.requests.append((self.path, dict(self.headers)))
            answers = site.pages.get(self.path, (404, "text/plain", b"", {}))
            status, kind, content, headers = answers.pop(0) if isinstance(answers, list) else answers
            if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
                status, content = 304, b""
            site.sent.append((self.path, status))
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    web_site = Site()
    with serving(web_site) as url:
        web_site.url = url
        yield web_site


def page(title):
    return f"<html lang='en'><head><title>{title}</title></head><body><h1>{title}</h1>{TEXT}</body></html>"


def sitemap(*urls, kind="url"):
    locations = "".join(f"<{kind}><loc>{url}</loc></{kind}>" for url in urls)
    outer = {"url": "urlset", "sitemap": "sitemapindex"}[kind]
    return f"<?xml version='1.0'?><{outer} xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{locations}</{outer}>"


def test_a_page(site):
    site.page("/a", page("Ferry"))
    (entry,) = Source(f"{site.url}/a")
    assert (entry.article.title, entry.article.url) == ("Ferry", f"{site.url}/a")
    assert [path for path, _ in site.requests] == ["/robots.txt", "/a"]
    assert all("recommender/" in headers["User-Agent"] for _, headers in site.requests)


def test_a_feed(site):
    site.page("/feed", RSS, "application/rss+xml")
    (entry,) = Source(f"{site.url}/feed")
    assert (entry.article.id, entry.article.url) == ("g", f"{site.url}/a")


def test_a_sitemap_and_its_nested_sitemaps_are_read(site):
    u = site.url
    site.page("/sitemap.xml", sitemap(f"{u}/1.xml", f"{u}/2.xml.gz", kind="sitemap"), "application/xml")
    site.page("/1.xml", sitemap(f"{u}/a", f"{u}/gone", "http://other.invalid/x"), "application/xml")
    site.page("/2.xml.gz", gzip.compress(sitemap(f"{u}/b").encode()), "application/gzip")
    for name in "ab":
        site.page(f"/{name}", page(name.upper()))
    entries = list(Source(f"{u}/sitemap.xml"))
    assert [entry.article.id for entry in entries if entry.article] == [f"{u}/a", f"{u}/b"]
    missing, other = (entry for entry in entries if not entry.article)
    assert "404" in missing.problems[0]
    assert missing.unknown
    assert "own host" in other.problems[0]


def damaged(problem, *urls):
    """Return a sitemap of these URLs with damage in the middle or at the end."""
    whole = sitemap(*urls)
    middle = whole.index("</url>") + len("</url>")
    return {
        "cut in a tag": whole[: whole.rindex("</loc>") + 3],
        "cut in a URL": whole[: whole.rindex("</loc>") - 2],
        "bare ampersand": whole.replace("</loc>", "?x=1&y=2</loc>"),
        "message": f"{whole[:middle]}<b>Warning</b>: x <br> in /var/www on line 3{whole[middle:]}",
        "gzip": gzip.compress(whole.encode() * 50)[:-20],
    }[problem]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("problem", "pages"),
    [("cut in a tag", "ab"), ("cut in a URL", "ab"), ("bare ampersand", "abc"), ("message", "abc"), ("gzip", "")],
)
def test_a_damaged_sitemap_is_reported_and_may_lack_pages(site, problem, pages, nested):
    u = site.url
    for name in "abc":
        site.page(f"/{name}", page(name.upper()))
        site.page(f"/{name}?x=1&y=2", page(name.upper()))
    urls = [f"{u}/a", f"{u}/b", f"{u}/c"]
    site.page("/s.xml", damaged(problem, *urls), "application/xml")
    site.page("/index.xml", sitemap(f"{u}/s.xml", kind="sitemap"), "application/xml")
    entries = list(Source(f"{u}/{'index' if nested else 's'}.xml"))
    assert [entry.article.title for entry in entries if entry.article] == [name.upper() for name in pages]
    (report,) = (entry for entry in entries if not entry.article)
    assert report.unknown
    assert report.failed == (problem != "bare ampersand" and not (nested and problem == "gzip"))
    assert "/s.xml" in report.where
    expected = {(f"/{name}?x=1&y=2" if problem == "bare ampersand" else f"/{name}") for name in pages}
    assert {path for path, _ in site.requests if ".xml" not in path and path != "/robots.txt"} == expected


@pytest.mark.parametrize("content", ["", "<!doctype html><title>Just a moment</title><p>x", "<rss><channel/></rss>"])
def test_a_nested_sitemap_that_is_no_sitemap_is_reported(site, content):
    site.page("/s.xml", content, "application/xml")
    site.page("/index.xml", sitemap(f"{site.url}/s.xml", kind="sitemap"), "application/xml")
    (report,) = Source(f"{site.url}/index.xml")
    assert report.failed
    assert "not a sitemap" in report.problems[0]


@pytest.mark.parametrize("before", ["\n\n", "\ufeff\n", "<br />\n<b>Deprecated</b>: x in /var/www/a.php<br />\n"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_sitemap_may_begin_after_blank_lines_or_messages(site, before, nested):
    u = site.url
    site.page("/a", page("A"))
    site.page("/s.xml", before + sitemap("/a"), "text/html")
    site.page("/index.xml", sitemap(f"{u}/s.xml", kind="sitemap"), "application/xml")
    (entry,) = Source(f"{u}/{'index' if nested else 's'}.xml")
    assert entry.article.url == f"{u}/a"


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_sitemap_may_be_a_text_of_urls(site, tmp_path, end):
    for name in "ab":
        site.page(f"/{name}", page(name.upper()))
    text = f"{site.url}/a\r\n{site.url}/b{end}"
    site.page("/sitemap.txt", text, "text/plain")
    (tmp_path / "urls.txt").write_text(text)
    for source in (f"{site.url}/sitemap.txt", tmp_path / "urls.txt"):
        assert [entry.article.title for entry in Source(source)] == ["A", "B"]


@pytest.mark.parametrize("is_missing", [False, True])
def test_all_pages_of_an_answer_of_wordpress_are_read(site, is_missing):
    def posts(*numbers):
        titles = [{"id": n, "title": {"rendered": f"T{n}"}, "content": {"rendered": "<p>Text.</p>"}} for n in numbers]
        return json.dumps(titles)

    def link(number):
        return f'<{site.url}/posts>; rel="prev", <{site.url}/posts?page={number}>; rel="next"'

    site.page("/posts", posts(1, 2), "application/json", Link=link(2))
    site.page("/posts?page=2", posts(3), "application/json", Link=link(3))
    if not is_missing:
        site.page("/posts?page=3", posts(4), "application/json", Link=link(2))  # a loop ends
    *entries, last = Source(f"{site.url}/posts")
    assert [entry.article.title for entry in entries] == ["T1", "T2", "T3"]
    assert last.failed == last.unknown == is_missing
    assert is_missing or last.article.title == "T4"


def test_an_invalid_url_in_a_sitemap_costs_only_itself(site):
    site.page("/a", page("A"))
    site.page("/s.xml", sitemap("http://[x/", f"{site.url}/a"), "application/xml")
    entries = list(Source(f"{site.url}/s.xml"))
    assert [bool(entry.article) for entry in entries] == [False, True]


def test_robots_txt_is_obeyed(site):
    site.page("/robots.txt", "User-agent: *\nDisallow: /private\n", "text/plain")
    for path in ("/a", "/private/b"):
        site.page(path, page(path))
    assert [bool(entry.article) for path in ("/a", "/private/b") for entry in Source(site.url + path)] == [True, False]
    assert "/private/b" not in [path for path, _ in site.requests]


@pytest.mark.parametrize(
    ("agent", "is_ours"),
    [
        ("recommender", True), ("Recommender", True), ("recommender/1.0", True), ("recommender # us", True),
        ("*", True), ("*  # all", True), ("related", False), ("index", False), ("robots", False), ("obeys", False),
        ("r", False),
        ("recommend", False), ("recommender-x", False), ("recommenderbot", False), ("mender", False), ("0.1", False),
        ("Mozilla/5.0 (recommender)", False), ("", False),
    ],
)  # fmt: skip
def test_a_group_of_robots_txt_is_for_the_product_that_it_names(site, agent, is_ours):
    site.page("/robots.txt", f"User-agent: {agent}\nDisallow: /a\n", "text/plain")
    site.page("/a", page("A"))
    (entry,) = Source(f"{site.url}/a")
    assert (entry.article is None) == is_ours


def test_groups_for_one_product_are_one_and_stand_before_the_one_for_all(site):
    site.page(
        "/robots.txt",
        "\ufeffUser-agent: recommender\nUser-agent: other\nDisallow: /a\n\nUser-agent: *\nDisallow: /\n\n"
        "user-agent: RECOMMENDER\nDisallow: /c\n",
        "text/plain",
    )
    for path in ("/a", "/b", "/c"):
        site.page(path, page(path))
    assert [bool(entry.article) for path in ("/a", "/b", "/c") for entry in Source(site.url + path)] == [
        False,
        True,
        False,
    ]


def test_unchanged_pages_are_not_sent_again(site):
    site.page("/a", page("Old"), ETag='"1"')
    for _ in range(2):
        (entry,) = Source(f"{site.url}/a")
        assert entry.article.title == "Old"
    assert [status for path, status in site.sent if path == "/a"] == [200, 304]
    site.page("/a", page("New"), ETag='"2"')
    (entry,) = Source(f"{site.url}/a")
    assert entry.article.title == "New"


def test_pages_without_validators_are_fetched_each_time(site):
    for title in ("Old", "New"):
        site.page("/a", page(title))
        (entry,) = Source(f"{site.url}/a")
        assert entry.article.title == title


def test_temporary_failures_are_retried(site):
    good = (200, "text/html", page("Ferry").encode(), {})
    site.pages["/a"] = [(503, "text/plain", b"", {"Retry_After": "0"}), good, good]
    (entry,) = Source(f"{site.url}/a")
    assert entry.article.title == "Ferry"


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"x" * (MAX_ARTICLE_BYTES + 1), "text/html", "longer than"),
        (gzip.compress(b"\0" * (MAX_ARTICLE_BYTES * 2)), "application/gzip", "unpacks to more"),
    ],
)
def test_pages_that_are_too_long_are_not_read(site, content, kind, words):
    site.page("/a", content, kind)
    (entry,) = Source(f"{site.url}/a")
    assert words in entry.problems[0]
    assert entry.failed


def test_an_unreachable_server_is_reported_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path))
    monkeypatch.setattr(web, "_MAX_RETRIES", 0)
    (entry,) = Source("http://jo:hush@127.0.0.1:9/a")
    assert "cannot be fetched" in entry.problems[0]
    assert "hush" not in str(entry)


def test_user_and_password_reach_the_server_and_nothing_else(site):
    site.page("/a", page("Ferry"))
    (entry,) = Source(site.url.replace("//", "//jo:hush@") + "/a")
    assert entry.article.url == f"{site.url}/a"
    assert "hush" not in str(entry)
    assert all(headers["Authorization"].startswith("Basic ") for _, headers in site.requests)
