"""Addresses compared with those that the real generators published: see record.py."""

import json
from pathlib import Path

import pytest
import record

from recommender.errors import SourceError
from recommender.sources import Source
from recommender.sources.entry import UNPUBLISHED
from recommender.sources.generators import find_site
from recommender.sources.generators.base import ERROR_PAGE, LIST_PAGE, NO_PAGE

FUTURE_YEAR = 2090  # of articles that no block shows before, and no generator publishes
SITES = sorted(path.stem for path in record.FOLDER.glob("*.tsv"))


def read(site, folder, **options):
    """Return our address of each source file, and the reason for each file that is no article."""
    record.unpack(site, folder)
    entries = [
        entry
        for entry in Source(folder, **options)
        if not (entry.article and entry.article.published and entry.article.published.year == FUTURE_YEAR)
    ]
    ids = {entry.article.id: entry.article.url for entry in entries if entry.article}
    paths = {entry.article.id: Path(entry.where).relative_to(folder).as_posix() for entry in entries if entry.article}
    return (
        {paths[id]: url for id, url in ids.items()},
        {Path(entry.where).relative_to(folder).as_posix(): entry.excluded for entry in entries if entry.excluded},
    )


@pytest.mark.parametrize("site", SITES)
def test_every_address_is_published_and_every_published_article_is_read(site, tmp_path):
    addresses, excluded = read(site, tmp_path)
    published = record.recorded(site)
    dead = {path: url for path, url in addresses.items() if published.get(record.normal(url or "")) != path}
    assert not dead
    missing = {path for path in published.values() if path} - set(addresses)
    allowed = (LIST_PAGE, ERROR_PAGE, UNPUBLISHED)  # Pelican publishes drafts in a folder of their own
    assert not {path: excluded.get(path) for path in missing if excluded.get(path) not in allowed}


@pytest.mark.parametrize("site", SITES)
def test_the_generator_is_recognised(site, tmp_path):
    record.unpack(site, tmp_path)
    found = find_site(tmp_path)
    assert found.name == record.generator_of(site)
    for folder in found.content_folders():
        assert find_site(tmp_path / folder).name == found.name


@pytest.mark.parametrize(
    ("site", "folder", "url", "path"),
    [
        ("hugo", "content/posts", "/blog/posts/planks/", "2021-03-05-planks.md"),
        ("hugo", "content", "/blog/fr/posts/plain/", "posts/plain.fr.md"),
        ("jekyll", "_posts", "/blog/2021/03/05/planks.html", "2021-03-05-planks.md"),
        ("hexo", "source/_posts", "/blog/2021/03/05/planks/", "planks.md"),
        ("mkdocs", "docs/guide", "/base/guide/planks/", "planks.md"),
    ],
)
def test_a_source_may_be_a_folder_of_the_site_or_a_file(tmp_path, site, folder, url, path):
    record.unpack(site, tmp_path)
    articles = [entry.article for entry in Source(tmp_path / folder) if entry.article]
    assert {article.id: article.url for article in articles}[path] == url
    (entry,) = Source(tmp_path / folder / path)
    assert entry.article.url == url


def test_languages_are_those_of_the_site(tmp_path):
    record.unpack("hugo", tmp_path)
    languages = {
        Path(entry.where).relative_to(tmp_path).as_posix(): entry.article.language
        for entry in Source(tmp_path)
        if entry.article
    }
    assert languages["content/posts/plain.fr.md"] == "fr"
    assert languages["content/posts/plain.md"] == "en"
    assert languages["deutsch/posts/sturm.md"] == "de"
    keys = {
        Path(entry.where).stem: entry.article.metadata.get("translation_key")
        for entry in Source(tmp_path / "content" / "posts")
        if entry.article
    }
    assert keys["plain"] == keys["plain.fr"] == "posts/plain"
    assert keys["storm"] != keys["plain"]
    assert languages["content/posts/crates.io.md"] == languages["content/posts/nl.nl.md"] == "en"


PAGE = "---\ntitle: {}\n---\nPlanks and nails for the pier.\n"


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PAGE.format(name), encoding="utf-8")


def urls(folder, **options):
    return {entry.article.id: entry.article.url for entry in Source(folder, **options) if entry.article}


