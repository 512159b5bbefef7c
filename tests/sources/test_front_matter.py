import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recommender.sources import Source
from recommender.sources.front_matter import split_front_matter

BODY = "The tram stops at the mill.\n"
WORDS = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=15)


def page(front, body=BODY):
    return split_front_matter(f"---\n{front}\n---\n{body}")


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("title: Tram or bus: a comparison", "Tram or bus: a comparison"),
        ("title: @tram speaks", "@tram speaks"),
        ("title: `rails new` explained", "`rails new` explained"),
        ("title: %s stops", "%s stops"),
        ('title: "Trams" and "buses"', '"Trams" and "buses"'),
        ('title: "The "last" tram"', 'The "last" tram'),
        ("title: 'It's the last tram'", "It's the last tram"),
        ("title: [Update] The tram stops", "[Update] The tram stops"),
        ("title: {{ page.name }}, the tram", "{{ page.name }}, the tram"),
        ("title: *the* tram", "*the* tram"),
        ("title: & the tram", "& the tram"),
        ("title: !the tram", "tram"),  # an unknown tag
        ("title: The tram\nwhere it stops\n", "The tram"),
        ("title: Tram\nauthor: @ann", "Tram"),
        ("title: Tram\nwhen: 2021-02-30", "Tram"),
        ("title: Tram\nwhen: !!timestamp 2021-02-30", "Tram"),
        ("title: Tram\nsize: !!int many", "Tram"),
        ("title: Tram\n? [a, b]\n: c", "Tram"),
        ("title: Tram\nkey: {[a]: b}", "Tram"),
        ("title: Tram\n]\n", "Tram"),
        ("title: Tram\n\tindented", "Tram indented"),
        ("title:Tram", "Tram"),
        ("title:\tTram", "Tram"),
        ("title: Tram\nstatus:ok", "Tram"),
        ("title: Tram\nnote: \x08", "Tram"),
    ],
)
def test_a_line_that_is_not_yaml_costs_only_itself(line, title):
    fields, body, _ = page(f"date: 2021-03-05\n{line}\ndraft: true\ntags: [a, b]")
    assert (fields["title"], fields["date"], fields["draft"], fields["tags"]) == (title, "2021-03-05", True, ["a", "b"])
    assert body == BODY


@pytest.mark.parametrize(
    ("front", "fields"),
    [
        ("title: Ze\n\tdraft: true\ndate: x", {"title": "Ze", "draft": True, "date": "x"}),
        ("title: Ze\n  draft: true\ndate: x", {"title": "Ze", "draft": True, "date": "x"}),
        ("title: 'Ze'\n\tdraft: true", {"title": "Ze", "draft": True}),
        ("tags: [a, b]\n\tdraft: true", {"tags": ["a", "b"], "draft": True}),
        ("tags:\n- a\n- b\n\tdraft: true", {"tags": ["a", "b"], "draft": True}),
        ("\ttitle: Ze\n\tdraft: true", {"title": "Ze", "draft": True}),
        ("\tdraft: true\ntitle: Ze", {"title": "Ze", "draft": True}),
        ("title: Ze\nby: @a\nseo:\n  index: true\n  draft: true", {"seo": {"index": True, "draft": True}}),
        ("title: Ze\nby: @a\nnote: |\n  draft: true", {"note": "draft: true\n"}),
        ("title: Ze\nby: @a\nnote: 'A\n  draft: true'", {"note": "A draft: true"}),
        ("title: Ze\n  of the mill: a tale", {"title": "Ze of the mill: a tale"}),
    ],
)
def test_an_indented_field_below_a_complete_scalar_is_a_field(front, fields):
    read = page(front)
    assert {name: read.fields.get(name) for name in fields} == fields
    assert "draft" in fields or "draft" not in read.fields


def test_a_draft_below_a_title_by_a_tab_is_left_out_and_the_message_names_its_line(tmp_path):
    (tmp_path / "ze.md").write_text(f"---\ntitle: Ze\n\tdraft: true\ndate: 2021-03-05\n---\n{BODY}")
    (entry,) = Source(tmp_path)
    assert entry.article is None
    assert entry.excluded == "unpublished"
    assert "line 3" in " ".join(entry.problems)


def test_lists_and_mappings_with_a_bad_line_keep_their_shape():
    fields, _, problems = page(
        "tags:\n\t- rail\n\t- @bus\nseo:\n  name: a: b\n  index: true\nlinks: [@a, b]\nnote: |\n\tx"
    )
    assert fields["tags"] == ["rail", "@bus"]
    assert fields["seo"] == {"name": "a: b", "index": True}
    assert fields["links"] == ["@a", "b"]
    assert fields["note"] == "x"
    assert problems[0] == "line 2 of its front matter is not valid YAML and was read as text: 'tags:'"


