"""Blocks of a real index: filters, pins, bans, rules, dates, reasons; large archives have generated vectors."""

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recommender import Article, ArticleNotFoundError, IndexDamagedError, PolicyError, Recommender
from recommender.blocks.policy import Policy
from recommender.filters import as_where, facets, matches
from recommender.ranking.query import display_scale

DAY = datetime(2026, 6, 1, tzinfo=UTC)
SECTIONS = ["World", "Deaths", "Quiz", "Sport", None]
MANY = 1400  # more than are always searched exactly


def make_article(number):
    draw = random.Random(number)
    topic = number % 20
    words = " ".join(f"word{draw.randrange(200)} topic{topic}" for _ in range(8))
    return Article(
        id=f"{number:04}",
        title=f"topic{topic} story {number}",
        text=f"topic{topic} {words} number{number}",
        published=DAY - timedelta(days=draw.randrange(-20, 400)) if number % 7 else None,
        section=SECTIONS[number % 5],
        tags=tuple(f"tag{n}" for n in draw.sample(range(6), 2)),
        language="en",
        recommend=number % 50 != 3,
        metadata={
            "half": number % 2,
            "hundredth": f"h{number % 100}",
            "few": "yes" if number in (5, 606, 1207) else "no",
        },
    )


ARTICLES = {article.id: article for article in map(make_article, range(MANY))}


@pytest.fixture(scope="module")
def large(tmp_path_factory, fake_vectors_context):
    with Recommender(tmp_path_factory.mktemp("large") / "index") as rec:
        with fake_vectors_context():
            rec.build(list(ARTICLES.values()))
        yield rec


@pytest.fixture
def ids():
    return lambda block: [link.id for link in block]


BARE = {"drop_near_duplicates": False, "score_threshold": False, "now": DAY}


def is_eligible(article, subject, now=DAY):
    return article.id != subject.id and article.recommend and not (article.published and article.published > now)


@pytest.mark.parametrize("k", [1, 3, 40, 500])
@pytest.mark.parametrize(
    "where", [{"half": 0}, {"hundredth": "h7"}, {"few": "yes"}, {"half": 1, "section": ["World", "Quiz"]}]
)
def test_related_returns_k_links_if_k_articles_are_eligible(large, where, k):
    subject = ARTICLES["0021"]
    options = {"where": {name: value for name, value in where.items() if name != "section"}, **BARE}
    if "section" in where:
        options["section"] = where["section"]
    block = large.related("0021", k, **options)
    exist = [a for a in ARTICLES.values() if is_eligible(a, subject) and matches(as_where(where), a)]
    assert len(block) == min(k, len(exist))
    assert {link.id for link in block} <= {a.id for a in exist}
    assert len({link.id for link in block}) == len(block)


def test_a_filtered_block_contains_the_best_matching_articles(large, ids):
    everything = large.related("0021", MANY, diversity=0.0, **BARE)
    for where in ({"half": 0}, {"hundredth": "h7"}):
        expected = [link.id for link in everything if matches(as_where(where), ARTICLES[link.id])]
        answer = ids(large.related("0021", 10, diversity=0.0, where=where, **BARE))
        assert len(set(answer) & set(expected[:10])) >= 9  # candidates of a large share are approximate