def test_hugo_content_without_a_configuration_is_recognised_by_its_translations(tmp_path):
    write(tmp_path, "content/a/index.en.md", "content/a/index.fr.md", "content/b.md", "content/b.fr.md")
    assert urls(tmp_path / "content") == {
        "a/index.en.md": "/a/",
        "a/index.fr.md": "/fr/a/",
        "b.md": "/b/",
        "b.fr.md": "/fr/b/",
    }


def test_an_option_names_the_generator_or_switches_it_off(tmp_path):
    write(tmp_path, "archive/2021-03-05-planks.md", "archive/Two Words.md")
    folder = tmp_path / "archive"
    assert urls(folder)["Two Words.md"] == "/Two%20Words/"
    assert urls(folder, site="hugo")["Two Words.md"] == "/two-words/"
    assert urls(folder, site="jekyll")["Two Words.md"] == "/Two%20Words.html"
    assert urls(folder, site="zola")["2021-03-05-planks.md"] == "/planks/"
    record.unpack("hugo", tmp_path / "site")
    assert urls(tmp_path / "site" / "content" / "posts", site="none")["Release 1.2.md"] == "/Release%201.2/"
    with pytest.raises(SourceError, match="'wix' is no site generator; these are hugo"):
        Source(folder, site="wix")


def test_a_folder_outside_the_content_of_a_site_is_none_of_its_pages(tmp_path):
    record.unpack("hugo", tmp_path)
    write(tmp_path, "notes/Two Words.md", "public/posts/x.md")
    assert urls(tmp_path / "notes") == {"Two Words.md": "/Two%20Words/"}
    assert urls(tmp_path / "public") == {"posts/x.md": "/posts/x/"}


def test_a_configuration_that_cannot_be_read_is_reported_once(tmp_path):
    (tmp_path / "hugo.toml").write_text("baseURL = \n")
    write(tmp_path, "content/a.md", "content/b.md")
    entries = list(Source(tmp_path))
    assert [entry.article.url for entry in entries if entry.article] == ["/a/", "/b/"]
    (problem,) = [entry for entry in entries if not entry.article]
    assert problem.where == str(tmp_path / "hugo.toml")
    assert "so addresses follow the defaults of hugo" in problem.problems[0]


def pelican_site(folder, settings, files):
    """Write a site of Pelican without a base path: `settings` are lines of its configuration, `files` texts by path."""
    (folder / "pelicanconf.py").write_text(f"SITEURL = ''\nPATH = 'content'\n{settings}\n")
    for path, text in files.items():
        target = folder / "content" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return {Path(entry.where).relative_to(folder / "content").as_posix(): entry for entry in Source(folder)}


def test_default_metadata_of_pelican(tmp_path):
    planks = "\n\nPlanks and nails for the pier.\n"
    entries = pelican_site(
        tmp_path,
        "DEFAULT_METADATA = {'Status': 'draft', 'category': 'Rail', 'tags': 'wood, sea', 'date': '2020-01-02'}\n"
        "EXTRA_PATH_METADATA = {'harbour': {'status': 'published'}, 'harbour/b.md': {'status': 'draft'}}\n"
        "ARTICLE_URL = '{category}/{slug}.html'",
        {
            "no-status.md": f"Title: No status\nDate: 2021-03-05{planks}",
            "own.md": f"Title: Own\nStatus: published{planks}",
            "harbour/a.md": f"Title: A{planks}",
            "harbour/b.md": f"Title: B{planks}",
            "pages/p.md": f"Title: P\nStatus: published{planks}",
        },
    )
    assert {path for path, entry in entries.items() if entry.excluded == UNPUBLISHED} == {
        "no-status.md",
        "harbour/b.md",
    }
    articles = {path: entry.article for path, entry in entries.items() if entry.article}
    assert {path: article.url for path, article in articles.items()} == {
        "own.md": "/misc/own.html",  # DEFAULT_CATEGORY replaces the category of DEFAULT_METADATA
        "harbour/a.md": "/harbour/a.html",
        "pages/p.md": "/pages/p.html",
    }
    assert articles["own.md"].tags == ("wood", "sea")
    assert f"{articles['own.md'].published:%Y-%m-%d}" == "2020-01-02"
    assert [articles[path].section for path in articles] == ["harbour", None, None]


