"""Addresses of generators from npm against pages that the real generators wrote, and rules that need no recording."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_sites import published, unpack

from recommender.sources import Source
from recommender.sources.entry import UNPUBLISHED
from recommender.sources.generators import find_site
from recommender.sources.generators.javascript import parse_objects

# Pages that a generator makes of no file of its own: lists, error pages, and pages that another locale lacks.
LISTS = {
    "docusaurus": (
        r"/|/404.html|/docs/cat-index/|(?:/fr)?/news/(?:archive/|page/2/|tags.*)?"
        r"|/fr/(?!docs/intro/|docs/guide/planks/|news/2021/07).*"
    ),
    # A permalink that only running code yields; a post of `_drafts`, which Eleventy does not know; a draft.
    "astro": r"/|/blog/|/drafted/",
    "eleventy": r"/|/list/(?:\d/)?|/js/two/|/_drafts/d/|/plain/draft/",
}
BASE = "/quay"


POST = "---\ntitle: Saw\npath: /own-path\npublishedAt: '2021-03-06'\n---\nTimber.\n"
PAGE = "# Planks\n\nTimber for the quay.\n"


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def articles(root, **options):
    return {entry.article.id: entry.article for entry in Source(root, **options) if entry.article}


def urls(root, **options):
    return {id: article.url for id, article in articles(root, **options).items()}


@pytest.mark.parametrize("name", LISTS)
def test_every_address_is_a_published_page_and_every_page_has_an_article(tmp_path, name):
    unpack(name, tmp_path)
    pages = set(published(name))
    addresses = set()
    for article in articles(tmp_path).values():
        if article.url is None:
            continue
        path = unquote(article.url)
        assert path.startswith(f"{BASE}/")
        path = path.removeprefix(BASE)
        served = {path, f"{path}/", f"{path}.html"} & pages
        assert served, article.id
        addresses |= served
    assert {page for page in pages - addresses if not re.fullmatch(LISTS[name], page)} == set()


ROUTE = """---
import { getCollection } from 'astro:content';
export async function getStaticPaths() {
  return (await getCollection('blog')).map((post) => ({ params: { slug: %s }, props: post }));
}
---
"""


@pytest.mark.parametrize(
    ("config", "files", "url"),
    [
        ("", {"src/pages/blog/[...slug].astro": ROUTE % "post.id"}, "/blog/the-saw/"),
        ("", {"src/pages/blog/[slug].astro": ROUTE.replace("slug: %s", "slug: post.slug")}, "/blog/the-saw/"),
        ("", {"src/pages/[...slug].astro": ROUTE % "post.id"}, "/the-saw/"),
        ("base: 'quay', trailingSlash: 'never',", {"src/pages/[...slug].astro": ROUTE % "post.id"}, "/quay/the-saw"),
        ("build: {format: 'file'},", {"src/pages/p/[...slug].astro": ROUTE % "post.id"}, "/p/the-saw.html"),
        ("", {"src/pages/blog/[...slug].astro": ROUTE.replace("Collection('blog'", "(") % "id"}, "/blog/the-saw/"),
        ("", {"src/pages/news/[...slug].astro": ROUTE.replace("Collection('blog'", "(") % "id"}, "/news/the-saw/"),
        ("", {"src/pages/blog/[...slug].astro": ROUTE % "post.id.split('/').pop()"}, None),
        ("", {"src/pages/[lang]/[...slug].astro": ROUTE % "post.id"}, None),
        ("", {"src/pages/blog/[...page].astro": "paginate(posts); params: { page: id }"}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_addresses_of_collections_of_astro(tmp_path, config, files, url):
    entry = {"src/content/blog/The Saw!.md": "---\ntitle: Saw\n---\nTimber.\n"}
    write(tmp_path, {"astro.config.mjs": f"export default defineConfig({{{config}}})", **entry, **files})
    assert list(urls(tmp_path).values()) == [url]
    assert list(urls(tmp_path / "src" / "content" / "blog").values()) == [url]


def test_collections_and_languages_of_astro(tmp_path):
    definitions = """
        export const collections = {
            news: defineCollection({loader: glob({pattern: ["**/*.md"], base: "./texts"})}),
        };
    """
    write(
        tmp_path,
        {
            "astro.config.ts": "export default {i18n: {defaultLocale: 'en', locales: ['en', 'de']}} satisfies Config;",
            "src/content.config.ts": definitions,
            "src/pages/news/[...slug].astro": ROUTE.replace("blog", "news") % "post.id",
            "texts/de/2021-05-01-saw.md": PAGE,
            "src/pages/about.md": PAGE,
            "src/content/blog/saw.md": PAGE,
        },
    )
    assert urls(tmp_path) == {"src/pages/about.md": "/about/", "texts/de/2021-05-01-saw.md": "/news/de/2021-05-01-saw/"}
    article = articles(tmp_path)["texts/de/2021-05-01-saw.md"]
    assert (article.language, article.section, article.published.isoformat()[:10]) == ("de", "news", "2021-05-01")


def test_the_folder_of_a_single_page_is_no_section(tmp_path):
    write(tmp_path, {"news/storm/index.md": PAGE, "news/index.md": PAGE, "news/saw.md": PAGE})
    sections = {id: article.section for id, article in articles(tmp_path).items()}
    assert sections == {"news/storm/index.md": "news", "news/index.md": "news", "news/saw.md": "news"}


def test_starlight(tmp_path):
    config = "import starlight from '@astrojs/starlight'; export default defineConfig({integrations: [starlight({})]})"
    pages = {f"src/content/docs/{name}": PAGE for name in ("index.mdx", "guides/Saw.md", "oars/index.md")}
    write(tmp_path, {"astro.config.mjs": config, **pages})
    assert urls(tmp_path) == {
        "src/content/docs/guides/Saw.md": "/guides/saw/",
        "src/content/docs/oars/index.md": "/oars/",
    }


ELEVENTY = "module.exports = function (config) { %s return {dir: {input: 'src'}}; };"


@pytest.mark.parametrize(
    ("files", "front", "url"),
    [
        ({}, "", "/posts/2021-03-05-planks/"),
        ({"src/posts/posts.json": '{"permalink": "/{{ page.filePathStem }}.html"}'}, "", "/posts/planks.html"),
        ({"src/posts/posts.json": '{"permalink": "/a/"}'}, "permalink: /b/", "/b/"),
        ({"src/posts/posts.json": '{"permalink": "/a/"}', "src/posts/posts.11tydata.json": '{"permalink": "/c/"}'}, "",
         "/c/"),
        ({"src/posts/2021-03-05-planks.json": '{"permalink": "/own/"}', "src/posts/posts.json": "{}"}, "", "/own/"),
        ({"src/posts/posts.11tydata.js": "export default {permalink: '/js/{{ page.fileSlug }}/'};"}, "", "/js/planks/"),
        ({"src/posts/posts.11tydata.js": "export default {permalink: (data) => `/${data.x}/`};"}, "", None),
        ({"src/src.json": '{"permalink": "/top/{{ page.fileSlug }}/"}'}, "", "/top/planks/"),
        ({}, 'permalink: "/{{ page.date | date: \'%Y/%m\' }}/{{ page.fileSlug }}/"', "/2021/03/planks/"),
        ({}, "date: 2022-07-01\npermalink: \"/{{ date | date: '%Y' }}/\"", "/2022/"),
        ({}, 'permalink: "/{{ title | slugify }}/"', "/planks-and-nails-cant/"),
        ({}, 'permalink: "/{{ title | upper }}/"', None),
        ({}, 'permalink: "/{% if title %}a{% endif %}/"', None),
        ({}, "permalink: sub/index.html", "/sub/"),
        ({}, 'eleventyComputed:\n  permalink: "/computed/"', "/computed/"),
    ],
)  # fmt: skip
def test_addresses_of_eleventy(tmp_path, files, front, url):
    page = f"---\ntitle: Planks & nails can't\n{front}\n---\nTimber for the quay.\n"
    write(tmp_path, {"eleventy.config.js": ELEVENTY % "", "src/posts/2021-03-05-planks.md": page, **files})
    assert list(urls(tmp_path).values()) == [url]


@pytest.mark.parametrize(
    ("function", "url"),
    [
        ("permalink: data => {\nif(data.draft) {\n// x\nreturn false;\n}\n\nreturn data.permalink;\n}", "/a/"),
        ("permalink() { return (data) => { if (data.draft) { return false; } return data.permalink; } }", "/a/"),
        ("permalink: (data) => data.draft ? false : data.permalink", "/a/"),
        ("permalink: function(data) { return `/x/${data.page.fileSlug}/`; }", None),
        ("permalink: data => data.draft ? false : slug(data)", None),
    ],
)
def test_a_computed_permalink_that_only_leaves_out_drafts(tmp_path, function, url):
    other = "other: data => { return 1; }"
    write(
        tmp_path,
        {
            "eleventy.config.js": ELEVENTY % "",
            "src/src.11tydata.js": f"module.exports = {{eleventyComputed: {{{other}, {function}, {other}}}}};",
            "src/saw.md": POST.replace("path: /own-path", "permalink: /a/"),
        },
    )
    assert list(urls(tmp_path).values()) == [url]


def test_data_files_of_eleventy_make_drafts_and_unlisted_pages(tmp_path):
    write(
        tmp_path,
        {
            ".eleventy.js": 'module.exports = c => { c.addPreprocessor("drafts", "*", data => !data.draft) }',
            "wip/wip.json": '{"draft": true, "lang": "fr"}',
            "wip/a.md": "---\ntitle: A\ndraft: false\n---\nPlanks and nails.",
            "wip/b.md": "---\ntitle: B\n---\nPlanks and nails.",
            "wip/deep/c.md": "---\ntitle: C\n---\nPlanks and nails.",
            "wip/done/done.11tydata.js": "module.exports = { draft: false }",
            "wip/done/d.md": "---\ntitle: D\n---\nPlanks and nails.",
            "e.md": "---\ntitle: E\n---\nPlanks and nails.",
            "e.json": '{"draft": true}',
            "hid/hid.json": '{"eleventyExcludeFromCollections": true}',
            "hid/f.md": "---\ntitle: F\n---\nPlanks and nails.",
        },
    )
    entries = {Path(entry.where).name: entry for entry in Source(tmp_path)}
    assert {name for name, entry in entries.items() if entry.excluded == UNPUBLISHED} == {"b.md", "c.md", "e.md"}
    recommend = {name: entry.article.recommend for name, entry in entries.items() if entry.article}
    assert recommend == {"a.md": True, "d.md": True, "f.md": False}
    assert entries["a.md"].article.language == "fr"


def test_an_input_folder_that_only_running_code_yields_leaves_no_address(tmp_path):
    config = "export default () => ({dir: {input: process.env.INPUT || 'src'}})"
    write(tmp_path, {"eleventy.config.js": config, "src/saw.md": PAGE, "src/own.md": POST.replace("path", "permalink")})
    assert sorted(urls(tmp_path).values(), key=str) == ["/own-permalink", None]


@pytest.mark.parametrize(
    ("value", "url"),
    [("value: `/notes${value}`", "/quay/notes/saw/"), ("value: value", "/quay/saw/"), ("value: slugOf(node)", None)],
)
def test_the_field_of_gatsby_with_the_path_of_a_file(tmp_path, value, url):
    node = GATSBY["gatsby-node.js"].replace("value }", f"{value} }}") % "node.fields.slug"
    write(tmp_path, {**GATSBY, "gatsby-node.js": node, "content/blog/saw.md": POST})
    assert list(urls(tmp_path).values()) == [url]


def test_sources_of_gatsby_that_only_running_code_yields_keep_their_articles(tmp_path):
    config = "module.exports = {plugins: [{resolve: x, options: {path: folderOf('texts')}}]}"
    write(tmp_path, {"gatsby-config.js": config, "texts/saw.md": POST, "texts/oar.md": PAGE, "README.md": PAGE})
    assert urls(tmp_path) == {"texts/saw.md": "/own-path", "texts/oar.md": None}


def test_files_that_eleventy_does_not_publish_are_no_articles(tmp_path):
    write(
        tmp_path,
        {
            "eleventy.config.mjs": ELEVENTY
            % "config.setInputDirectory('site'), config.setIncludesDirectory('parts'), x.ignores.add('site/o.md');",
            ".eleventyignore": "site/old\n*.tmp.md\n# comment",
            **{
                f"site/{name}": "# Planks\n\nTimber.\n"
                for name in ("index.md", "404.md", "parts/x.md", "old/x.md", "x.tmp.md", "o.md", "fish.md")
            },
            "site/list.md": "---\npagination:\n  data: collections.all\n---\nTimber.\n",
            "site/none.md": "---\npermalink: false\n---\nTimber.\n",
            "outside.md": "Timber.\n",
        },
    )
    assert urls(tmp_path) == {"site/fish.md": "/fish/"}


DOCUSAURUS = "const config = {url: 'https://x.example', baseUrl: '/', %s}; export default config;"


@pytest.mark.parametrize(
    ("options", "path", "url"),
    [
        ("", "docs/tools/README.md", "/docs/tools/"),
        ("trailingSlash: false,", "docs/tools/README.md", "/docs/tools"),
        ("trailingSlash: true,", "docs/tools/saw.md", "/docs/tools/saw/"),
        ("", "docs/saws/saws.md", "/docs/saws/"),
        ("presets: [['classic', {docs: {routeBasePath: '/'}, blog: false}]],", "docs/saw.md", "/saw"),
        ("presets: [['classic', {docs: {path: 'handbook', routeBasePath: 'book'}}]],", "handbook/saw.md", "/book/saw"),
        ("presets: [['classic', {docs: {path: '../handbook'}}]],", "docs/saw.md", None),
        (
            "plugins: [['@docusaurus/plugin-content-docs', {id: 'api', path: 'api', routeBasePath: 'ref'}]],",
            "api/saw.md",
            "/ref/saw",
        ),
        (
            "presets: [[require.resolve('x'), {blog: {routeBasePath: '/'}}]],",
            "blog/2021-05-01-saw.md",
            "/2021/05/01/saw",
        ),
        ("", "blog/2021-5-1-saw/index.mdx", "/blog/2021/5/1/saw"),
        ("", "blog/saw.md", "/blog/saw"),
        ("", "src/pages/saw.md", "/saw"),
        ("", "README.md", None),
        ("", "src/components/saw.md", None),
        ("", "docs/_saw.md", None),
    ],
)
def test_addresses_of_docusaurus(tmp_path, options, path, url):
    write(tmp_path, {"docusaurus.config.ts": DOCUSAURUS % options, path: PAGE})
    assert urls(tmp_path) == ({path: url} if url else {})


def test_versions_of_docusaurus(tmp_path):
    options = "presets: [['classic', {docs: {versions: {'1.0': {path: 'old'}, '0.9': {label: 'x'}}}}]],"
    write(
        tmp_path,
        {
            "docusaurus.config.js": DOCUSAURUS % options,
            "versions.json": json.dumps(["2.0", "1.0", "0.9"]),
            "docs/saw.md": PAGE,
            **{f"versioned_docs/version-{version}/saw.md": PAGE for version in ("2.0", "1.0", "0.9", "0.1")},
        },
    )
    assert urls(tmp_path) == {
        "docs/saw.md": "/docs/next/saw",
        "versioned_docs/version-2.0/saw.md": "/docs/saw",
        "versioned_docs/version-1.0/saw.md": "/docs/old/saw",
        "versioned_docs/version-0.9/saw.md": "/docs/0.9/saw",
    }


def test_docusaurus_is_recognised_by_its_layout_and_from_a_folder_of_pages(tmp_path):
    write(
        tmp_path,
        {
            "docs/saws/intro.md": f"---\nid: intro\n---\n{PAGE}",
            "docs/oars/intro.md": f"---\nid: intro\n---\n{PAGE}",
            "docs/oars/_category_.json": "{}",
            "blog/2021-05-01-saw/index.md": PAGE,
        },
    )
    assert urls(tmp_path) == {
        "docs/saws/intro.md": "/docs/saws/intro",
        "docs/oars/intro.md": "/docs/oars/intro",
        "blog/2021-05-01-saw/index.md": "/blog/2021/05/01/saw",
    }
    assert urls(tmp_path / "blog") == {"2021-05-01-saw/index.md": "/blog/2021/05/01/saw"}
    (post,) = articles(tmp_path / "blog").values()
    assert (post.published.isoformat()[:10], post.section) == ("2021-05-01", None)


GATSBY = {
    "gatsby-config.js": """module.exports = {pathPrefix: `/quay`, plugins: [
        {resolve: `gatsby-source-filesystem`, options: {path: `${__dirname}/content/blog`, name: `blog`}},
    ]}""",
    "gatsby-node.js": """
        const { createFilePath } = require(`gatsby-source-filesystem`)
        exports.onCreateNode = ({ node, actions, getNode }) => {
            const value = createFilePath({ node, getNode })
            actions.createNodeField({ name: `slug`, node, value })
        }
        exports.createPages = ({actions}) => posts.forEach(post => actions.createPage({path: %s, component}))
    """,
}


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("post.fields.slug", "/quay/saw/"),
        ("`/posts${post.fields.slug}`", "/quay/posts/saw/"),
        ("node.frontmatter.path", "/quay/own-path/"),
        ("makePath(post)", "/quay/own-path/"),
    ],
)
def test_addresses_of_gatsby(tmp_path, path, url):
    node = GATSBY["gatsby-node.js"] % path
    write(tmp_path, {**GATSBY, "gatsby-node.js": node, "content/blog/saw/index.md": POST, "README.md": POST})
    (article,) = articles(tmp_path).values()
    assert (article.url, article.published.isoformat()[:10], article.section) == (url, "2021-03-06", None)


@pytest.mark.parametrize(
    ("config", "route", "page", "url"),
    [
        ("", "pages/_app.js", "pages/blog/saw.mdx", "/blog/saw"),
        ("basePath: '/quay', trailingSlash: true", "app/layout.js", "app/(main)/saws/page.mdx", "/quay/saws/"),
        ("", "src/pages/posts/[slug].tsx", "_posts/saw.md", "/posts/saw"),
        ("", "app/blog/[...slug]/page.tsx", "content/blog/2021-05-01-saw/index.mdx", "/blog/2021-05-01-saw"),
        ("", "app/[[...mdxPath]]/page.jsx", "content/docs/index.mdx", "/docs"),
        ("", "app/notes/[slug]/page.tsx", "content/blog/saw.mdx", None),
        ("", "app/[lang]/blog/[slug]/page.tsx", "content/blog/saw.mdx", None),
        ("", "pages/index.js", "pages/index.mdx", ...),
        ("", "pages/index.js", "README.md", ...),
    ],
)
def test_addresses_of_next(tmp_path, config, route, page, url):
    write(tmp_path, {"next.config.mjs": f"export default {{{config}}}", route: "", page: PAGE})
    assert list(urls(tmp_path).values()) == ([] if url is ... else [url])


def test_javascript_in_markdown_is_no_text(tmp_path):
    write(
        tmp_path,
        {
            "docusaurus.config.js": DOCUSAURUS % "",
            "docs/saw.md": (
                "import Tabs from '@theme/Tabs';\nimport {\n  A,\n  B,\n} from \"./x\";\n\n# Saws\n\n"
                "export const meta = {\n  teeth: [1, 2],\n\n  note: 'secret }',\n};\n\n"
                "{/* truncate\n\n here */}\n\nA saw has {meta.teeth} teeth.\n\n```js\nimport saw from 'saw';\n```\n"
            ),
        },
    )
    (article,) = articles(tmp_path).values()
    assert (article.title, article.text) == ("Saws", "A saw has teeth.")


def test_prose_that_begins_with_import_is_text(tmp_path):
    text = "import duties from the harbour are 'high'\n\nexport goods are not\n\nimport saw from './saw'\n"
    write(tmp_path, {"saw.md": f"# Saws\n\n{text}"})
    (article,) = articles(tmp_path).values()
    assert article.text == "import duties from the harbour are 'high'\n\nexport goods are not"


def test_objects_of_a_module_are_read_without_running_it():
    module = """
        // base: '/no/'
        import x from 'y'; /* base: '/no/' */
        const base: string = "/quay/"
        const docs = {path: 'a\\'b', "edit-url": ({x}) => `${x}/{`, pattern: /[{/]"/g} satisfies Options;
        export default defineConfig({
            base, site: process.env.SITE ?? 'x', n: 1.5, yes: true, none: null, ...rest,
            typed: /** @type {Options} */ ({a: 1}), arrow: ({a, b}) => ({c: 1}), two: (1, 2), sum: (1) + 2,
            iife: (() => 1)(),
            list: ['a', 1, f({b: [1]}), {docs}], method() { return 1 }, async run(a, b) {}, [computed]: 1, last: `b`,
        });
    """
    assert parse_objects(module) == {
        "path": "a'b", "edit-url": None, "pattern": None, "base": "/quay/", "site": None, "typed": {"a": 1},
        "arrow": None, "two": None, "sum": None, "iife": None, "n": 1.5, "yes": True,
        "none": None, "list": ["a", 1, None, {"docs": {"path": "a'b", "edit-url": None, "pattern": None}}],
        "method": None, "last": "b",
    }  # fmt: skip


@given(st.text(st.sampled_from("={}[]()'\"`,:;/.*+-$ab1\n return"), max_size=60))
def test_any_module_is_read(text):
    parse_objects(f"export default {{{text}")
    parse_objects(f"const a = {text}")


def test_a_configuration_that_nests_too_deep_is_read(tmp_path):
    parse_objects("export default " + "{a: [" * 20_000)


def test_site_by_name(tmp_path):
    write(tmp_path, {"docs/01-saw.md": PAGE})
    assert find_site(tmp_path).name == "none"
    assert urls(tmp_path, site="docusaurus") == {"docs/01-saw.md": "/docs/saw"}
    assert urls(tmp_path / "docs", site="docusaurus") == {"01-saw.md": "/docs/saw"}
