"""The plugin in sites that Pelican builds."""

import json
import logging

import pytest
from lxml import etree
from pelican import Pelican, signals
from pelican.settings import read_settings
from sites import CLUB, DAM, TITLES, block_of, led_to, titles_of

from recommender import Recommender
from recommender.embedding.encoder import DenseEncoder
from recommender.plugins import pelican as plugin


@pytest.fixture
def project(tmp_path):
    """Return the folder of a site: three articles on each of two subjects."""
    folder = tmp_path / "project"
    for section, pages in (("dam", DAM), ("club", CLUB)):
        for day, (name, (title, text)) in enumerate(pages.items(), start=1):
            put(folder, f"{section}/{name}", text, title=title, date=f"2026-01-0{day}", category=section)
    yield folder
    for signal in (signals.all_generators_finalized, signals.article_generator_write_article, signals.content_written):
        for function in (plugin._set_blocks, plugin._open_page, plugin._close_pages):
            signal.disconnect(function)


def put(folder, name, text, **head):
    path = folder / "content" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{field}: {value}" for field, value in ({"slug": path.name.split(".")[0]} | head).items()]
    path.write_text("\n".join([*lines, "", text, ""]), encoding="utf-8")


def build_site(folder, **options):
    """Build a site with these settings; return the folder of the pages written."""
    conf = folder / "pelicanconf.py"
    settings = {"PLUGINS": ["recommender.plugins.pelican"], "PATH": "content", "THEME": "simple", "TIMEZONE": "UTC"}
    settings |= {
        "OUTPUT_PATH": "output",
        "CACHE_PATH": "cache",
        "SITEURL": "",
        "DEFAULT_LANG": "en",
        "DEFAULT_DATE_FORMAT": "%Y",
    } | options
    conf.write_text("\n".join(f"{name} = {value!r}" for name, value in settings.items()), encoding="utf-8")
    Pelican(read_settings(str(conf))).run()
    return folder / "output"


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({}, "/"),
        ({"SITEURL": "https://example.org/news"}, "https://example.org/news/"),
        ({"RELATIVE_URLS": True}, "../../"),
        ({"SITEURL": "//example.org"}, "../../"),
    ],
)
def test_every_article_ends_with_links_that_lead_to_articles_of_its_subject(project, settings, start):
    where = {"ARTICLE_URL": "{category}/{slug}/", "ARTICLE_SAVE_AS": "{category}/{slug}/index.html"}
    site = build_site(project, RECOMMENDER_K=2, **where, **settings)
    for section, pages in (("dam", DAM), ("club", CLUB)):
        for name in pages:
            path = site / section / name / "index.html"
            heading, links = block_of(path)
            assert heading == "Related"
            assert {title for title, _ in links} == {TITLES[other] for other in pages if other != name}
            for title, href in links:
                assert href.startswith(f"{start}{section}/")
                target = led_to(path, site, href.replace("https://example.org/news", ""))
                assert f" - {title}</title>" in target.read_text()


NO_FEEDS = dict.fromkeys(
    ("FEED_ALL_ATOM", "CATEGORY_FEED_ATOM", "TRANSLATION_FEED_ATOM", "AUTHOR_FEED_ATOM", "AUTHOR_FEED_RSS")
)


@pytest.mark.parametrize(
    "feeds", [{"FEED_ALL_ATOM": "feed.xml"}, NO_FEEDS]
)  # each asks for contents, and Pelican keeps them
def test_feeds_summaries_and_lists_have_no_block(project, feeds):
    theme = project / "theme" / "templates"
    theme.mkdir(parents=True)
    for name in ("archives", "tags", "categories", "authors", "author", "tag", "category", "page"):
        (theme / f"{name}.html").write_text("")
    every = "{% for one in articles %}{{ one.summary }}{{ one.content }}{% endfor %}"
    (theme / "index.html").write_text(f"<p>{every}</p>")
    (theme / "article.html").write_text("<meta content='{{ article.summary|striptags }}'>{{ article.content }}")
    site = build_site(project, THEME="theme", SITEURL="https://example.org", **feeds)
    text = (site / "gates.html").read_text()
    assert text.index("despite protests") < text.index("data-recommender")
    assert "Related" not in text.partition(">")[0]
    assert "data-recommender" not in (site / "index.html").read_text()
    assert "despite protests" in (site / "index.html").read_text()
    if feeds is not NO_FEEDS:
        assert len(etree.parse(str(site / "feed.xml")).findall("{*}entry")) == 6
        assert "data-recommender" not in (site / "feed.xml").read_text()


def test_themes_find_the_articles_themselves(project):
    theme = project / "theme" / "templates"
    theme.mkdir(parents=True)
    for name in ("archives", "tags", "categories", "authors", "author", "tag", "category", "page", "index"):
        (theme / f"{name}.html").write_text("")
    (theme / "article.html").write_text(
        "<p>{% for one in article.related_articles %}{{ one.title }}, {{ one.category }};{% endfor %}</p>"
        "{{ article.content }}"
    )
    site = build_site(project, THEME="theme", RECOMMENDER_K=2, RECOMMENDER_CONTENT=False)
    text = (site / "gates.html").read_text()
    assert f"{TITLES['talks']}, dam;" in text
    assert f"{TITLES['treaty']}, dam;" in text
    assert "data-recommender" not in text


