"""List pages, error pages, redirects and noindex pages of built sites and crawls are no articles."""

from pathlib import Path

import pytest

from recommender.sources import Source
from recommender.sources.entry import File
from recommender.sources.page import read

POSTS = {
    "kites": "Kites over the dunes",
    "mill": "The mill turns again",
    "bees": "Bees on the roof",
    "ice": "Ice on the canal",
}
SENTENCE = (
    "On Saturday the miller opened the gate, and the old stones ground the first rye since the flood of last year."
)
OWN = "".join(f"<p>{SENTENCE} {number} people came to see it, with carts and dogs.</p>" for number in range(4))


def page(body: str, *, title: str = "Dune notes", head: str = "", body_class: str = "") -> str:
    return (
        f"<!doctype html><html lang='en'><head><title>{title}</title>{head}</head><body class='{body_class}'>"
        f"<header><nav><a href='/'>Home</a> <a href='/posts/'>Posts</a></nav></header>"
        f"<main>{body}</main><footer>Dune notes, since 2011</footer></body></html>"
    )


def entries(names, *, text: str = f"<p>{SENTENCE}</p>") -> str:
    return "".join(f"<article><h2><a href='/posts/{name}/'>{POSTS[name]}</a></h2>{text}</article>" for name in names)


def links(names, *, date: str = "") -> str:
    return "<ul>" + "".join(f"<li>{date}<a href='/posts/{name}/'>{POSTS[name]}</a></li>" for name in names) + "</ul>"


def write(root: Path, name: str, html: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html)


def read_page(tmp_path, name, html, url=None):
    write(tmp_path, name, html)
    (entry,) = read(File(tmp_path / name, name, tmp_path, name, url=url))
    return entry


def excluded(tmp_path, name, html, url=None):
    return read_page(tmp_path, name, html, url).excluded


LIST_PAGES = {
    "index.html": page(entries(POSTS)),
    "page/2/index.html": page(entries(["bees"])),
    "posts/index.html": page(f"<h1>Posts</h1>{entries(POSTS)}", title="Posts | Dune notes"),
    "archives/index.html": page(f"<h1>Archive</h1>{links(POSTS, date='<time>3 May</time> ')}", title="Archive"),
    "archives/2024/05/index.html": page(links(POSTS), title="May 2024"),
    "2024/05/index.html": page(links(["bees", "ice"]), title="May 2024"),
    "tags/index.html": page("<h1>Tags</h1><a href='/tags/sea/'>sea</a> (4)", title="Tags"),
    "tags/sea/index.html": page(f"<h1>sea</h1>{entries(['kites', 'ice'])}", title="sea"),
    "tag/once/index.html": page(f"<h1>once</h1>{entries(['kites'])}", title="once"),
    "tag/long/index.html": page(f"<h2>Articles tagged with long</h2>{entries(['kites'], text=OWN)}", title="long"),
    "kategorie/wind.html": page(f"<h1>Wind</h1>{entries(['mill', 'ice'])}", title="Wind"),
    "author/jo/index.html": page(f"<h1>Jo</h1><p>Jo writes.</p>{entries(POSTS)}", title="Jo"),
    "search/index.html": page("<h1>Search</h1><form><input></form>", title="Search"),
    "genindex.html": page(f"<h1>Index</h1>{OWN}{OWN}", title="Index"),
    "categories/index.html": page("<h1>Categories</h1>", title="Categories"),
    "guide/index.html": page(f"<h1>Guide</h1><p>All parts.</p>{links(POSTS)}", title="Guide"),
    # Without an address that tells: declared by the theme or by structured data.
    "wind/index.html": page(entries(["mill", "ice"]), body_class="archive category category-wind"),
    "sand/index.html": page(
        f"<p>{SENTENCE}</p>" + links(["mill"]),
        head='<script type="application/ld+json">{"@graph": [{"@type": "CollectionPage"}]}</script>',
    ),
    # The whole posts, as some themes repeat them.
    "news/index.html": page(entries(POSTS, text=OWN), title="News"),
    # No main element, entries as siblings of each other.
    "flat/index.html": "<html><body><h1>All</h1>"
    + "".join(f"<h3><a href='../posts/{name}/'>{title}</a></h3><p>{SENTENCE}</p>" for name, title in POSTS.items())
    + "</body></html>",
}