options = st.fixed_dictionaries(
    {},
    optional={
        "section": st.lists(st.sampled_from(["World", "Deaths", "Nothing"]), min_size=1, max_size=2),
        "tags": st.lists(st.sampled_from(["tag1", "tag2"]), min_size=1),
        "where": st.dictionaries(
            st.sampled_from(["half", "hundredth"]), st.sampled_from([0, 1, "h3", "h4"]), max_size=1
        ),
        "after": st.sampled_from(["2025-09-01", "2026-05-25"]),
        "before": st.sampled_from(["2026-01-01", "2026-06-10"]),
        "max_age": st.sampled_from(["20d", "6m", "2y"]),
        "age_from": st.sampled_from(["today", "article"]),
        "not_newer": st.booleans(),
        "sections": st.sampled_from(["any", "same", "other"]),
        "exclude": st.lists(st.sampled_from(sorted(ARTICLES)[:60]), max_size=3),
        "editorial": st.sampled_from(["first", "only", "ignore"]),
        "diversity": st.sampled_from([0.0, 0.1, 0.9]),
        "half_life": st.sampled_from([None, 3.0, 300.0]),
        "fill": st.sampled_from(["none", "recent", "section"]),
        "score_threshold": st.booleans(),
        "drop_near_duplicates": st.booleans(),
        "now": st.sampled_from([DAY, DAY - timedelta(days=100), DAY + timedelta(days=40)]),
    },
)
numbers = st.integers(0, MANY - 1)
some_ids = st.lists(numbers.map("{:04}".format), max_size=4, unique=True)
policy_parts = st.fixed_dictionaries(
    {
        "pins": st.lists(numbers.map("{:04}".format), max_size=3, unique=True),
        "banned": some_ids,
        "partners": some_ids,
        "never": st.sampled_from([None, {"section": "Quiz"}, {"tags": "tag1"}]),
        "apart": st.sampled_from(
            [None, ({"section": "Deaths"}, {"section": ["Quiz", "Sport"]}), ({"half": 0}, {"half": 1})]
        ),
    }
)


def policy_of(id, parts):
    rules = []
    if parts["never"]:
        rules.append({"name": "never", "where": parts["never"], "never_recommended": True})
    if parts["apart"]:
        rules.append({"name": "apart", "where": parts["apart"][0], "never_with": parts["apart"][1]})
    return Policy.from_record(
        {
            "pins": {id: [pin for pin in parts["pins"] if pin != id]},
            "bans": {"articles": parts["banned"], "pairs": [[id, other] for other in parts["partners"] if other != id]},
            "rules": rules,
        }
    )


@pytest.mark.slow
@hypothesis_settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(numbers, options, policy_parts, st.sampled_from([1, 3, 10]), st.booleans())
def test_bans_rules_and_filters_apply_under_every_setting(large, number, options_drawn, parts, k, plain):
    """Expected results follow from the fields of the articles, not from the store."""
    id = f"{number % 100 if plain else number:04}"  # `links` computes all blocks before the first
    subject, policy = ARTICLES[id], policy_of(id, parts)
    large.load_policy(policy)
    try:
        block = large.related(id, k, **options_drawn)
        assert block == large.related(id, k, **options_drawn)
        if plain:
            all_blocks = large.links(k, plain=True, now=options_drawn.get("now", DAY))
            links = next(links for other, links in all_blocks if other == id)
            check_block(links, subject, parts, {"now": options_drawn.get("now", DAY)})
    finally:
        large.load_policy({})
    assert len(block) <= k
    check_block(block, subject, parts, options_drawn)


def check_block(block, subject, parts, options_drawn):
    now = options_drawn.get("now", datetime.now(UTC))
    since = subject.published or now
    for link in block:
        article = ARTICLES[link.id]
        assert is_eligible(article, subject, now)
        assert link.id not in parts["banned"] + parts["partners"] + list(options_drawn.get("exclude", []))
        assert not (parts["never"] and matches(as_where(parts["never"]), article))
        if parts["apart"]:
            first, other = map(as_where, parts["apart"])
            assert not (matches(first, subject) and matches(other, article))
            assert not (matches(other, subject) and matches(first, article))
        if "section" in options_drawn:
            assert article.section in options_drawn["section"]
        if "tags" in options_drawn:
            assert set(article.tags) & set(options_drawn["tags"])
        if options_drawn.get("where"):
            assert matches(as_where(options_drawn["where"]), article)
        if options_drawn.get("sections") == "same":
            assert article.section == subject.section
        if options_drawn.get("sections") == "other" and subject.section:
            assert article.section != subject.section
        if "after" in options_drawn:
            assert article.published >= datetime.fromisoformat(options_drawn["after"]).replace(tzinfo=UTC)
        if "before" in options_drawn:
            assert article.published < datetime.fromisoformat(options_drawn["before"]).replace(tzinfo=UTC) + timedelta(
                days=1
            )
        if options_drawn.get("not_newer"):
            assert article.published <= since
        if "max_age" in options_drawn:
            from recommender.blocks.policy import Settings

            start = now if options_drawn.get("age_from", "today") == "today" else since
            assert article.published >= start - Settings().updated({"max_age": options_drawn["max_age"]}).age