def test_a_second_build_embeds_nothing_and_writes_the_same(project, embedded):
    site = build_site(project)
    assert len(embedded) == 6
    before = {path: path.read_bytes() for path in site.glob("*.html")}
    embedded.clear()
    build_site(project)
    assert embedded == []
    assert {path: path.read_bytes() for path in site.glob("*.html")} == before


def test_changed_new_and_removed_articles_are_synced(project, embedded):
    build_site(project, DELETE_OUTPUT_DIRECTORY=True)
    embedded.clear()
    put(
        project,
        "dam/gates",
        "The football club won a match, its players cheered.",
        title="Shoot-out",
        date="2026-01-01",
    )
    put(
        project,
        "dam/locks",
        "The locks of the river dam and its water.",
        title="Locks of the river dam",
        date="2026-01-05",
    )
    (project / "content" / "dam" / "talks.md").unlink()
    site = build_site(project, RECOMMENDER_K=2, DELETE_OUTPUT_DIRECTORY=True)
    assert sorted(embedded) == ["dam/gates.md", "dam/locks.md"]
    assert "Shoot-out" in titles_of(site / "match.html")
    assert titles_of(site / "treaty.html")[0] == "Locks of the river dam"
    assert not any(TITLES["talks"] in titles_of(path) for path in site.glob("*.html"))
    with Recommender(project / "cache" / "recommender") as rec:
        assert "dam/talks.md" not in rec


def test_other_files_of_an_index_are_not_linked(project):
    build_site(project)
    with Recommender(project / "cache" / "recommender") as rec:
        (project / "other.jsonl").write_text(
            json.dumps({"id": "other", "title": "The river dam", "text": "Its gates."})
        )
        rec.add(project / "other.jsonl")
    site = build_site(project, RECOMMENDER_K=7)
    assert set(titles_of(site / "gates.html")) == set(TITLES.values()) - {TITLES["gates"]}


@pytest.mark.parametrize(
    ("head", "has_block", "is_linked"),
    [
        ({"related": "false"}, False, True),
        ({"block": "false"}, False, True),
        ({"recommend": "false"}, True, False),
        ({"status": "hidden", "save_as": "gates.html"}, False, False),
        ({"status": "draft", "save_as": "gates.html"}, False, False),
    ],
)
def test_an_article_can_opt_out_of_its_block_and_of_links(project, head, has_block, is_linked):
    title, text = DAM["gates"]
    put(project, "dam/gates", text, title=title, date="2026-01-01", **head)
    site = build_site(project, RECOMMENDER_K=6)
    assert (block_of(site / "gates.html") is not None) == has_block
    assert (title in titles_of(site / "talks.html")) == is_linked


@pytest.mark.parametrize(
    "links", ["fans, match", "{filename}../club/fans.md, {filename}/club/match.md", "/fans.html, /match.html"]
)
def test_editorial_links_of_an_article_come_first_and_are_not_repeated(project, links):
    title, text = DAM["gates"]
    put(project, "dam/gates", text, title=title, date="2026-01-01", related=links)
    put(
        project,
        "dam/talks",
        f"{DAM['talks'][1]}\n\n[Treaty]({{filename}}treaty.md)\n\n## See also\n\n- [Gates]({{filename}}gates.md)\n",
        title=TITLES["talks"],
        date="2026-01-02",
    )
    site = build_site(project, RECOMMENDER_K=2)
    assert titles_of(site / "gates.html") == [TITLES["fans"], TITLES["match"]]
    assert TITLES["gates"] not in titles_of(site / "talks.html")
    assert titles_of(site / "talks.html")[0] == TITLES["treaty"]
    with Recommender(project / "cache" / "recommender") as rec:
        assert rec.get("dam/gates.md").related == ("club/fans.md", "club/match.md")
        assert rec.get("dam/talks.md").related == ("dam/gates.md",)
        assert rec.get("dam/talks.md").links == ("dam/treaty.md",)


def test_a_whole_title_with_a_comma_is_a_link_too(project):
    put(project, "club/fans", CLUB["fans"][1], title="Fans, and players", date="2026-01-01")
    put(project, "dam/gates", DAM["gates"][1], title="Gates", date="2026-01-01", related="Fans, and players")
    assert titles_of(build_site(project, RECOMMENDER_K=1) / "gates.html") == ["Fans, and players"]


def test_stated_values_of_an_article_are_stored(project):
    text = f"{DAM['gates'][1]}\n\n    code = 1\n"
    put(
        project, "dam/gates", text, title="Gates", date="2026-03-04", category="Water", tags="dam, river", image="a.png"
    )
    build_site(project)
    with Recommender(project / "cache" / "recommender") as rec:
        gates = rec.get("dam/gates.md")
    assert (gates.title, gates.text, gates.section, gates.tags) == ("Gates", DAM["gates"][1], "Water", ("dam", "river"))
    assert (gates.published.date().isoformat(), gates.url) == ("2026-03-04", "/gates.html")
    assert gates.metadata["image"] == "a.png"


