"""The plugin in sites that MkDocs builds."""

import json
import logging
import os

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from mkdocs.plugins import BasePlugin
from sites import CLUB, DAM, TITLES, block_of, led_to, titles_of

from recommender import Recommender
from recommender.embedding.encoder import DenseEncoder

HOME = "# Home\n\nAll about a river dam and a football club.\n"


@pytest.fixture
def project(tmp_path):
    """Return the folder of a site: a home page, and three pages on each of two subjects."""
    folder = tmp_path / "project"
    put(folder, "index", HOME)
    for section, pages in (("dam", DAM), ("club", CLUB)):
        for name, (title, text) in pages.items():
            put(folder, f"{section}/{name}", f"# {title}\n\n{text}\n")
    return folder


def put(folder, name, text):
    path = folder / "docs" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def build_site(folder, *, dirty=False, serve=None, alter=None, strict=False, site=None, **options):
    """Build a site with options of the plugin; return the folder of the pages written."""
    config = {"site_name": "Site", "plugins": ["search", {"recommender": options}], "use_directory_urls": True}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config | (site or {})), encoding="utf-8")
    loaded = load_config(str(folder / "mkdocs.yml"), strict=strict)
    if alter:
        alter(loaded)
    build(loaded, dirty=dirty, serve_url=serve)
    return folder / "site"


def page(site, name):
    return site / name / "index.html"


@pytest.mark.parametrize("directories", [True, False])
def test_every_page_ends_with_links_that_lead_to_pages_of_its_subject(project, directories):
    site = build_site(project, site={"use_directory_urls": directories}, k=2)
    for section, pages in (("dam", DAM), ("club", CLUB)):
        for name in pages:
            path = page(site, f"{section}/{name}") if directories else site / section / f"{name}.html"
            heading, links = block_of(path)
            assert heading == "Related"
            assert {title for title, _ in links} == {TITLES[other] for other in pages if other != name}
            for title, href in links:
                assert f">{title}</h1>" in led_to(path, site, href).read_text()


@pytest.mark.parametrize("nav", [None, [{"About": ["index.md", {"More": ["dam/gates.md"]}]}]])
def test_the_home_page_has_no_block_and_is_in_none_unless_it_opts_in(project, nav):
    site = build_site(project, k=7, site={"nav": nav})
    assert block_of(site / "index.html") is None
    assert all("Home" not in titles_of(path) for path in site.glob("*/*/index.html"))
    put(project, "index", f"---\nrelated: true\n---\n{HOME}")
    site = build_site(project, k=7, site={"nav": nav})
    assert set(titles_of(site / "index.html")) == set(TITLES.values())
    assert dict(block_of(page(site, "dam/gates"))[1])["Home"] == "../../"


def test_the_block_follows_the_text_and_is_not_in_the_search_index(project):
    site = build_site(project, heading="Further")
    text = page(site, "dam/gates").read_text()
    assert text.index("despite protests") < text.index("data-recommender")
    search_index = json.loads((site / "search" / "search_index.json").read_text())
    assert "Home" in json.dumps(search_index)
    assert "Further" not in json.dumps(search_index)


def test_a_second_build_embeds_nothing_and_writes_the_same(project, embedded):
    site = build_site(project)
    assert len(embedded) == 7
    before = {path: path.read_bytes() for path in site.rglob("*/index.html")}
    embedded.clear()
    build_site(project)
    assert embedded == []
    assert {path: path.read_bytes() for path in site.rglob("*/index.html")} == before


def test_changed_new_and_removed_articles_are_synced(project, embedded):
    build_site(project)
    embedded.clear()
    put(project, "dam/gates", "# Penalty shoot-out\n\nThe football club won the match and its fans cheered.\n")
    put(project, "dam/locks", "# Locks of the river dam\n\nThe locks of the river dam are opened for ships.\n")
    (project / "docs" / "dam" / "talks.md").unlink()
    site = build_site(project, k=2)
    assert sorted(embedded) == ["dam/gates.md", "dam/locks.md"]
    assert "Penalty shoot-out" in titles_of(page(site, "club/match"))
    assert titles_of(page(site, "dam/treaty"))[0] == "Locks of the river dam"
    assert not any(TITLES["talks"] in titles_of(path) for path in site.glob("*/*/index.html"))
    with Recommender(project / ".cache" / "recommender") as rec:
        assert "dam/talks.md" not in rec


def test_other_files_of_an_index_are_not_linked(project):
    build_site(project)
    with Recommender(project / ".cache" / "recommender") as rec:
        (project / "other.jsonl").write_text(
            json.dumps({"id": "other", "title": "The river dam", "text": "Its gates."})
        )
        rec.add(project / "other.jsonl")
    site = build_site(project, k=7)
    assert set(titles_of(page(site, "dam/gates"))) == set(TITLES.values()) - {TITLES["gates"]}