@pytest.mark.slow
@hypothesis_settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(options, st.integers(0, 4))
def test_links_and_related_agree_for_every_k(large, options_drawn, start):
    options_drawn = {"now": DAY, **options_drawn}
    links = {}
    for id, block in large.links(10, **options_drawn):
        links[id] = block
        if len(links) == 40:
            break
    for id in list(links)[start::5]:
        assert links[id][:3] == large.related(id, 3, **options_drawn)
        assert links[id] == large.related(id, 10, **options_drawn)


@pytest.mark.slow
def test_output_is_deterministic(large):
    from io import StringIO

    from recommender.publish import jsonl

    first, other = StringIO(), StringIO()
    jsonl.write(large.links(5, now=DAY), first)
    with Recommender(large.path) as again:
        jsonl.write(again.links(5, now=DAY), other)
    assert first.getvalue() == other.getvalue()


# The examples: real text and the real model's vectors.


@pytest.fixture
def examples(root, tmp_path):
    import shutil

    shutil.copytree(root / "index" / "examples", tmp_path / "examples")
    with Recommender(tmp_path / "examples") as rec:
        yield rec


THEFT = "culture/picture-framer-charged.txt"
CUT = "culture/thieves-cut-grauven-masterpiece.txt"
FERRY = "culture/police-follow-ferry-tickets.txt"
FAR = "sport/how-foundry-lane-was-mortgaged.txt"


def test_editorial_links_come_first_and_matches_follow(examples, ids):
    editorial_ids = examples._store.links("related", [THEFT])[THEFT]
    assert len(editorial_ids) == 3
    block = examples.related(THEFT, 5, score_threshold=False)
    assert ids(block)[:3] == editorial_ids
    assert [link.via for link in block] == ["editorial"] * 3 + ["match"] * 2
    assert ids(examples.related(THEFT, 9, editorial="only")) == editorial_ids
    ignored = examples.related(THEFT, 9, editorial="ignore", score_threshold=False)
    assert {link.via for link in ignored} == {"match"}
    scores = {link.id: link.score for link in ignored}
    assert all(link.score == scores[link.id] for link in block if link.id in scores)  # editorial links change no score


def test_pins_come_first_count_toward_k_and_change_no_score(examples, ids):
    before = {link.id: link.score for link in examples.related(THEFT, 9, score_threshold=False, editorial="ignore")}
    examples.pin(THEFT, FAR, "not there yet")
    block = examples.related(THEFT, 3)
    assert ids(block)[0] == FAR
    assert [link.via for link in block] == ["pin", "editorial", "editorial"]
    assert examples.related(THEFT, 3, editorial="ignore")[1].score == before[CUT]
    examples.add([{"id": "not there yet", "title": "A title", "text": "Some words."}])
    assert ids(examples.related(THEFT, 3))[:2] == [FAR, "not there yet"]
    assert ids(dict(examples.links(3))[THEFT])[:2] == [FAR, "not there yet"]
    assert dict(examples.links(3, plain=True))[THEFT][0].via == "match"
    examples.unpin(THEFT)
    assert ids(examples.related(THEFT, 3)) == examples._store.links("related", [THEFT])[THEFT]


def test_bans_and_filters_override_pins_and_editorial_links(examples, ids):
    examples.pin(THEFT, FAR)
    examples.ban(CUT)
    assert CUT not in ids(examples.related(THEFT, 50, score_threshold=False))
    assert CUT not in ids(examples.search("thieves cut a painting from its frame", 50))
    assert ids(examples.related(THEFT, 3, section="Culture"))[0] == FERRY
    assert FAR not in ids(examples.related(THEFT, 50, section="Culture", score_threshold=False))
    examples.ban(THEFT, FERRY)
    assert FERRY not in ids(examples.related(THEFT, 50, score_threshold=False))
    assert THEFT not in ids(examples.related(FERRY, 50, score_threshold=False))
    examples.unban(CUT)
    examples.unban(FERRY, THEFT)
    assert {CUT, FERRY} < set(ids(examples.related(THEFT, 50, score_threshold=False)))


