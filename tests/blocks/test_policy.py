import contextlib
import sqlite3
from datetime import UTC, date, datetime

import numpy as np
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from recommender import Article, IndexDamagedError, PolicyError, Recommender
from recommender.blocks.policy import Policy, Rule, Settings, as_ids, moment
from recommender.filters import as_where, matches
from recommender.text.dates import subtract_age

ids = st.text("abcdef", min_size=1, max_size=2)
wheres = st.dictionaries(
    st.sampled_from(["section", "tags", "kind"]), st.lists(ids, min_size=1, max_size=2), min_size=1
)
rules = st.builds(
    lambda name, where, apart, flags: Rule(name, as_where(where), *flags, never_with=as_where(apart)),
    ids, wheres, wheres, st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
settings = st.fixed_dictionaries(
    {},
    optional={
        "editorial": st.sampled_from(["first", "only", "ignore"]),
        "drop_near_duplicates": st.booleans(),
        "diversity": st.floats(0, 1),
        "half_life": st.none() | st.floats(1, 999),
        "max_age": st.none() | st.sampled_from(["3d", "12m"]),
        "section": st.lists(ids, max_size=2),
        "where": wheres,
        "language": st.none() | st.sampled_from(["de", "any"]),
        "after": st.none() | st.just("2026-03-05"),
    },
)
policies = st.builds(
    lambda chosen, pins, banned, pairs, policies: Policy(
        Settings().updated(chosen),
        {id: pinned for id, links in pins.items() if (pinned := tuple(link for link in links if link != id))},
        frozenset(banned),
        frozenset((min(pair), max(pair)) for pair in pairs),
        tuple({rule.name: rule for rule in policies}.values()),
    ),
    settings,
    st.dictionaries(ids, st.lists(ids, min_size=1, unique=True)),
    st.sets(ids),
    st.sets(st.tuples(ids, ids).filter(lambda pair: pair[0] != pair[1])),
    st.lists(rules, max_size=3),
)


@given(policies)
def test_a_policy_survives_a_round_trip_through_its_record(policy):
    import json

    import yaml

    record = policy.to_record()
    assert Policy.from_record(json.loads(json.dumps(record))) == policy
    assert Policy.from_record(yaml.safe_load(yaml.safe_dump(record, sort_keys=False))) == policy


texts = st.text(st.characters(), max_size=5)  # lone surrogates among them
loose_ids = texts | st.integers()
scalars = texts | st.integers() | st.floats() | st.booleans() | st.none()
loose_lists = st.lists(loose_ids, max_size=3) | loose_ids | st.sets(texts, max_size=2) | st.none()
loose_wheres = (
    st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=2)
    | st.lists(st.tuples(texts, st.lists(texts, max_size=2).map(tuple))).map(tuple)
    | scalars
)
loose_dates = scalars | st.dates() | st.datetimes() | st.datetimes(timezones=st.timezones())


@given(st.data())
def test_every_valid_policy_can_be_stored_and_read(data):
    import json

    import yaml

    def draw_policy(kind, **strategies):
        chosen = {}
        for name in data.draw(st.sets(st.sampled_from(sorted(strategies)))):
            chosen[name] = data.draw(strategies[name])
        try:
            return kind(**chosen)
        except PolicyError:
            return None

    settings = draw_policy(
        Settings,
        editorial=st.sampled_from(["first", "only"]) | scalars,
        diversity=st.floats(0, 1) | st.integers(0, 1) | scalars,
        half_life=st.floats(1, 9) | scalars | st.just(10**400),
        language=st.sampled_from(["de", "DE", "deu", "any", "own"]) | scalars,
        section=loose_lists,
        tags=loose_lists,
        where=loose_wheres,
        after=loose_dates,
        before=loose_dates,
        max_age=st.sampled_from(["3d", " 12 m "]) | scalars,
        fill=st.sampled_from(["recent"]) | scalars,
        drop_near_duplicates=st.booleans() | scalars,
    )
    rule = draw_policy(
        lambda **parts: Rule(**{"name": "a", "no_block": True, "where": {"a": "b"}, **parts}),
        name=loose_ids,
        where=loose_wheres,
        never_with=loose_wheres,
        no_block=st.booleans() | scalars,
    )
    policy = draw_policy(
        Policy,
        settings=st.just(settings) if settings else st.just(Settings()),
        pins=st.dictionaries(loose_ids, loose_lists, max_size=2),
        banned=loose_lists,
        pairs=st.lists(st.tuples(loose_ids, loose_ids), max_size=2) | scalars,
        rules=st.just([rule] if rule else []) | scalars,
    )
    if policy:
        record = policy.to_record()
        assert Policy.from_record(json.loads(json.dumps(record))) == policy
        assert Policy.from_record(yaml.safe_load(yaml.safe_dump(record, allow_unicode=True))) == policy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Settings(diversity=5), "from 0 to 1"),
        (lambda: Settings(editorial=["first"]), "it can be first, only, ignore"),
        (lambda: Settings(half_life=10**400), "more than 0"),
        (lambda: Rule("x", where=()), "about no articles"),
        (lambda: Rule("x", where={"section": "City"}), "does nothing"),
        (lambda: Rule("x", where={True: "City"}, no_block=True), "True is no name of a field"),
        (lambda: Rule("x", where={None: "City"}, no_block=True), "None is no name of a field"),
        (lambda: Rule("x", where={"kind": "a"}, never_with={b"kind": "a"}), "no name of a field"),
        (lambda: Rule("x", where=(("kind", "a"), ("kind", "b")), no_block=True), "'kind' occurs twice"),
        (lambda: Settings(where={1: "a", "1": "b"}), "'1' occurs twice"),
        (lambda: Rule("\x00", where={"section": "City"}, no_block=True), "name"),
        (lambda: Rule("x", where={"section": "City"}, no_block="yes"), "true or false"),
        (lambda: Policy(pins={"a": ("a",)}), "itself"),
        (lambda: Policy(pins=[("a", "b")]), "mapping"),
        (lambda: Policy(settings={"diversity": 0.2}), "Settings"),
        (lambda: Policy(banned=frozenset([" "])), "no id"),
        (lambda: Policy(pairs=frozenset([("a", "a")])), "two articles"),
        (lambda: Policy(rules=({"name": "x"},)), "Rule"),
        (lambda: Policy(rules=(Rule("x", {"a": 1}, no_block=True),) * 2), "one name"),
    ],
)
def test_invalid_policies_are_refused(make, message):
    with pytest.raises(PolicyError, match=message):
        make()