def test_scalars_stay_as_their_author_wrote_them():
    front = "\n".join(
        f"f{number}: {value}"
        for number, value in enumerate(
            ["12:30", "007", "3.10", "yes", "no", "on", "1e3", "0x1F", "1_000", "2021-03-05 10:00", "=", "3.1.0", "+1"]
        )
    )
    assert "\n".join(f"{name}: {value}" for name, value in page(front).fields.items()) == front
    typed = page("a: true\nb: False\nc: 7\nd: 3.5\ne: null\nf:\ng: ~\nh: -2").fields
    assert list(typed.values()) == [True, False, 7, 3.5, None, None, None, -2]


@given(
    st.one_of(
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.from_regex(r"[0-9][0-9:._eE+-]{0,8}", fullmatch=True),
    )
)
def test_a_number_is_read_as_a_number_only_if_it_is_written_alike(value):
    written = str(value)
    assert str(page(f"a: {written}").fields["a"]) == written


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: Tram\ntags: [a]\n---\n",
        "--- \ntitle: Tram\ntags: [a]\n---  \n",
        "-----\ntitle: Tram\ntags: [a]\n-----\n",
        "\n \n---\ntitle: Tram\ntags: [a]\n---\n",
        "\ufeff---\r\ntitle: Tram\r\ntags: [a]\r\n---\r\n",
        "---\rtitle: Tram\rtags: [a]\r---\r",
        "---\ntitle: Tram\ntags: [a]\n...\n",
        "---yaml\ntitle: Tram\ntags: [a]\n---\n",
        "---\ntitle: Tram\ntags: [a]\n\n",  # without an end mark
        "---\nTitle: Tram\nTAGS: [a]\n---\n",
        "---\ntitle: Tram\n---\n---\ntitle: Bus\ntags: [a]\n---\n",
        "title: Tram\ntags:\n- a\n---\n",
        '+++\ntitle = "Tram"\ntags = ["a"]\n+++\n',
        '---toml\ntitle = "Tram"\ntags = ["a"]\n---\n',
        '{"title": "Tram", "tags": ["a"]}\n',
        '{\n  "title": "Tram",\n  "tags": ["a"],\n}\n',
        '{\n  "title": "Tram"\n  "tags": ["a"]\n}\n',
        ';;;\n"title": "Tram",\n"tags": ["a"]\n;;;\n',
        '---json\n{"title": "Tram", "tags": ["a"]}\n---\n',
        '---js\n{\n  title: "Tram",\n  tags: ["a"],\n}\n---\n',
        "<!-- lint: off -->\n\n---\ntitle: Tram\ntags: [a]\n---\n",
        "---\ntitle:Tram\ntags:[a]\n---\n",
        "<!--- Front matter of the website:\ntitle: Tram\ntags: [a]\n--->\n",
    ],
)
def test_notations(text):
    fields, body, _ = split_front_matter(text + BODY)
    assert (fields["title"], fields["tags"], body.strip()) == ("Tram", ["a"], BODY.strip())


@pytest.mark.parametrize(
    "text",
    [
        "<!--\n.. title: Tram\n.. date: 2021-03-05 10:00:00 UTC+02:00\n.. tags: a, b\n.. status: private\n-->\n\n",
        ".. title: Tram\n.. date: 2021-03-05 10:00:00 UTC+02:00\n.. tags: a, b\n.. status: private\n\n",
        "Title: Tram\nDate: 2021-03-05 10:00:00 UTC+02:00\nTags: a, b\nStatus: private\n\n",
    ],
)
def test_headers_are_texts(text):
    fields, body, problems = split_front_matter(text + BODY)
    values = {"title": "Tram", "date": "2021-03-05 10:00:00 UTC+02:00", "tags": "a, b", "status": "private"}
    assert (fields, body, problems) == (values, BODY, ())


def test_the_title_block_of_pandoc():
    assert split_front_matter(f"% The tram\n% Ann; Bo\n% 5 March 2021\n\n{BODY}") == (
        {"title": "The tram", "author": "Ann; Bo", "date": "5 March 2021"}, f"\n{BODY}", (),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        f"---\n\n{BODY}",
        f"---\n{BODY}",
        f"---\n\n{BODY}\n---\n\n{BODY}",
        f"<!-- note: a comment -->\n{BODY}",
        f"{{{{< note >}}}}\n{BODY}",
        f"{{% include a.html %}}\n{BODY}",
        f"{{not json}}\n{BODY}",
        f"...\n{BODY}",
        f"<!-- a -->\n---\n\n{BODY}\n---\n",
        f"100 % of it\n{BODY}",
        f".. and then\n{BODY}",
        "",
    ],
)
def test_a_page_without_front_matter_keeps_its_text(text):
    fields, body, _ = split_front_matter(text)
    assert (fields, body) == ({}, text)


def test_a_bad_line_of_toml_costs_only_itself():
    front = "+++\ntitle = The tram\ndate = 2021-03-05\nweight = \ndraft = true\n[extra]\nx = y\n+++\n"
    fields, body, problems = split_front_matter(front + BODY)
    assert (fields["title"], fields["date"], fields["draft"], fields["extra"]) == ("The tram", "2021-03-05", True, {})
    assert body == BODY
    assert problems[0] == "line 2 of its front matter is not valid TOML and was read as text: 'title = The tram'"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(10**6), 10**6) | WORDS,
            lambda values: st.lists(values, max_size=3) | st.dictionaries(WORDS, values, max_size=3),
            max_leaves=6,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_values_of_valid_front_matter_are_those_that_were_written(fields):
    written = yaml.safe_dump(fields, allow_unicode=True)
    assert split_front_matter(f"---\n{written}---\n{BODY}") == (fields, BODY, ())
    written = json.dumps(fields)
    assert split_front_matter(f"{written}\n{BODY}") == (fields, BODY, ())