def test_rules_exclude_articles_and_blocks(examples, ids):
    examples.set_rule(
        {"name": "no sport under culture", "where": {"section": "Culture"}, "never_with": {"section": "Sport"}}
    )
    assert all(link.section != "Sport" for link in examples.related(THEFT, 70, score_threshold=False))
    assert all(link.section != "Culture" for link in examples.related(FAR, 70, score_threshold=False))
    examples.set_rule({"name": "mute", "where": {"section": "Sport"}, "no_block": True, "never_recommended": True})
    assert examples.related(FAR) == []
    assert dict(examples.links(3))[FAR] == []
    assert all(link.section != "Sport" for link in examples.search("football", 70))
    examples.remove_rule("mute")
    assert examples.related(FAR) != []
    with pytest.raises(PolicyError, match="mute"):
        examples.remove_rule("mute")


def test_fields_recommend_and_block_of_an_article_apply(rec, articles, ids):
    rec.add([replace(articles[0], block=False), replace(articles[1], recommend=False)])
    assert rec.related("dam-1", 9) == []
    assert rec.related("dam-2", 9) != []
    assert all("dam-2" not in ids(block) for _, block in rec.links(9))
    assert "dam-2" not in ids(rec.search("river dam"))
    assert rec.related(replace(articles[5], id="new", block=False)) == []


def test_the_policy_survives_rebuilds_and_removed_articles(rec, articles, ids):
    rec.pin("dam-1", "club-1")
    rec.ban("dam-3")
    rec.configure(editorial="ignore", diversity=0.0)
    rec.remove("club-1", "dam-3")
    rec.build(articles)
    with Recommender(rec.path) as again:
        block = ids(again.related("dam-1", 9))
        assert block[0] == "club-1"
        assert "dam-3" not in block
        assert again.policy.settings.changed() == {"editorial": "ignore", "diversity": 0.0}
        assert again.info()["policy"]["bans"]["articles"] == ["dam-3"]


def test_the_policy_can_be_changed_during_a_build(rec, articles, ids):
    with rec._store.write_lock(), Recommender(rec.path) as editor:  # a build holds this lock throughout
        editor.pin("dam-1", "club-1")
        assert ids(editor.related("dam-1"))[0] == "club-1"
    assert ids(rec.related("dam-1"))[0] == "club-1"


def test_the_policy_can_be_changed_while_derived_files_are_built(rec, monkeypatch):
    monkeypatch.setattr("recommender.store.local.signal_reader.PAGE_ROWS", 2)
    monkeypatch.setattr("recommender.store.local.database.BUSY_SECONDS", 0.1)
    store = rec._store
    with store.write_lock(), Recommender(rec.path) as editor:
        with store._session() as session:
            signals = session.revision.signals(session.connection)
        for rows in (signals.vectors_after, signals.weighted_terms_after):
            pages = rows(store._writer._connection(), 0)
            next(pages)
            editor.pin("dam-1", "club-1")
            assert sum(1 for _ in pages) == 2


def test_stored_settings_apply_to_every_call_and_options_override_them(examples, ids):
    examples.configure(editorial="ignore", section=["Sport"])
    assert {link.section for link in examples.related(THEFT, 2, score_threshold=False)} == {"Sport"}
    assert {link.section for _, block in examples.links(2, score_threshold=False) for link in block} == {"Sport"}
    assert {link.section for link in examples.related(THEFT, 2, section=[])} == {"Culture"}
    assert {link.section for link in examples.search("a stolen painting", 3)} != {"Sport"}
    with pytest.raises(PolicyError, match="colour"):
        examples.related(THEFT, colour="red")
    with pytest.raises(PolicyError, match="now"):
        examples.configure(now="2026-01-01")


