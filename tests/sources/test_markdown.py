from datetime import UTC, datetime

import pytest

from recommender.sources import Source


def articles(folder, **options):
    return {entry.article.id: entry.article for entry in Source(folder, **options) if entry.article}


def write(folder, **files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


BODY = "The ferry sailed at dawn with forty people on board.\n"
# What each generator calls the same things, and where.
GENERATORS = {
    "hugo": (
        "news/ferry.md",
        '+++\ntitle = "Ferry sails"\ndate = 2026-03-05T09:00:00Z\ntags = ["sea", "port"]\ncategories = ["City"]\n'
        'translationKey = "ferry"\n+++\n',
    ),
    "hugo in JSON": (
        "news/ferry.md",
        '{\n"title": "Ferry sails", "publishDate": "2026-03-05T09:00:00Z", "keywords": ["sea", "port"],\n'
        '"categories": ["City"], "translationKey": "ferry"\n}\n',
    ),
    "jekyll": (
        "_posts/2026-03-05-ferry.md",
        "---\ntitle: Ferry sails\ndate: 2026-03-05 09:00:00 +0000\ntags: sea port\ncategories: City\n"
        "translation_key: ferry\n---\n",
    ),
    "pelican": (
        "ferry.md",
        "Title: Ferry sails\nDate: 2026-03-05 09:00\nCategory: City\nTags: sea, port\ntranslation_key: ferry\n\n",
    ),
    "mkdocs": (
        "news/ferry.md",
        "---\ndate:\n  created: 2026-03-05T09:00:00Z\n  updated: 2026-04-01\ntags: [sea, port]\ncategories: [City]\n"
        "translation_key: ferry\n---\n# Ferry sails\n\n",
    ),
    "astro": (
        "blog/ferry.mdx",
        "---\ntitle: 'Ferry sails'\npubDate: 2026-03-05T09:00:00Z\ntags:\n  - sea\n  - port\ncategory: City\n"
        "translationKey: ferry\n---\nimport Map from './Map.astro'\n\n<Map place={1} />\n\n",
    ),
}


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_names_of_each_generator(tmp_path, generator):
    name, front = GENERATORS[generator]
    write(tmp_path, **{name: front + BODY})
    (article,) = articles(tmp_path).values()
    assert article.title == "Ferry sails"
    assert article.published == datetime(2026, 3, 5, 9, tzinfo=UTC)
    assert (article.tags, article.section) == (("sea", "port"), "City")
    assert article.text == BODY.strip()
    assert article.metadata["translation_key"] == "ferry"


def test_markup_code_and_short_codes_are_not_text(tmp_path):
    text = (
        "---\ntitle: T\n---\n## Part *one*\n\nSome **bold** words and `inline` ones, [linked](https://x.org/a).\n\n"
        '```python\nsecret = 1\n```\n\n    indented = 2\n\n{{< figure src="a.png" >}}\n{% include box.html %}\n\n'
        "!!! note\n    An admonition is prose.\n\n:::tip\nSo is this.\n:::\n\n<div class='x'>And <b>this</b>.</div>\n\n"
        "| a | b |\n|---|---|\n| cell | other |\n\n![alt](x.png)\n"
    )
    write(tmp_path, **{"a.md": text})
    (article,) = articles(tmp_path).values()
    for word in ("Part one", "bold words", "inline", "linked", "admonition is prose", "So is this", "And this", "cell"):
        assert word in article.text
    for word in ("secret", "indented", "figure", "include", "x.png", "**", "`", ":::", "class", "|"):
        assert word not in article.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Write `{{` to open and `}}` to close {{ x }}.", "Write {{ to open and }} to close ."),
        ("Write `{{< note >}}` for a note. {{< note >}}", "Write {{< note >}} for a note."),
        ("A ``code ` with {% x %}`` here {% y %}.", "A code ` with {% x %} here ."),
        ("Not code \\` {{ x }} \\` here.", "Not code ` ` here."),
        ("An open ` {{ x }} here.\n\nAnother ` here.", "An open ` here.\n\nAnother ` here."),
        ("Test `[[ -f x ]]` in bash.", "Test [[ -f x ]] in bash."),
        ("A class `{.x}` and `--8<-- x`.", "A class {.x} and --8<-- x."),
        ("<code>{{ x }}</code> is a title.", "{{ x }} is a title."),
        ("# On `{{ x }}`\n\nText.", "On {{ x }}\n\nText."),
        ('{{< note text="a `tag`" >}}Text.{{< /note >}}', "Text."),
        ("```\n{{\n```\n\nText.\n\n```\n}}\n```\n\nEnd.", "Text.\n\nEnd."),
        ("~~~ jinja\n{% raw\n~~~\n\nText.\n\n- a\n\n  ````\n  ```\n  %}\n  ````\n- b", "Text.\na\nb"),
        ("<pre>{{</pre>\n\nText.\n\n<pre>}}</pre>", "Text."),
        ("Open {{ here.\n\nText.\n\nClose }} here.", "Open {{ here.\n\nText.\n\nClose }} here."),
        ("\x020\x03 and `{{ x }}`.", "0 and {{ x }}."),
    ],
)
def test_short_codes_in_code_are_code_and_no_text_beside_them_is_lost(tmp_path, body, text):
    write(tmp_path, **{"a.md": f"---\ntitle: T\n---\n{body}\n"})
    article = articles(tmp_path)["a.md"]
    assert (article.text, article.links) == (text, ())