@pytest.mark.parametrize("date", ["'2019-05-06'", "(2019, 5, 6)"])
def test_defaults_of_pelican_replace_empty_fields(tmp_path, date):
    entries = pelican_site(
        tmp_path,
        f"DEFAULT_METADATA = {{'status': 'draft'}}\nDEFAULT_DATE = {date}",
        {
            "a.md": "---\ntitle: A\nstatus:\n---\n\nPlanks and nails.\n",
            "b.md": "Title: B\nStatus:\n\nPlanks and nails.\n",
            "c.md": "Title: C\nStatus: published\nDate:\n\nPlanks and nails.\n",
        },
    )
    assert [path for path, entry in entries.items() if entry.excluded == UNPUBLISHED] == ["a.md", "b.md"]
    assert f"{entries['c.md'].article.published:%Y-%m-%d}" == "2019-05-06"


def test_files_that_settings_of_pelican_exclude_are_no_articles(tmp_path):
    planks = "Title: Planks\nDate: 2021-03-05\n\nPlanks and nails for the pier.\n"
    paths = ["extra/a.md", "b.md", "_c.md", "_wip/d.md", "pages/old/e.md", "news/extra/f.md", "pages/extra/g.md"]
    entries = pelican_site(
        tmp_path,
        "ARTICLE_EXCLUDES = ['extra']\nPAGE_EXCLUDES = ['pages/old']\nIGNORE_FILES = ['_*']",
        dict.fromkeys(paths, planks),
    )
    assert {path for path, entry in entries.items() if entry.article} == {"b.md", "news/extra/f.md", "pages/extra/g.md"}
    assert {entry.excluded for entry in entries.values() if not entry.article} == {NO_PAGE}


def html(head, body="<p>Planks and nails for the pier.</p>"):
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"


def test_html_files_of_pelican_are_sources_with_fields_in_their_heads(tmp_path):
    date = '<meta name="date" content="2021-03-12"/>'
    fields = (
        '<meta name="Category" content="Trees"><meta name="keywords" content="wood"><meta name="tags" content="sea">'
    )
    entries = pelican_site(
        tmp_path,
        "",
        {
            "elm.html": html(f"<title>Elm</title>{date}", "<p>See <a href='{filename}own.html'>it</a>.</p>"),
            "oak.html": html(f"<title>Oak &amp; Ash</title>{date}{fields}", "<p>Planks and nails.</p>" * 40),
            "own.html": html(f'<title>Own</title>{date}<meta name="url" content="own/"/>'),
            "slug.htm": html(f'<title>Slug</title>{date}<meta name="slug" content="other">'),
            "draft.html": html(f'<title>Draft</title>{date}<meta name="status" content="draft">'),
            "no-date.html": html("<title>No date</title>"),
            "no-head.html": f"<title>No head</title>{date}<p>Planks and nails for the pier.</p>",
            "pages/about.html": html("<title>About</title>"),
        },
    )
    articles = {path: entry.article for path, entry in entries.items() if entry.article}
    assert {path: article.url for path, article in articles.items()} == {
        "elm.html": "/elm.html",
        "oak.html": "/oak-ash.html",
        "own.html": "/own/",
        "slug.htm": "/other.html",
        "pages/about.html": "/pages/about.html",
    }
    reasons = {path: entry.excluded for path, entry in entries.items() if not entry.article}
    assert reasons == {"draft.html": UNPUBLISHED, "no-date.html": NO_PAGE, "no-head.html": NO_PAGE}
    oak = articles["oak.html"]
    assert (oak.title, oak.section, oak.tags) == ("Oak & Ash", "Trees", ("wood", "sea"))
    assert oak.text.startswith("Planks")
    assert f"{oak.published:%Y-%m-%d}" == "2021-03-12"
    assert articles["elm.html"].links == (articles["own.html"].id,)


def test_html_files_are_no_sources_of_pelican_without_its_reader(tmp_path):
    elm = html('<title>Elm</title><meta name="date" content="2021-03-12"/>')
    entries = pelican_site(
        tmp_path, "READERS = {'html': None}", {"elm.html": elm, "a.md": "Title: A\nDate: 2021-03-05\n\nA."}
    )
    assert entries["a.md"].article
    assert entries["elm.html"].excluded == NO_PAGE