def test_body_links_can_be_left_out(rec, articles, ids):
    rec.add([replace(articles[0], links=("https://example.org/dam-2", "Treaty on shared river signed"))])
    assert {"dam-2", "dam-3"} < set(ids(rec.related("dam-1", 9)))
    assert not {"dam-2", "dam-3"} & set(ids(rec.related("dam-1", 9, body_links=False)))
    article = replace(articles[0], id="new", url=None, links=("dam-2",))
    assert "dam-2" not in ids(rec.related(article, 9, body_links=False))


def test_articles_with_a_future_date_are_left_out_until_then(rec, articles, ids):
    rec.add([replace(articles[1], published=DAY)])
    before, after = DAY - timedelta(seconds=1), DAY
    assert "dam-2" not in ids(rec.related("dam-1", 9, now=before))
    assert "dam-2" in ids(rec.related("dam-1", 9, now=after))
    assert "dam-2" not in ids(rec.search("river dam", now=before))
    assert "dam-2" not in ids(dict(rec.links(9, now=before, plain=True))["dam-1"])
    rec.pin("dam-1", "dam-2")
    assert "dam-2" not in ids(rec.related("dam-1", 9, now=before))
    assert len(rec.related("dam-2", 3, now=before)) == 3  # a preview of its own block


def test_unpublished_records_never_appear_and_remove_stored_articles(rec, articles):
    report = rec.add([{"id": "dam-1", "deleted": True}, {"id": "new", "title": "A draft", "status": "draft"}])
    assert (report.excluded.total(), report.removed, report.added) == (2, 1, 0)
    assert "dam-1" not in rec
    assert "new" not in rec
    records = [article.to_record() for article in articles]
    records[2]["status"] = "draft"
    report = rec.build(records, [replace(articles[3], metadata={"draft": True})])
    assert "dam-3" not in rec
    assert (report.excluded.total(), report.added, report.skipped) == (2, 1, 0)
    # A record that is added and deleted in one delta never appears.
    report = rec.add([{"id": "x", "title": "A title"}, {"id": "x", "deleted": True}])
    assert "x" not in rec
    assert rec.remove("x") == []


def test_fill_adds_the_most_recent_articles_to_short_blocks(rec, articles, ids):
    dated = [replace(article, published=DAY + timedelta(days=n)) for n, article in enumerate(articles)]
    rec.build(dated)
    options_of_section = {"section": ["dam"], "now": DAY + timedelta(days=9)}
    assert len(rec.related("dam-1", 5, **options_of_section)) == 2
    assert len(rec.related("dam-1", 5, fill="recent", **options_of_section)) == 2  # filters apply to fill too
    rec.ban("dam-1", "dam-2")
    rec.configure(fill="recent")
    block = rec.related("dam-1", 9, editorial="only", now=options_of_section["now"])
    assert ids(block) == ["club-3", "club-2", "club-1", "dam-3"]
    assert {link.via for link in block} == {"fill"}
    scores = {link.id: link.score for link in rec.related("dam-1", 9, fill="none", now=options_of_section["now"])}
    assert {link.id: link.score for link in block} == scores
    assert ids(rec.related("dam-1", 9, editorial="only", fill="section", now=options_of_section["now"])) == ["dam-3"]
    assert ids(rec.related("dam-1", 1, editorial="only", now=options_of_section["now"])) == ["club-3"]
    assert "dam-1" not in ids(
        rec.related("dam-1", 9, editorial="only", drop_near_duplicates=False, now=options_of_section["now"])
    )


def test_fill_never_adds_the_article_itself(rec, articles, ids):
    rec.build([replace(article, published=DAY, url=None) for article in articles])
    revised = replace(articles[0], url=None, text="Another text altogether.")
    for copies in (True, False):
        assert "dam-1" not in ids(rec.related(revised, 9, fill="recent", drop_near_duplicates=copies, now=DAY))