def test_a_build_of_changed_files_only_keeps_the_other_articles(project, embedded):
    site = build_site(project)
    text = (project / "docs" / "dam" / "gates.md").read_text()
    embedded.clear()
    before = page(site, "club/match").read_bytes()
    for path in site.rglob("index.html"):  # MkDocs detects new files by their time
        path.touch()
    put(project, "dam/gates", text + "\nThe river rose.\n")
    changed = project / "docs" / "dam" / "gates.md"
    later = page(site, "dam/gates").stat().st_mtime + 10
    os.utime(changed, (later, later))
    build_site(project, dirty=True)
    assert embedded == ["dam/gates.md"]
    assert titles_of(page(site, "dam/gates"))
    assert page(site, "club/match").read_bytes() == before
    with Recommender(project / ".cache" / "recommender") as rec:
        assert len(rec) == 7


@pytest.mark.parametrize(
    ("front", "has_block", "is_linked"),
    [
        ("related: false", False, True),
        ("block: false", False, True),
        ("recommend: false", True, False),
        ("draft: true", False, False),
        ("published: false", False, False),
    ],
)
def test_a_page_can_opt_out_of_its_block_and_of_links(project, front, has_block, is_linked):
    title, text = DAM["gates"]
    put(project, "dam/gates", f"---\n{front}\n---\n# {title}\n\n{text}\n")
    site = build_site(project, k=6)
    assert (block_of(page(site, "dam/gates")) is not None) == has_block
    assert (title in titles_of(page(site, "dam/talks"))) == is_linked


@pytest.mark.parametrize("link", ["../club/fans.md", "club/fans.md", "/club/fans/", TITLES["fans"]])
def test_editorial_links_of_a_page_come_first(project, link):
    title, text = DAM["gates"]
    put(project, "dam/gates", f"---\nrelated: [{json.dumps(link)}]\n---\n# {title}\n\n{text}\n")
    assert block_of(page(build_site(project, k=1), "dam/gates"))[1] == [(TITLES["fans"], "../../club/fans/")]


def test_a_block_does_not_repeat_the_pages_own_list_above_it(project):
    title, text = DAM["gates"]
    put(project, "dam/gates", f"# {title}\n\n{text}\n\n## See also\n\n- [Talks](talks.md)\n")
    put(project, "dam/treaty", f"# {DAM['treaty'][0]}\n\nUnlike the [talks](talks.md): {DAM['treaty'][1]}\n")
    site = build_site(project, k=1)
    assert titles_of(page(site, "dam/gates")) == [TITLES["treaty"]]
    assert titles_of(page(site, "dam/treaty")) == [TITLES["talks"]]
    with Recommender(project / ".cache" / "recommender") as rec:
        assert rec.get("dam/gates.md").related == ("dam/talks.md",)
        assert rec.get("dam/treaty.md").links == ("dam/talks.md",)


def test_title_and_section_come_from_the_navigation_and_the_page(project):
    title, text = DAM["gates"]
    head = "title: Shut\ndate: 2026-03-04\ntags: [dam, river]\nlang: en\nimage: a.png"
    put(project, "dam/gates", f"---\n{head}\n---\n# {title}\n\n{text}\n\n    code = 1\n")
    put(project, "club/match", "---\ndate: {created: 2026-01-02, updated: 2026-02-02}\n---\n# Match\n\nThe match.\n")
    nav = [{"News": [{"Deep": [{"In the menu": "dam/gates.md"}]}, {"Other name": "dam/talks.md"}]}]
    template = project / "block.html"
    template.write_text("<nav data-recommender>{% for link in links %}<a href=x>{{ link.image }}</a>{% endfor %}</nav>")
    site = build_site(project, k=2, template="block.html", fields=["image"], site={"nav": nav})
    assert set(block_of(page(site, "dam/talks"))[1]) == {("a.png", "x"), (None, "x")}
    with Recommender(project / ".cache" / "recommender") as rec:
        gates, talks, match = (rec.get(f"{name}.md") for name in ("dam/gates", "dam/talks", "club/match"))
    assert (gates.title, gates.section, gates.tags, gates.language) == ("Shut", "News", ("dam", "river"), "en")
    assert gates.published.date().isoformat() == "2026-03-04"
    assert gates.url == "/dam/gates/"
    assert gates.text == f"{title}\n\n{text}"
    assert (talks.title, talks.section) == (TITLES["talks"], "News")  # not the shorter title of the menu
    assert match.published.date().isoformat() == "2026-01-02"