@pytest.mark.parametrize("name", LIST_PAGES)
def test_a_list_page_is_excluded(tmp_path, name):
    entry = read_page(tmp_path, name, LIST_PAGES[name])
    assert (entry.article, entry.excluded) == (None, "list page")
    assert entry.problems[0].startswith("it is a list page: ")


RELATED = f"<section><h2>You may like</h2>{entries(['mill', 'ice'], text='')}</section>"
PUBLISHED = "<meta property='article:published_time' content='2024-05-03'><meta property='og:type' content='article'>"
ARTICLES = {
    "posts/kites/index.html": page(f"<article><h1>Kites</h1>{OWN}</article>"),
    "posts/short/index.html": page("<article><h1>The mill turns</h1><p>The mill turns again.</p></article>"),
    "posts/related/index.html": page(f"<h1>Kites</h1>{OWN}{RELATED}"),
    "posts/short-related/index.html": page(f"<h1>Kites</h1><p>{SENTENCE}</p>{RELATED}", head=PUBLISHED),
    "posts/roundup/index.html": page(f"<h1>The best of May</h1>{entries(POSTS)}{OWN}", head=PUBLISHED),
    "posts/links/index.html": page(
        "<h1>Links of the week</h1><ul>"
        + "".join(f"<li><a href='https://other{n}.example/'>A long name of another site {n}</a></li>" for n in range(9))
        + "</ul>"
    ),
    "guide/tags/index.html": page(f"<h1>Tags of a page</h1>{OWN}", title="Tags"),
    "2024/05/03/kites/index.html": page(f"<h1>Kites</h1>{OWN}"),
    "archives/123/index.html": page(f"<h1>Kites</h1><p>{SENTENCE}</p>", body_class="single single-post postid-123"),
    "posts/linked-title/index.html": page(
        f"<h1><a href='/posts/linked-title/'>Kites</a></h1>{OWN}<h2><a href='/posts/mill/'>The mill</a></h2>"
    ),
    "reference/settings.html": page(
        "<h1>Settings</h1>"
        + "".join(f"<h3><a href='all.html#{n}'>Setting {n}</a></h3><p>{SENTENCE}</p>" for n in "abcd")
    ),
    "news/error.html": page(f"<h1>The error of the miller</h1>{OWN}"),
    "news/bus.html": page("<h1>Bus 404 is late</h1><p>404 people wait for it.</p>", title="Bus 404 is late"),
    "zh/index/a.html": page(f"<h1>風箏</h1><p>{'星期六磨坊主人打開了大門，' * 8}</p>"),
    # A single page, saved or handed over alone.
    "index.html": page(f"<article><h1>Kites over the dunes</h1>{OWN}</article>", title="Kites over the dunes"),
}


@pytest.mark.parametrize("name", ARTICLES)
def test_an_article_is_not_taken_for_a_list_page(tmp_path, name):
    entry = read_page(tmp_path, name, ARTICLES[name])
    assert entry.article, entry


def test_pages_that_a_site_keeps_from_readers_are_excluded(tmp_path):
    article = f"<h1>Kites</h1>{OWN}"
    missing = page("<h1>Page not found</h1><p>Sorry, it has been moved.</p>", title="404 | Dune notes")
    redirect = '<html><head><meta http-equiv="Refresh" content="0; URL=/posts/kites/"></head><body>Moved.</body></html>'
    assert excluded(tmp_path, "404.html", missing) == "error page"
    assert excluded(tmp_path, "oops/index.html", missing) == "error page"
    assert excluded(tmp_path, "old.html", redirect) == "redirect"
    noindex = page(article, head="<meta name='Robots' content='NOINDEX, follow'>")
    assert excluded(tmp_path, "thanks.html", noindex) == "noindex"
    assert excluded(tmp_path, "a.html", page(article, head="<meta name='robots' content='noimageindex'>")) == ""
    assert excluded(tmp_path, "b.html", page(article, head="<meta http-equiv='refresh' content='300'>")) == ""