def test_addresses_of_zola_follow_its_documentation(tmp_path):
    (tmp_path / "config.toml").write_text(
        'base_url = "https://example.org/base"\ndefault_language = "en"\n[languages.fr]\n', encoding="utf-8"
    )
    names = ["_index.md", "blog/_index.md", "blog/2021-03-05-Fire & Über.md", "blog/b/index.md", "blog/b/index.fr.md"]
    write(tmp_path, *(f"content/{name}" for name in (*names, "v1.2.md")))
    (tmp_path / "content/slug.md").write_text('+++\ntitle = "S"\nslug = "other"\n+++\nPlanks.\n', encoding="utf-8")
    (tmp_path / "content/path.md").write_text('+++\ntitle = "P"\npath = "x/y"\n+++\nPlanks.\n', encoding="utf-8")
    (tmp_path / "content/none.md").write_text('+++\ntitle = "P"\nrender = false\n+++\nPlanks.\n', encoding="utf-8")
    assert urls(tmp_path / "content") == {
        "blog/2021-03-05-Fire & Über.md": "/base/blog/fire-uber/",
        "blog/b/index.md": "/base/blog/b/",
        "blog/b/index.fr.md": "/base/fr/blog/b/",
        "path.md": "/base/x/y/",
        "slug.md": "/base/other/",
        "v1.2.md": "/base/v1-2/",
    }


def test_zola_skips_the_folder_of_a_draft_section(tmp_path):
    (tmp_path / "config.toml").write_text('base_url = "https://example.org"\n[languages.fr]\n')
    write(tmp_path, "content/a/y.md", "content/a/deep/z.md", "content/b/index.md", "content/fr/f.md", "content/c/c.md")
    write(tmp_path, "content/_index.md", "content/c/_index.md")
    for name in ("a/_index.md", "fr/_index.fr.md"):
        (tmp_path / "content" / name).write_text('+++\ntitle = "D"\ndraft = true\n+++\n')
    entries = {Path(entry.where).relative_to(tmp_path / "content").as_posix(): entry for entry in Source(tmp_path)}
    assert {path for path, entry in entries.items() if entry.article} == {"b/index.md", "c/c.md"}
    unpublished = {path for path, entry in entries.items() if entry.excluded == UNPUBLISHED}
    assert unpublished == {"a/y.md", "a/deep/z.md", "fr/f.md"}


def test_links_of_zola_by_the_path_in_its_content(tmp_path):
    (tmp_path / "config.toml").write_text('base_url = "https://example.org/z"\n')
    write(tmp_path, "content/blog/rust.md", "content/top.md")
    (tmp_path / "content/blog/more.md").write_text(
        '+++\ntitle = "More"\n+++\nPlanks: [rust](@/blog/rust.md), [top](@/top.md#nails), [none](@/none.md).\n'
    )

    def links(folder):
        return next(entry.article.links for entry in Source(tmp_path / folder) if entry.where.endswith("more.md"))

    assert links("") == ("content/blog/rust.md", "content/top.md")
    assert links("content") == ("blog/rust.md", "top.md")
    assert links("content/blog") == ("rust.md",)


def test_the_404_page_is_left_out_wherever_its_file_lies(tmp_path):
    (tmp_path / "_config.yml").write_text("baseurl: ''\n", encoding="utf-8")
    write(tmp_path, "docs/404.md")
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors/missing.md").write_text("---\npermalink: /404.html\n---\nNothing here.\n", encoding="utf-8")
    assert {entry.id: entry.excluded for entry in Source(tmp_path) if entry.excluded} == {"/404.html": ERROR_PAGE}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("astro.config.mjs", "src/pages/404.md"),
        ("docusaurus.config.js", "src/pages/404.md"),
        ("eleventy.config.js", "404.md"),
        ("next.config.js", "pages/404.mdx"),
    ],
)
def test_the_404_page_is_an_error_page_of_every_generator(tmp_path, config, path):
    (tmp_path / config).write_text("export default {};", encoding="utf-8")
    write(tmp_path, path)
    assert [entry.excluded for entry in Source(tmp_path)] == [ERROR_PAGE]


@pytest.mark.parametrize(
    ("glob", "drafts"),
    [
        ("/a/*", ["a/x.md", "a/y,z.md"]),
        ("/a/**", ["a/b/x.md", "a/x.md", "a/y,z.md"]),
        ("/a/?", ["a/x.md"]),
        ("/a/y,z", ["a/y,z.md"]),
        ("/a/{x,b/*}", ["a/b/x.md", "a/x.md"]),
        ("/a/{x,{y,z},y?z}", ["a/x.md", "a/y,z.md"]),
        ("}/a/x{", []),
        ("/a/(x", []),
    ],
)
def test_globs_of_a_cascade_of_hugo(tmp_path, glob, drafts):
    config = {"cascade": {"draft": True, "target": {"path": glob}}}
    (tmp_path / "hugo.json").write_text(json.dumps(config), encoding="utf-8")
    write(tmp_path, "content/a/x.md", "content/a/y,z.md", "content/a/b/x.md")
    excluded = [entry.id for entry in Source(tmp_path / "content") if entry.excluded == UNPUBLISHED]
    assert sorted(excluded) == drafts