def test_excluded_empty_and_draft_pages_have_no_block(project):
    put(project, "dam/empty", "---\ntitle: River dam\n---\n")
    put(project, "dam/draft", "# River dam draft\n\nThe river dam.\n")
    site = build_site(
        project, k=6, exclude="club/\n!club/fans.md\n", site={"draft_docs": "draft.md"}, serve="http://x/"
    )
    assert block_of(page(site, "club/match")) is None
    assert block_of(page(site, "dam/empty")) is None
    assert block_of(page(site, "dam/draft")) is None
    assert set(titles_of(page(site, "dam/gates"))) == {TITLES[name] for name in ("talks", "treaty", "fans")}


def test_git_ignores_the_index_in_the_default_folder(project):
    build_site(project)
    assert (project / ".cache" / "recommender" / ".gitignore").read_text() == "*\n"
    build_site(project, index="kept")
    assert (project / "kept" / "articles.sqlite").exists()
    assert not (project / "kept" / ".gitignore").exists()


@pytest.mark.parametrize("index", ["docs/index", "site/index", "docs", "theirs/index"])
def test_an_index_in_a_folder_that_mkdocs_watches_or_empties_is_refused(project, caplog, index):
    (project / "theirs").mkdir()
    with pytest.raises(Abort):
        build_site(project, index=index, site={"watch": ["theirs"]})
    assert f"{project / index}, lies in {project / index.split('/')[0]}" in caplog.text
    assert not (project / index / "articles.sqlite").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "'k': It is 0; it must be a number of 1 or more."),
        ({"k": True}, "'k': It is True"),
        ({"heading": 3}, "'heading': It is 3; it must be a text"),
        ({"settings": {"varied": 1}}, "'settings': There is no block setting 'varied'"),
        ({"template": "none.html"}, "none.html' isn't an existing file"),
    ],
)
def test_wrong_options_are_reported_before_a_build(project, caplog, options, said):
    with pytest.raises(Abort):
        build_site(project, **options)
    assert said in caplog.text
    assert not (project / ".cache").exists()


def test_settings_of_blocks_take_effect(project):
    site = build_site(project, k=6, settings={"sections": "same"})
    assert set(titles_of(page(site, "dam/gates"))) == {TITLES["talks"], TITLES["treaty"]}


def test_a_failure_leaves_a_site_without_blocks_and_one_warning(project, caplog):
    (project / ".cache").mkdir()
    (project / ".cache" / "recommender").write_text("a file")
    site = build_site(project)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "No related pages are shown." in warnings[0]
    assert ".cache/recommender" in warnings[0]
    assert not any(record.exc_info for record in caplog.records if record.levelno > logging.DEBUG)
    assert block_of(page(site, "dam/gates")) is None
    assert "despite protests" in page(site, "dam/gates").read_text()
    with pytest.raises(Abort, match="1 warnings in strict mode"):
        build_site(project, strict=True)


def test_unexpected_errors_are_warnings(project, caplog, monkeypatch):
    def encode(*_, **__):
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
    build_site(project)
    assert "No related pages are shown. ZeroDivisionError: by chance" in caplog.text


def test_a_template_that_fails_leaves_pages_without_blocks(project, caplog):
    (project / "block.html").write_text("{{ 1 / 0 }}")
    site = build_site(project, template="block.html")
    assert "No related pages are shown. The template" in caplog.text
    assert block_of(page(site, "dam/gates")) is None


def test_log_messages_are_shown_and_fail_no_strict_build(project, caplog, monkeypatch):
    real = DenseEncoder.encode_articles

    def encode(*arguments, **options):
        logging.getLogger("recommender").warning("It is slow today.")
        return real(*arguments, **options)

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
    caplog.set_level(logging.INFO)
    build_site(project, strict=True)
    assert "recommender: It is slow today." in [record.getMessage() for record in caplog.records]


class _I18n(BasePlugin):
    """Act like mkdocs-static-i18n: build one language after the other, with the same plugins."""

    def __init__(self, language):
        self.current_language = language

    def on_files(self, files, *, config):
        for file in list(files):
            if file.src_uri.startswith(("dam", "club")) and file.src_uri.startswith("dam") != (
                self.current_language == "en"
            ):
                files.remove(file)
            else:
                file.locale = self.current_language
        return files


def test_successive_builds_of_languages_keep_the_articles_of_each_other(project, embedded):
    for is_first_build in (True, False):
        for language, section, name in (("en", "dam", "gates"), ("de", "club", "fans")):

            def alter(config, language=language):
                config.plugins["i18n"] = _I18n(language)

            site = build_site(project, alter=alter, heading={"en": "Related", "de": "Mehr zum Thema"})
            heading, links = block_of(page(site, f"{section}/{name}"))
            assert heading == {"en": "Related", "de": "Mehr zum Thema"}[language]
            assert len(links) == 2
            assert bool(embedded) == is_first_build
            embedded.clear()