def test_fresh_articles_are_retrieved_at_any_rank(large, ids, monkeypatch):
    monkeypatch.setattr("recommender.blocks.builder.FRESH_CANDIDATES", 1)
    for half_life in (3.0, 10.0, 60.0):
        for as_of in (DAY, DAY - timedelta(days=200), DAY + timedelta(days=100)):
            options = {"half_life": half_life, "as_of": as_of, "diversity": 0.0, **BARE}
            assert ids(large.related("0021", 5, **options)) == ids(large.related("0021", MANY, **options))[:5]


def test_freshness_counts_from_the_article_date_or_as_of(rec, articles, ids):
    old, new = replace(articles[1], published=DAY - timedelta(days=3000)), replace(articles[2], published=DAY)
    for age, (second, third) in {
        0: (old, new),
        1: (replace(old, published=DAY), replace(new, published=old.published)),
    }.items():
        rec.add([replace(articles[0], published=DAY), second, third])
        first = ids(rec.related("dam-1", 2, half_life=30.0, now=DAY))[0]
        assert first == ("dam-3" if age == 0 else "dam-2")
    undated = replace(articles[0], published=None)
    rec.add([undated, old, new])
    assert ids(rec.related("dam-1", 1, half_life=30.0, as_of=DAY, now=DAY)) == ["dam-3"]
    far = DAY - timedelta(days=3000)
    assert ids(rec.related("dam-1", 2, half_life=30.0, as_of=far, now=DAY)) == ids(rec.related("dam-1", 2, now=DAY))


def test_reasons_add_up_to_the_score(examples):
    block = examples.related(THEFT, 5, editorial="ignore", why=True)
    article = examples.get(THEFT)
    for link in block:
        why = link.reasons
        assert why.raw_score == pytest.approx(why.dense + why.lexical + why.hubness, abs=1e-5)
        assert link.score == display_scale(examples._store).display(why.raw_score)
        assert sum(share for _, share in why.words) <= why.lexical + 1e-5
        assert [share for _, share in why.words] == sorted((share for _, share in why.words), reverse=True)
        other = examples.get(link.id)
        text = f"{other.title} {other.text}".lower()
        assert all(word in text for word, _ in why.words)
        assert set(why.tags) <= set(article.tags) & set(other.tags)
        assert why.days == round((other.published - article.published).total_seconds() / 86400)
    assert any(link.reasons.tags for link in block)
    assert examples.related(THEFT, 1)[0].reasons is None


def test_shared_terms_add_up_to_the_lexical_part(examples):
    from recommender.ranking.query import stored_queries
    from recommender.ranking.scorer import explain

    store = examples._store
    with store.snapshot():
        query = stored_queries(store, [THEFT])[THEFT]
        for parts in explain(store, query, [CUT, FERRY, FAR]).values():
            assert sum(share for _, share in parts.terms) == pytest.approx(parts.lexical, abs=1e-4)


def test_why_not_returns_position_rank_and_exclusion_reason(examples):
    def reason(other, article=THEFT, **options_drawn):
        return examples.why_not(article, other, 3, editorial="ignore", **options_drawn)

    answer = reason(CUT)
    assert (answer.position, answer.rank, answer.reason) == (1, 1, "")
    assert answer.score == examples.related(THEFT, 1, editorial="ignore")[0].score
    plain = dict(examples.links(75, plain=True))[THEFT]
    assert reason(FAR).rank == [link.id for link in plain].index(FAR) + 1
    assert "at random" in reason(FAR).reason
    assert "come before it" in reason(FAR, score_threshold=False).reason
    assert "itself" in reason(THEFT).reason
    assert "section" in reason(CUT, section="Sport").reason
    assert "older" in reason(CUT, after="2026-12-01").reason
    assert "newer" in reason(CUT, before="2020-12-01").reason
    assert "future" in reason(CUT, now="2020-01-01").reason
    assert "language" in reason(CUT, language="de").reason
    assert "excluded" in reason(CUT, exclude=[CUT]).reason
    assert "in the article's section" in reason(CUT, sections="other").reason
    examples.ban(CUT)
    assert "banned from all" in reason(CUT).reason
    examples.ban(FERRY, THEFT)
    assert "one another" in reason(FERRY).reason
    examples.set_rule({"name": "r1", "where": {"section": "Sport"}, "never_recommended": True})
    assert "'r1'" in reason(FAR).reason
    examples.set_rule({"name": "r2", "where": {"section": "Culture"}, "no_block": True})
    assert "no block by the rule 'r2'" in reason(FAR).reason
    with pytest.raises(ArticleNotFoundError, match="nothing"):
        reason("nothing")