def test_an_unknown_token_of_a_permalink_leaves_the_address_out(tmp_path):
    (tmp_path / "hugo.toml").write_text('[permalinks.page]\nposts = "/:new/:slug/"\n', encoding="utf-8")
    write(tmp_path, "content/posts/a.md", "content/b.md")
    assert urls(tmp_path) == {"content/posts/a.md": None, "content/b.md": "/b/"}


def test_only_mkdocs_makes_addresses_from_headings(tmp_path):
    """Hugo gives all pages without a title one address, and Pelican publishes none."""
    (tmp_path / "hugo.toml").write_text('[permalinks.page]\nposts = "/:slug/"\n', encoding="utf-8")
    (tmp_path / "content/posts").mkdir(parents=True)
    (tmp_path / "content/posts/a.md").write_text("# A heading\n\nPlanks and nails.\n", encoding="utf-8")
    assert urls(tmp_path) == {"content/posts/a.md": None}
    (tmp_path / "hugo.toml").rename(tmp_path / "pelicanconf.py").write_text("PATH = 'content'\n", encoding="utf-8")
    (tmp_path / "content/posts/a.md").write_text("Date: 2021-03-05\n\n# A heading\n", encoding="utf-8")
    assert [entry.excluded for entry in Source(tmp_path)] == ["without a page"]


def test_a_folder_that_the_configuration_excludes_is_none_of_the_site(tmp_path):
    (tmp_path / "_config.yml").write_text("exclude: [exports]\n", encoding="utf-8")
    write(tmp_path, "exports/a.md", "docs/b.md")
    assert urls(tmp_path / "exports") == {"a.md": "/a/"}
    assert urls(tmp_path) == {"docs/b.md": "/docs/b.html"}


@pytest.mark.parametrize(
    ("config", "generator"),
    [
        ('title = "Harbour"\n', "hugo"),
        ('base_url = "https://example.org"\n', "zola"),
    ],
)
def test_hugo_and_zola_share_the_name_of_their_configuration(tmp_path, config, generator):
    (tmp_path / "config.toml").write_text(config, encoding="utf-8")
    write(tmp_path, "content/posts/a.md")
    assert find_site(tmp_path / "content").name == find_site(tmp_path).name == generator


def test_hexo_and_jekyll_share_the_name_of_their_configuration(tmp_path):
    (tmp_path / "_config.yml").write_text("title: Harbour\n", encoding="utf-8")
    write(tmp_path, "_posts/2021-03-05-a.md")
    assert find_site(tmp_path).name == "jekyll"
    write(tmp_path, "source/_posts/a.md")
    assert find_site(tmp_path).name == find_site(tmp_path / "source").name == "hexo"


def test_files_of_a_repository_are_no_articles_of_jekyll(tmp_path):
    (tmp_path / "_config.yml").write_text("title: Notes\n")
    for name in ("README.md", "LICENSE.md", "CONTRIBUTING.md", "about.md"):
        (tmp_path / name).write_text("# Notes on the pier\n\nThe pier has forty planks.\n")
    entries = {Path(entry.where).name: entry for entry in Source(tmp_path)}
    assert [entries[name].excluded for name in ("README.md", "LICENSE.md", "CONTRIBUTING.md")] == [
        "list page",
        "without a page",
        "without a page",
    ]
    assert entries["about.md"].article.url == "/about.html"


def test_the_home_page_of_mkdocs_is_an_article_only_with_related_links(tmp_path):
    (tmp_path / "mkdocs.yml").write_text("site_name: Pier\n")
    write(tmp_path, "docs/index.md", "docs/guide/index.md")
    entries = {Path(entry.where).relative_to(tmp_path / "docs").as_posix(): entry for entry in Source(tmp_path)}
    assert entries["index.md"].excluded == "list page"
    assert entries["guide/index.md"].article.url == "/guide/"
    (tmp_path / "docs/index.md").write_text("---\nrelated: true\n---\n# Home\n\nPlanks for the pier.\n")
    assert next(entry.article.url for entry in Source(tmp_path) if entry.where.endswith("docs/index.md")) == "/"