def test_links_in_any_notation_resolve_to_the_ids_of_files(tmp_path):
    links = (
        '[a](../guide/b.md) [b](/guide/c/) [c](../../guide/d/#part) {{< ref "guide/e.md" >}} '
        '[x]({{< ref "guide/e.md" >}}) [y]({filename}/guide/f.md) [[Wiki Title]] [z](https://other.org/x) '
        "[self](a.md) [mail](mailto:a@b.c) [top](#top)"
    )
    names = dict.fromkeys(["guide/b.md", "guide/c.md", "guide/d/index.md", "guide/e.md", "guide/f.md"], BODY)
    write(tmp_path, **{"news/a.md": f"# A\n\n{links}\n", **names})
    article = articles(tmp_path)["news/a.md"]
    assert article.links == (
        "guide/b.md", "guide/c.md", "guide/d/index.md", "guide/e.md", "guide/f.md", "Wiki Title", "https://other.org/x",
    )  # fmt: skip


def test_links_resolve_to_the_id_stated_in_the_linked_file(tmp_path):
    write(
        tmp_path,
        **{
            "a.md": "# A\n\nText [one](b.md), [two](c.md).\n",
            "b.md": "---\nid: bee\n---\n# B\n\nText.\n",
            "c.md": "---\npermalink: /see/\n---\n# C\n\nText.\n",
        },
    )
    by_id = articles(tmp_path)
    assert set(by_id) == {"a.md", "bee", "/see/"}
    assert by_id["a.md"].links == ("bee", "/see/")
    assert by_id["/see/"].url == "/see/"


def test_links_and_code_in_the_tags_of_hexo_jekyll_and_hugo(tmp_path):
    body = (
        "See {% post_link storm 'the storm' %} and {% post_link nails %}.\n\n{% codeblock lang:js %}\nalert('x')\n"
        "{% endcodeblock %}\n\n{% highlight ruby %}\nputs 1\n{% endhighlight %}\n\n{{< highlight go >}}\nx := 1\n"
        "{{< /highlight >}}\n\nA `{% codeblock %}` begins code. {% codeblock %}\n\nThe end.\n"
    )
    write(tmp_path, **{"source/_posts/planks.md": body, "source/_posts/storm.md": BODY, "source/_posts/nails.md": BODY})
    write(tmp_path, **{"source/about/index.md": "By [us]({% post_path storm %}), on piers and boats.\n"})
    by_id = articles(tmp_path / "source")
    assert by_id["_posts/planks.md"].text == "See the storm and nails.\n\nA {% codeblock %} begins code.\n\nThe end."
    assert by_id["_posts/planks.md"].links == ("_posts/storm.md", "_posts/nails.md")
    assert by_id["about/index.md"].links == ("_posts/storm.md",)


def test_see_also_becomes_related(tmp_path):
    page = "# A\n\nText.\n\n## See also\n\n- [B](b.md)\n- [C](c.md)\n\n## Notes\n\nMore [d](d.md).\n"
    bold = "# B\n\nText.\n\n**Siehe auch:**\n\n- [A](a.md)\n\nEnd.\n"
    front = "---\ntitle: C\nrelated: [b.md, Title of another]\n---\nText.\n"
    write(tmp_path, **{"a.md": page, "b.md": bold, "c.md": front, "d.md": BODY})
    by_id = articles(tmp_path)
    assert (by_id["a.md"].related, by_id["a.md"].links) == (("b.md", "c.md"), ("d.md",))
    assert "See also" not in by_id["a.md"].text
    assert "Notes" in by_id["a.md"].text
    assert by_id["b.md"].related == ("a.md",)
    assert by_id["c.md"].related == ("b.md", "Title of another")