def test_plain_rejects_shaping_options(rec):
    for odd in ({"editorial": "only"}, {"fill": "recent"}, {"diversity": 0.5}, {"drop_near_duplicates": True}):
        with pytest.raises(PolicyError, match="plain"):
            next(rec.links(3, plain=True, **odd))
    assert dict(rec.links(3, plain=True, section=["dam"]))["dam-1"][0].section == "dam"


def test_sections_of_one_page_appear_in_each_others_blocks(rec, articles, ids):
    rec.add([replace(article, url=f"https://x.org/page#{article.id}") for article in articles])
    assert len(rec.related("dam-1", 9)) == 5


def test_a_translation_of_the_article_is_no_link(rec, articles, ids):
    metadata = {"translation_key": "posts/dam"}
    french = replace(articles[0], id="fr", language="fr", title="Le barrage", url="/fr/dam/", metadata=metadata)
    other = replace(french, id="other", url="/fr/other/", metadata={"translation_key": "posts/other"})
    rec.add([replace(articles[0], metadata=metadata), french, other])
    options = {"language": "any", "drop_near_duplicates": False}
    block = ids(rec.related("dam-1", 9, **options))
    assert "fr" not in block
    assert "other" in block
    assert rec.why_not("dam-1", "fr", **options).reason == "it is a translation of the article"
    assert "dam-1" not in ids(rec.related("fr", 9, **options))


def test_curated_links_may_be_in_another_language_unless_one_is_set(rec, articles, ids):
    german = Article(
        id="de", title="Der Fluss", text="Der Damm am Fluss wurde gestern geschlossen, sagte sie.", language="de"
    )
    rec.add([german, replace(articles[1], related=("de",))])
    rec.pin("dam-1", "de")
    assert ids(rec.related("dam-1"))[0] == "de"
    assert ids(rec.related("dam-2"))[0] == "de"
    assert "de" not in ids(rec.related("dam-1", 9, language="en"))
    rec.unpin("dam-1")
    assert "de" not in ids(rec.related("dam-1", 9))


def test_a_build_does_not_empty_an_index_because_of_a_field(tmp_path, fake_vectors_context):
    records = [{"id": str(n), "title": f"title {n}", "text": f"topic{n % 4} words"} for n in range(40)]
    with fake_vectors_context(), Recommender(tmp_path / "index") as rec:
        rec.build(records)
        report = rec.build([{**record, "published": False} for record in records])
        assert (len(rec), report.removed) == (40, 0)
        assert "not published any more" in report.refused
        assert rec.build([{**records[0], "status": "draft"}, *records[1:]]).removed == 1
        assert rec.add([{"id": str(n), "deleted": True} for n in range(20)]).removed == 19
        assert rec.build([{**record, "published": False} for record in records], prune_limit=100).removed == 20


def test_a_scheduled_article_can_be_added_again(rec):
    rec.add([{"id": "s", "title": "Soon", "published": "2126-01-01", "status": "scheduled"}])
    assert rec.add([rec.get("s")]).unchanged == 1
    assert "s" in rec


@pytest.mark.slow
def test_the_next_build_measures_a_scale_that_a_killed_build_did_not(root, tmp_path, monkeypatch):
    def killed(store):
        raise KeyboardInterrupt

    with Recommender(tmp_path / "index") as rec:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("recommender.ranking.calibration.calibrate", killed)
            rec.build(root / "examples")
        rec.build(root / "examples")
        assert rec._store.settings()["scale"]["deviation"] > 0