@given(st.text(alphabet="ab:-\n \t[]{}\"'#@&*!|>%`+;.=,?", max_size=60))
def test_any_front_matter_keeps_the_fields_before_it_and_the_body(front):
    fields, body, _ = split_front_matter(f"---\ndraft: true\nx: 1\n{front}\n---\n{BODY}")
    assert fields.get("draft") is True
    assert body.endswith(BODY)


def entries(folder, **files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {entry.article.id if entry.article else entry.id: entry for entry in Source(folder)}


@pytest.mark.parametrize("flag", ["true", "yes", "'yes'", "on", "1"])
def test_a_published_page_keeps_its_date(tmp_path, flag):
    posts = entries(tmp_path, **{"a.md": f"---\npublished: {flag}\ndate: 2021-03-05\n---\n{BODY}"})
    assert posts["a.md"].article.published.date().isoformat() == "2021-03-05"


@pytest.mark.parametrize(
    "line", ["published: no", "published: 'false'", "draft: yes", "draft: on", "publish: n", "Draft: 1"]
)
def test_a_draft_in_any_spelling_is_left_out(tmp_path, line):
    (entry,) = entries(tmp_path, **{"a.md": f"---\n{line}\ndate: 2021-03-05\n---\n{BODY}"}).values()
    assert entry.excluded == "unpublished"


def test_html_files_have_front_matter_too(tmp_path):
    posts = entries(
        tmp_path,
        **{
            "_config.yml": "title: Trams\n",
            "_posts/2012-03-05-tram.html": "---\nlayout: post\ntitle: 'Tram: the return'\ncategories: [rail]\n"
            "tags: [a, b]\npermalink: /2012/tram.html\n---\n<p>The tram <b>is back</b>, "
            "<a href='{% post_url 2012-03-06-bus %}'>not the bus</a>.</p>{% include ad.html %}\n",
            "_posts/2012-03-06-bus.html": "---\nlayout: post\ntitle: Bus\n---\n<p>The bus stops.</p>\n",
            "_posts/2012-03-07-draft.html": "---\nlayout: post\ntitle: Rail\npublished: false\n---\n<p>Not yet.</p>\n",
            "about.html": "+++\ntitle = 'About'\n+++\n<p>About the tram.</p>\n",
        },
    )
    article = posts["/2012/tram.html"].article
    assert (article.title, article.section, article.tags) == ("Tram: the return", "rail", ("a", "b"))
    assert (article.text, article.links) == ("The tram is back, not the bus.", ("_posts/2012-03-06-bus.html",))
    assert article.published.date().isoformat() == "2012-03-05"
    assert posts["_posts/2012-03-06-bus.html"].article.url == "/2012/03/06/bus.html"
    assert posts["_posts/2012-03-07-draft.html"].excluded == "unpublished"
    assert posts["about.html"].article.title == "About"


@pytest.mark.parametrize(
    "loop",
    [
        "{% for post in site.posts %}<a href='{{ post.url }}'>{{ post.title }}</a>{% endfor %}",
        "{%- for post in paginator.posts -%}{{ post.title }}{%- endfor -%}",
        "{% for p in collections.post %}{{ p.url }}{% endfor %}",
    ],
)
@pytest.mark.parametrize("name", ["index.html", "archive.md"])
def test_a_page_that_loops_over_pages_is_a_list_page(tmp_path, name, loop):
    (entry,) = entries(tmp_path, **{name: f"---\ntitle: All posts\n---\n<h1>All posts</h1>\n{loop}\n"}).values()
    assert (entry.article, entry.excluded) == (None, "list page")


@pytest.mark.parametrize(
    "body",
    [
        "Write this:\n\n```liquid\n{% for post in site.posts %}\n```\n",
        "{% raw %}{% for post in site.posts %}{% endraw %} is a loop.",
        "{% highlight liquid %}\n{% for post in site.posts %}\n{% endhighlight %}\nA loop.",
        "Use `{% for post in site.posts %}` in a layout.",
        '{{< code file="list.html" >}}\n{{ range .Pages }}{{ .Title }}{{ end }}\n{{< /code >}}\nA list in Hugo.',
        "{% for stop in page.stops %}{{ stop }}{% endfor %} are the stops.",
        "words " * 200 + "{% for post in site.posts limit:3 %}{{ post.title }}{% endfor %}",
    ],
)
def test_a_page_about_loops_is_an_article(tmp_path, body):
    (entry,) = entries(tmp_path, **{"a.md": f"---\ntitle: Loops\n---\n{body}\n"}).values()
    assert entry.article.title == "Loops"