def test_translations_have_links_in_their_language(project):
    german = {"gates": "Die Tore sind zu", "talks": "Gespräche enden", "treaty": "Vertrag unterschrieben"}
    for name, title in german.items():
        put(project, f"dam/{name}-de", "Am Fluss, am Damm.", title=title, date="2026-01-01", lang="de", slug=name)
    site = build_site(project, RECOMMENDER_K=6, RECOMMENDER_HEADING={"en": "Related", "de": "Mehr dazu"})
    for name in DAM:
        assert set(titles_of(site / f"{name}.html")) == set(TITLES.values()) - {TITLES[name]}
        heading, links = block_of(site / f"{name}-de.html")
        assert heading == "Mehr dazu"
        assert {title for title, _ in links} == set(german.values()) - {german[name]}
        assert all(led_to(site / f"{name}-de.html", site, href).name.endswith("-de.html") for _, href in links)


def test_with_several_languages_an_article_has_the_language_of_pelican(project, tmp_path):
    for number in range(3):
        day = f"2026-01-0{number + 1}"
        put(tmp_path, f"de-{number}", "Der Damm hält das Wasser des Flusses zurück.", title="Damm", date=day, lang="de")
        put(tmp_path, f"en-{number}", f"OK {number}.", title=f"TV {number}", date=day)  # too short to detect a language
    site = build_site(tmp_path, RECOMMENDER_K=6)
    assert set(titles_of(site / "en-0.html")) == {"TV 1", "TV 2"}


def test_heading_template_fields_position_and_settings_take_effect(project):
    template = project / "block.html"
    template.write_text(
        "<nav data-recommender><h2>{{ heading }}</h2>"
        "{% for link in links %}<a href=x>{{ link.category }}</a>{% endfor %}</nav>"
    )
    site = build_site(
        project,
        RECOMMENDER_K=6,
        RECOMMENDER_HEADING="More",
        RECOMMENDER_TEMPLATE=str(template),
        RECOMMENDER_FIELDS=["category"],
        RECOMMENDER_INDEX=str(project / "kept"),
        RECOMMENDER_SETTINGS={"sections": "same"},
    )
    assert block_of(site / "gates.html") == ("More", [("dam", "x"), ("dam", "x")])
    assert (project / "kept" / "articles.sqlite").exists()
    assert not (project / "kept" / ".gitignore").exists()
    build_site(project)
    assert (project / "cache" / "recommender" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"RECOMMENDER_K": 0}, "RECOMMENDER_K is 0; it must be a number of 1 or more."),
        ({"RECOMMENDER_LINKS": 3}, "There is no setting RECOMMENDER_LINKS; these are RECOMMENDER_K, "),
        ({"RECOMMENDER_SETTINGS": {"varied": 1}}, "There is no block setting 'varied'"),
        ({"RECOMMENDER_TEMPLATE": "none.html"}, "There is no template none.html"),
        ({"RECOMMENDER_INDEX": __file__}, "test_pelican.py"),
        (
            {"RECOMMENDER_HEADING": ["More"]},
            "The heading of blocks is ['More']; it must be a text, or texts by language",
        ),
        ({"RECOMMENDER_HEADING": None}, "The heading of blocks is None; it must be a text, or texts by language"),
    ],
)
def test_a_failure_leaves_a_site_without_blocks_and_one_warning(project, caplog, settings, said):
    site = build_site(project, **settings)
    warnings = [
        record for record in caplog.records if record.name == plugin.log.name and record.levelno >= logging.WARNING
    ]
    assert len(warnings) == 1
    assert warnings[0].getMessage().startswith("Articles are written without related articles. ")
    assert said in warnings[0].getMessage()
    assert not warnings[0].exc_info
    assert block_of(site / "gates.html") is None
    assert "despite protests" in (site / "gates.html").read_text()


def test_a_template_that_fails_at_one_article_leaves_all_without_blocks(project, caplog):
    (project / "block.html").write_text(
        "<nav data-recommender><h2></h2>{{ 1 // (1 if links[0].section == 'club' else 0) }}</nav>"
    )
    site = build_site(project, RECOMMENDER_TEMPLATE=str(project / "block.html"))
    assert "Articles are written without related articles. The template" in caplog.text
    assert all(block_of(path) is None for path in site.glob("*.html"))


def test_unexpected_errors_are_warnings(project, caplog, monkeypatch):
    def encode(*_, **__):
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
    build_site(project)
    assert "Articles are written without related articles. ZeroDivisionError: by chance" in caplog.text


def test_a_site_without_articles_is_built(tmp_path, caplog):
    (tmp_path / "content").mkdir()
    build_site(tmp_path)
    assert not [record for record in caplog.records if record.name == plugin.log.name]