def test_a_damaged_policy_raises_until_load_policy_replaces_it(rec):
    import sqlite3

    rec.ban("dam-2")
    rec.close()
    with sqlite3.connect(rec.path / "articles.sqlite") as database:
        database.execute("UPDATE policy SET document = replace(document, 'dam-2', 'dam-3')")
    for ask in (lambda: rec.related("dam-1"), lambda: rec.ban("dam-1"), lambda: list(rec.links())):
        with pytest.raises(IndexDamagedError, match="policy --load"):
            ask()
    rec.load_policy({"bans": {"articles": ["dam-2"]}})
    assert rec.policy.banned == {"dam-2"}


def test_why_not_names_the_near_duplicate(rec, articles):
    text = " ".join(f"word{n}" for n in range(60))
    for id, day in (("one", 1), ("two", 2)):
        rec.add([Article(id=id, title=f"Dam report {id}", text=text, published=DAY + timedelta(days=day))])
    now = DAY + timedelta(days=9)
    block = [link.id for link in rec.related("dam-1", 9, now=now)]
    assert "two" in block
    assert "one" not in block
    assert "near-duplicate of 'two'" in rec.why_not("dam-1", "one", 9, now=now).reason
    assert "near-duplicate of the article itself" in rec.why_not("one", "two", 9, now=now).reason
    assert [link.id for link in rec.search(text, 9, now=now)].count("one") == 0


def test_filters_and_editorial_links_apply_to_a_new_article(rec, articles, ids):
    new = Article(id="new", title="Dam talks", text="Talks on the dam.", section="dam", related=("club-3", "Nothing"))
    assert ids(rec.related(new, 2))[0] == "club-3"
    assert {id[:3] for id in ids(rec.related(new, 9, sections="same"))} == {"dam"}
    rec.pin("new", "club-2")
    assert ids(rec.related(new, 2)) == ["club-2", "club-3"]
    rec.set_rule({"name": "x", "where": {"section": "dam"}, "no_block": True})
    assert rec.related(new) == []


def test_facets_of_an_article():
    article = Article(
        id="a", title="t", section="S", tags=("x",), metadata={"n": [1, 2.5, {"no": 1}], "b": True, "z": None}
    )
    assert facets(article) == {("section", "S"), ("tags", "x"), ("n", "1"), ("n", "2.5"), ("b", "true")}
    assert facets(Article(id="a", title="t", metadata={"long": "x" * 201})) == set()


def test_display_scores_are_finite_and_metadata_are_json(large):
    block = large.related("0001", 5, now=DAY)
    assert all(math.isfinite(link.score) for link in block)
    json.dumps([link.metadata for link in block])


def test_metadata_of_a_link_are_a_copy(rec, articles):
    rec.build([replace(article, metadata={"authors": ["A. B."]}) for article in articles])
    before = rec.related(articles[0].id, now=DAY)
    expected = [dict(link.metadata) for link in rec.related(articles[0].id, now=DAY)]
    for link in before:
        link.metadata["authors"].append("C. D.")
        link.metadata["seen"] = True
    assert [dict(link.metadata) for link in rec.related(articles[0].id, now=DAY)] == expected
    assert expected and all(metadata == {"authors": ["A. B."]} for metadata in expected)


def test_deeply_nested_metadata_are_returned(rec, articles):
    deep = current = {}
    for _ in range(600):
        current["d"] = current = {}
    rec.build([replace(article, metadata={"deep": deep}) for article in articles])
    assert all(link.metadata == {"deep": deep} for link in rec.related(articles[0].id, now=DAY))


def test_only_one_link_to_a_page_remains(rec, articles):
    first, *other_articles = articles
    ids = [link.id for link in rec.related(first.id, 3, now=DAY)]
    page = {ids[0]: "https://x.org/page", ids[2]: "http://x.org/page/"}
    rec.add([replace(article, url=page[article.id]) for article in other_articles if article.id in page])
    after = [link.id for link in rec.related(first.id, 3, now=DAY)]
    assert len({ids[0], ids[2]} & set(after)) == 1