def test_addresses_are_those_of_the_site_and_ids_those_of_the_files(tmp_path):
    posts = {
        "a/b.md": BODY,
        "a/index.md": BODY,
        "README.md": BODY,
        "2026-03-05-y.md": BODY,
        "crates.io.md": BODY,
        "page.html": f"<h1>A page</h1><article><p>{BODY * 5}</p></article>",
        "given.md": f"---\npermalink: a/given/\n---\n{BODY}",
        "pattern.md": f"---\npermalink: /:year/:title/\n---\n{BODY}",
        "slug.md": f"---\nslug: /by-slug\n---\n{BODY}",
        "word.md": f"---\nslug: word\n---\n{BODY}",
        "z.fr.md": BODY,
        "z.md": BODY,
    }
    write(tmp_path, **posts)
    assert {id: article.url for id, article in articles(tmp_path).items()} == {
        "a/b.md": "/a/b/",
        "a/index.md": "/a/",
        "README.md": "/",
        "2026-03-05-y.md": "/2026-03-05-y/",
        "crates.io.md": "/crates.io/",
        "page.html": "/page.html",
        "/a/given/": "/a/given/",
        "pattern.md": "/pattern/",
        "slug.md": "/by-slug",
        "word.md": "/word/",
        "z.fr.md": None,  # generators differ in where they put languages
        "z.md": "/z/",
    }


@pytest.mark.parametrize("front", ["draft: true", "published: false", "status: draft", "status: hidden"])
def test_drafts_are_not_published(tmp_path, front):
    write(tmp_path, **{"a.md": f"---\ntitle: T\n{front}\n---\n{BODY}", "_drafts/b.md": BODY})
    entries = list(Source(tmp_path))
    assert [entry.excluded for entry in entries] == ["unpublished"] * 2
    assert entries[1].id == "a.md"


def test_a_file_without_a_page_is_excluded(tmp_path):
    write(tmp_path, **{"a.md": f"---\ntitle: T\npermalink: false\n---\n{BODY}"})
    (entry,) = Source(tmp_path)
    assert (entry.excluded, entry.problems) == ("without a page", ("its permalink is False",))


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ("---\ntitle: [unclosed\n---\n", "line 2 of its front matter is not valid YAML"),
        ("---\n- a\n- b\n---\n", "not a mapping of names"),
        ("+++\na = \n+++\n", "line 2 of its front matter is not valid TOML"),
        ("---\na: &a [x, x]\nb: &b [*a, *a]\n" + "".join(
            f"c{i}: &c{i} [{', '.join([f'*c{i - 1}' if i else '*b'] * 9)}]\n" for i in range(9)) + "---\n", "too many"),
    ],
)  # fmt: skip
def test_front_matter_that_cannot_be_read_costs_itself_alone(tmp_path, front, words):
    write(tmp_path, **{"some-page.md": front + BODY})
    (entry,) = Source(tmp_path)
    assert words in entry.problems[0]
    assert BODY.strip() in entry.article.text


def test_a_rule_at_the_top_is_no_front_matter(tmp_path):
    write(tmp_path, **{"a.md": f"---\n\n# Title\n\n{BODY}"})
    assert articles(tmp_path)["a.md"].title == "Title"


def test_title_language_and_name(tmp_path):
    write(
        tmp_path,
        **{
            "the-old_port.md": BODY,
            "port.md": BODY,
            "port.fr.md": "# Le port\n\nTexte.\n",
            "crates.io.md": BODY,
            "asp.net.md": BODY,
            "release-1.2.md": BODY,
            "release.md": BODY,
            "x.md": "---\ntitle: A\n---\n# B\n\nText.\n",
        },
    )
    by_id = articles(tmp_path)
    assert by_id["the-old_port.md"].title == "The old port"
    assert {id for id, article in by_id.items() if article.language} == {"port.fr.md"}
    assert by_id["port.fr.md"].language == "fr"
    assert by_id["x.md"].title == "A"
    assert by_id["x.md"].text == "B\n\nText."


def test_another_encoding(tmp_path):
    (tmp_path / "a.md").write_bytes(
        ("# Straße\n\n" + "Die Fähre fährt über den Fluß, schön früh am Morgen. " * 5).encode("cp1252")
    )
    assert articles(tmp_path)["a.md"].title == "Straße"


def test_references_to_documented_objects_and_icons_are_their_text(tmp_path):
    text = (
        "# Loading :material-anchor:\n\nSee the [loader][pier.Loader], [`load()`][pier.load()] and [`Pier`][].\n"
        "Version [1.2][v1.2] is [new][].\n\n[v1.2]: https://example.org/1.2\n[new]: https://example.org/new\n"
    )
    (tmp_path / "a.md").write_text(text)
    (entry,) = Source(tmp_path)
    assert entry.article.title == "Loading"
    assert entry.article.text == "See the loader, load() and Pier. Version 1.2 is new."
    assert entry.article.links == ("https://example.org/1.2", "https://example.org/new")