def test_a_fetched_page_is_judged_by_its_url(tmp_path):
    html = page(entries(["bees", "ice"]), title="Bees")
    assert excluded(tmp_path, "1.html", html, url="https://dunes.example/tag/bees/") == "list page"
    assert excluded(tmp_path, "1.html", page(entries(["ice"])), url="https://dunes.example/blog?page=3") == "list page"
    assert excluded(tmp_path, "1.html", page(f"<h1>Kites</h1>{OWN}"), url="https://dunes.example/?p=17") == ""


def test_an_excluded_page_does_not_exclude_the_article_that_it_names_as_canonical(tmp_path):
    canonical = "<link rel='canonical' href='https://dunes.example/posts/kites/'>"
    write(tmp_path, "posts/kites/index.html", page(f"<h1>Kites</h1>{OWN}", head=canonical))
    write(tmp_path, "print/kites.html", page(OWN, head=canonical + "<meta name='robots' content='noindex'>"))
    write(
        tmp_path, "old/kites.html", f"<head>{canonical}<meta http-equiv='refresh' content='0;url=/posts/kites/'></head>"
    )
    ids = {entry.article.id if entry.article else entry.id: entry.excluded for entry in Source(tmp_path)}
    assert ids == {
        "https://dunes.example/posts/kites/": "",
        "print/kites.html": "noindex",
        "old/kites.html": "redirect",
    }


def test_a_page_about_error_pages_is_an_article(tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    for path in (tmp_path / "404.md", folder / "404.md"):
        path.write_text("---\ntitle: Error pages\n---\nWrite a template for pages that do not exist.\n")
    entries = {entry.where: entry for entry in Source(tmp_path)}
    assert entries[str(tmp_path / "404.md")].excluded == "error page"
    assert entries[str(folder / "404.md")].article.title == "Error pages"


def test_absolute_links_of_a_site_without_canonical_urls_are_links_to_its_pages(tmp_path):
    posts = entries(POSTS).replace("href='/", "href='https://dunes.example/blog/")
    roundup = "".join(f"<h3><a href='https://other{n}.example/a'>Site {n}</a></h3><p>{SENTENCE}</p>" for n in range(5))
    for name, title in POSTS.items():
        write(tmp_path, f"posts/{name}/index.html", page(f"<h1>{title}</h1>{OWN}"))
    write(tmp_path, "wind/index.html", page(posts))
    write(tmp_path, "roundup/index.html", page(f"<h1>Sites</h1>{roundup}"))
    excluded_pages = [entry.where for entry in Source(tmp_path) if entry.excluded]
    assert [Path(name).parent.name for name in excluded_pages] == ["wind"]


def test_numbered_pages_in_a_folder_are_list_pages(tmp_path):
    assert excluded(tmp_path, "index3.html", page(entries(["bees"]))) == "list page"
    assert excluded(tmp_path, "tag/sea2.html", page(entries(["bees", "ice"]))) == "list page"
    assert excluded(tmp_path, "blog/archive/2019/index.html", page(f"<h1>2019</h1>{entries(['bees'])}")) == "list page"


def test_the_home_page_of_a_site_with_a_base_path_is_a_list_page(tmp_path):
    canonical = "<link rel='canonical' href='https://dunes.example/blog/'>"
    assert excluded(tmp_path, "index.html", page("<h1>Dunes</h1><p>A blog.</p>", head=canonical)) == "list page"


def test_blocks_that_this_package_wrote_are_no_entries(tmp_path):
    block = f"<nav data-recommender>{links(POSTS)}</nav><div data-recommender>{entries(POSTS, text='')}</div>"
    assert read_page(tmp_path, "posts/a/index.html", page(f"<h1>A</h1><p>{SENTENCE}</p>{block}")).article


@pytest.mark.parametrize(
    "text",
    [
        '{% extends "base.html" %}{% block content %}<p>Buy planks now.</p>{% endblock %}',
        '<!-- Copyright of a theme -->\n{{ define "main" }}<p>Buy planks now.</p>{{ end }}',
        "{# A comment #}\n<p>Buy planks now.</p>",
    ],
)
def test_a_template_is_no_article(tmp_path, text):
    (tmp_path / "main.html").write_text(text)
    (entry,) = Source(tmp_path)
    assert (entry.article, entry.excluded) == (None, "template")
