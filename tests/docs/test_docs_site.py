"""MkDocs builds the docs as a site, with the package's own plugin."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from lxml import html
from mkdocs.commands.build import build
from mkdocs.config import load_config
from pathspec.gitignore import GitIgnoreSpec

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")  # of Markdown: [text](target)
PATH = re.compile(r"`((?:recommender|tests|docs|benchmarks|examples)/[\w./-]*)`")


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The folder of the site, built in strict mode: a warning fails the build."""
    folder = tmp_path_factory.mktemp("docs")
    config = load_config(str(root / "mkdocs.yml"), site_dir=str(folder / "site"), strict=True)
    options = config.plugins["recommender"].config
    options.index = str(folder / "index")
    options.exclude += GitIgnoreSpec.from_lines(["decisions/"])  # two thirds of the pages, which take as long to embed
    build(config)
    return folder / "site"


def test_a_page_ends_with_related_links(site):
    page = html.fromstring((site / "explanation" / "ranking" / "index.html").read_bytes())
    links = page.xpath("//nav[@data-recommender]//a")
    assert len(links) == 3
    assert all(link.text for link in links)


def test_every_link_within_the_site_leads_to_a_file_and_an_anchor(site):
    pages = {path: html.fromstring(path.read_bytes()) for path in site.rglob("*.html") if path.name != "404.html"}
    anchors = {path: set(page.xpath("//@id | //a/@name")) for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for target in page.xpath("//a/@href | //img/@src"):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (parts.fragment and parts.fragment not in anchors.get(file, ())):
                broken.append(f"{path.relative_to(site)}: {target}")
    assert broken == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "index/README.md"])
def test_every_link_of_a_page_outside_the_site_leads_to_a_file(root, name):
    page: Path = root / name
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if not urlsplit(target).scheme]
    assert [target for target in targets if not (page.parent / target.partition("#")[0]).exists()] == []


def test_every_file_named_in_the_docs_exists(root):
    pages = [root / "README.md", root / "CONTRIBUTING.md", root / "index" / "README.md", *(root / "docs").rglob("*.md")]
    linked_paths = {
        (page.relative_to(root), path) for page in pages for path in PATH.findall(page.read_text(encoding="utf-8"))
    }
    assert {(page, path) for page, path in linked_paths if "NAME" not in path and not (root / path).exists()} == set()