def test_parts_of_a_policy_are_normalised():
    assert Settings(section="City", max_age="12m").section == ("City",)
    assert Rule(" x ", {"section": ["b", "b"], "paid": True}, no_block=True).where == (
        ("paid", ("true",)),
        ("section", ("b",)),
    )
    policy = Policy(pins={" a ": ["b", 7, "b"], "c": ()}, banned=["x"], pairs=[("b", "a")])
    assert (policy.pins, policy.banned, policy.pairs) == ({"a": ("b", "7")}, {"x"}, {("a", "b")})


@given(policies, ids, ids)
def test_removing_a_pin_or_ban_restores_the_policy(policy, first, second):
    if first not in policy.banned:
        assert policy.with_ban(first).without_ban(first) == policy
    if first != second:
        banned = policy.with_ban(first, second)
        assert banned == policy.with_ban(second, first) == banned.with_ban(first, second)
        assert not banned.without_ban(second, first).pairs & {(min(first, second), max(first, second))}
    assert first not in policy.without_pins(first).pins


def test_pins_keep_their_order_and_new_ones_come_first():
    policy = Policy().with_pins("a", ["b", "c"]).with_pins("a", ["d", "c"])
    assert policy.pins == {"a": ("d", "c", "b")}
    assert policy.without_pins("a", ["c"]).pins == {"a": ("d", "b")}
    with pytest.raises(PolicyError, match="itself"):
        policy.with_pins("a", ["a"])
    with pytest.raises(PolicyError, match="two articles"):
        policy.with_ban("a", "a")
    assert policy.with_pins(" a ", ["x"]).pins == {"a": ("x", "d", "c", "b")}
    assert policy.without_pins(" a").pins == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": 1}, "no block setting 'colour'"),
        ({"editorial": "maybe"}, "first, only, ignore"),
        ({"drop_near_duplicates": "yes"}, "true or false"),
        ({"diversity": 1.5}, "from 0 to 1"),
        ({"diversity": float("nan")}, "from 0 to 1"),
        ({"half_life": 0}, "more than 0"),
        ({"half_life": True}, "number"),
        ({"max_age": "soon"}, "12m"),
        ({"max_age": 3}, "12m"),
        ({"after": "someday"}, "no date for after"),
        ({"language": "klingonian"}, "no language"),
        ({"section": 5}, "list of texts"),
        ({"after": 20260101}, "no date"),
        ({"where": ["section", "City"]}, "no filter"),
        ({"where": [1, 2]}, "no filter"),
        ({"where": {"kind": {"a": 1}}}, "kind"),
        ({"where": {"kind": "x" * 201}}, "200"),
    ],
)
def test_invalid_settings_are_refused(options, message):
    with pytest.raises(PolicyError, match=message):
        Settings().updated(options)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "parts"),
        ({"pin": {}}, "parts"),
        ({"pins": []}, None),
        ({"pins": {"a": {"b": 1}}}, "list of ids"),
        ({"pins": {"a": ["b", "a"]}}, "itself"),
        ({"bans": {"article": []}}, "bans"),
        ({"bans": {"pairs": [["a"]]}}, "two ids"),
        ({"bans": {"pairs": [["a", "a"]]}}, "two articles"),
        ({"bans": {"articles": [True]}}, "no id"),
        ({"rules": {"name": "x"}}, "list"),
        ({"rules": [{"where": {"section": "x"}}]}, "name"),
        ({"rules": [{"name": "x", "no_block": True}]}, "about no articles"),
        ({"rules": [{"name": "x", "where": {"section": "y"}}]}, "does nothing"),
        ({"rules": [{"name": "x", "where": {"section": "y"}, "no_block": "yes"}]}, "true or false"),
        ({"rules": [{"name": "x", "where": {"section": "y"}, "colour": 1}]}, "unknown part"),
        ({"rules": [{"name": "x", "where": {"a": 1}, "no_block": True}] * 2}, "one name"),
    ],
)
def test_invalid_policy_records_are_refused(record, message):
    if message is None:
        assert Policy.from_record(record) == Policy()
        return
    with pytest.raises(PolicyError, match=message):
        Policy.from_record(record)


