"""Comparison of the links of blocks with the output folder of a site."""

import pytest
from click.testing import CliRunner
from sample_blocks import a_link, card

from recommender import Article, Recommender, RecommenderError
from recommender.cli.main import main
from recommender.publish.link_check import LinkCheck
from recommender.publish.site import output_format, publish


@pytest.fixture
def site(tmp_path):
    """A folder with the files that a generator writes."""
    folder = tmp_path / "public"
    for name in (
        "index.html", "posts/dam/index.html", "posts/flood.html", "posts/über den damm/index.html", "Upper/index.html",
        "empty/image.png", "old.htm", "feed.xml", "quay/index.php", "blog/nested/index.html",
    ):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def check(site, *urls, base_url=""):
    links = LinkCheck(site, base_url)
    links.add(a_link(f"id of {url}", url=url) for url in urls)
    return links.report()


@pytest.mark.parametrize(
    ("url", "exists"),
    [
        ("/", True),
        ("/posts/dam/", True),
        ("/posts/dam", True),  # servers redirect to the folder
        ("/posts/dam/index.html", True),
        ("/posts/dam/?from=related#top", True),
        ("/posts/flood", True),
        ("/posts/flood.html", True),
        ("/posts/flood/", False),  # no folder
        ("/posts/%C3%BCber%20den%20damm/", True),
        ("/posts/über den damm/", True),
        ("/posts/", False),
        ("/empty/", False),
        ("/empty/image.png", True),
        ("/upper/", False),  # servers distinguish case
        ("/Upper/", True),
        ("/old", True),
        ("/quay/", True),
        ("posts/dam/", True),
        ("/posts/../../secret", False),
        ("/%00", False),
        ("https://harbour.example/posts/dam/", True),
        ("https://harbour.example", True),
        ("https://harbour.example/nothing/", False),
    ],
)
def test_an_address_is_alive_if_a_server_has_a_page_for_it(site, url, exists):
    report = check(site, "/", "https://harbour.example/", url)
    assert [link.url for link in report.dead] == ([] if exists else [url])


def test_other_hosts_are_counted_and_not_compared(site):
    report = check(site, "https://harbour.example/", "https://harbour.example/x/", "https://other.example/x/")
    assert (report.checked, report.external, [link.url for link in report.dead]) == (
        2,
        1,
        ["https://harbour.example/x/"],
    )
    report = check(site, "https://other.example/x/", "/", base_url="https://harbour.example")
    assert (report.checked, report.external, report.dead) == (1, 1, ())


def test_the_folder_is_compared_below_the_base_path(site):
    for base_url in ("", "/pier/", "https://harbour.example/pier/"):
        report = check(site, "/pier/posts/dam/", "/pier/nothing/", base_url=base_url)
        assert report.base == "/pier"
        assert [link.url for link in report.dead] == ["/pier/nothing/"]
    assert "(as /pier/)" in report.sentence()
    assert [link.url for link in check(site, "/pier/posts/dam/", "/posts/dam/").dead] == ["/pier/posts/dam/"]
    assert check(site, "/blog/nested/", base_url="/blog/").dead == ()  # the output contains the base path


def test_dead_links_of_most_blocks_come_first(site):
    links = LinkCheck(site)
    for urls in (["/", "/a/"], ["/b/"], ["/b/"]):
        links.add(a_link(url.strip("/"), url=url) for url in urls)
    report = links.report()
    assert [(link.url, link.id, link.count) for link in report.dead] == [("/b/", "b", 2), ("/a/", "a", 1)]
    assert report.sentence() == f"3 addresses compared with {site}: 2 dead."
    assert check(site, "/").sentence() == f"1 address compared with {site}: none dead."
    assert check(site).sentence().startswith("No link leads to the site")


def test_a_missing_output_folder_is_reported(tmp_path):
    with pytest.raises(RecommenderError, match="build the site first"):
        publish([], output_format(None, site_folder=tmp_path / "no"), print)
    with pytest.raises(ValueError, match="neither an output nor a folder to check"):
        output_format(None)


def test_addresses_as_written_are_compared(site):
    links = [a_link("a", url="/a/", metadata={"slug": "dam"}), a_link("b", url="/b/", metadata={"slug": "flood"})]
    output = output_format(None, "hugo", url_template="/posts/{slug}/", site_folder=site)
    assert [link.url for link in publish([(card("x", metadata={"slug": "x"}), links)], output, print).check.dead] == [
        "/posts/flood/"
    ]


def test_the_command_lists_dead_links_and_ends_with_1(site, tmp_path):
    index = tmp_path / "index"
    with Recommender(index) as rec:
        rec.build(
            Article(
                name,
                f"Mending the river dam, part {name}",
                f"The gates of the river dam are {name}.",
                f"/posts/{name}/",
            )
            for name in ("dam", "shut")
        )
    command = ["links", "--index", str(index), "--no-score-threshold", "--keep-near-duplicates", "--check", str(site)]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stdout) == (1, "/posts/shut/  (shut, in 1 block)\n")
    assert f"2 addresses compared with {site}: 1 dead." in result.stderr
    (site / "posts" / "shut").mkdir()
    (site / "posts" / "shut" / "index.html").touch()
    out = tmp_path / "related.json"
    result = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert (result.exit_code, result.stderr) == (0, f"2 addresses compared with {site}: none dead.\n")
    assert result.stdout == f"2 blocks written to {out}.\n"
    result = CliRunner().invoke(main, [*command, "--changed", str(tmp_path / "state")])
    assert result.exit_code == 2
    assert "cannot be checked" in result.stderr
    result = CliRunner().invoke(main, [*command, "--url-template", "https://harbour.example/{missing}/"])
    assert result.exit_code == 1