def test_matches_selects_articles_by_their_fields():
    article = Article(
        id="a", title="T", section="Deaths", tags=("x", "y"), metadata={"kind": ["n", 2], "paid": True, "no": None}
    )
    for where in (
        {"section": "Deaths"},
        {"tags": ["q", "y"]},
        {"kind": 2},
        {"kind": "n", "paid": True},
        {"paid": "true", "section": ["Quiz", "Deaths"]},
    ):
        assert matches(as_where(where), article), where
    for where in ({"section": "deaths"}, {"tags": "z"}, {"kind": "n", "paid": False}, {"no": "None"}, {"other": "x"}):
        assert not matches(as_where(where), article), where


def test_ages_and_dates_are_parsed():
    assert Settings().updated({"max_age": "12m"}).age == relativedelta(months=12)
    assert Settings().updated({"max_age": "6w"}).age == relativedelta(weeks=6)
    assert Settings().age is None
    assert moment("2026-03-05", "after") == moment(date(2026, 3, 5), "as_of") == datetime(2026, 3, 5, tzinfo=UTC)
    for day in ("5 March 2026", "20260305"):
        assert moment(day, "before") == moment("2026-03-05", "before") > moment(day, "after")
    assert subtract_age(datetime(2026, 3, 5, tzinfo=UTC), Settings().updated({"max_age": "3000y"}).age) is None
    for name in ("before", "now"):  # the whole day
        assert moment("2026-03-05", name) > datetime(2026, 3, 5, 23, 59, 59, tzinfo=UTC)
        assert moment(datetime(2026, 3, 5, 9), name) == datetime(2026, 3, 5, 9, tzinfo=UTC)
    assert Settings().updated({"after": date(2026, 3, 5)}).after == "2026-03-05T00:00:00+00:00"


def test_every_change_can_be_undone_and_redone(index_path, articles):
    with Recommender(index_path) as rec:
        rec.build(articles)
        with pytest.raises(PolicyError, match="no change"):
            rec.undo_policy()
        steps = [
            lambda: rec.pin("dam-1", "club-1"),
            lambda: rec.configure(diversity=0.5),
            lambda: rec.set_rule({"name": "x", "where": {"section": "club"}, "no_block": True}),
            lambda: rec.load_policy(Policy(banned=frozenset(["dam-2"]))),
            lambda: rec.load_policy({}),
        ]
        for step in steps:
            before = rec.policy
            step()
            after = rec.policy
            assert before != after
            assert rec.undo_policy() == before == Recommender(index_path).policy
            assert rec.undo_policy() == after
        assert rec.policy == Policy()


def test_a_policy_with_a_mutated_mapping_is_not_stored(rec):
    policy = Policy(pins={"a": ("b",)})
    policy.pins["b"] = ("b",)
    with pytest.raises(PolicyError, match="itself"):
        rec.load_policy(policy)
    assert rec.policy == Policy()


def test_a_damaged_policy_can_be_replaced(rec):
    rec.pin("dam-1", "club-1")
    with contextlib.closing(sqlite3.connect(rec.path / "articles.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE policy SET document = '{}'")
    with Recommender(rec.path) as again:
        with pytest.raises(IndexDamagedError, match="policy --load"):
            again.related("dam-1")
        again.load_policy(Policy(banned=frozenset(["dam-2"])))
        assert again.policy.banned == {"dam-2"}
        with pytest.raises(PolicyError, match="no change"):
            again.undo_policy()


def test_settings_and_ids_accept_any_iterable():
    options = {"tags": (tag for tag in "ab"), "section": {"c": 1}.keys(), "where": {"kind": (kind for kind in "de")}}
    settings = Settings().updated(options)
    assert (settings.tags, settings.section, settings.where) == (("a", "b"), ("c",), (("kind", ("d", "e")),))
    assert as_ids(id for id in (1, "2", "1")) == ("1", "2")


def test_settings_accept_numpy_scalars():
    settings = Settings(
        min_score=np.float32(0.5), half_life=np.int64(3), drop_near_duplicates=np.False_, language=np.str_("de")
    )
    assert settings == Settings(min_score=0.5, half_life=3, drop_near_duplicates=False, language="de")
    assert type(settings.min_score) is float
    with pytest.raises(PolicyError):
        Settings(diversity=np.float32("nan"))


@pytest.mark.parametrize("values", [None, {"a": 1}, 1.5, [None], [["a"]]])
def test_other_values_are_refused_as_ids(values):
    with pytest.raises(PolicyError):
        as_ids(values)
