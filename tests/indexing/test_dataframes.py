from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recommender import Recommender, SourceError, SourceWarning

COLUMNS = {
    "id": ["1", "2", "3"],
    "Title": ["Ferry sails", "Pier stands", None],
    "text": ["It sailed on the river.", None, "It broke."],
    "published": [date(2026, 3, 1), None, date(2026, 3, 3)],
    "tags": [["sea", "port"], None, []],
    "views": [5, None, 7],
}


@pytest.fixture
def rec(tmp_path, fake_vectors):
    with Recommender(tmp_path / "index") as rec:
        yield rec


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(COLUMNS),
        pd.DataFrame(COLUMNS).set_index("id"),
        pd.DataFrame(COLUMNS).set_index(["id", "Title"]),
        pl.DataFrame(COLUMNS),
        pl.LazyFrame(COLUMNS),
        pa.table(COLUMNS),
        [pd.DataFrame(COLUMNS)[:1], pd.DataFrame(COLUMNS)[1:]],
    ],
    ids=["pandas", "index", "levels", "polars", "lazy", "arrow", "chunks"],
)
def test_dataframes(rec, frame):
    assert rec.build(frame).added == 3
    first, second, third = rec
    assert (first.id, first.title, first.text, first.tags) == (
        "1", "Ferry sails", "It sailed on the river.", ("sea", "port"),
    )  # fmt: skip
    assert first.published.date() == date(2026, 3, 1)
    assert (second.published, second.text, second.tags, dict(second.metadata)) == (None, "", (), {})
    assert (third.title, third.metadata["views"]) == ("It broke.", 7)
    assert rec.add(frame).unchanged == 3


def test_values_of_pandas_and_numpy(rec):
    frame = pd.DataFrame(
        {
            "nr": [1, 2, np.nan],  # so that all are floats
            "headline": np.array(["A", "B", "C"], dtype=object),
            "when": [pd.Timestamp("2026-03-01"), pd.NaT, pd.NaT],
            "kw": [np.array(["x", "y"]), {"b", "a"}, ("t",)],
            "section": pd.Categorical(["News", None, "News"]),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "flag": np.array([True, False, True]),
            "score": np.array([1.5, np.nan, np.inf], dtype=np.float32),
        }
    )
    fields = {"id": "nr", "title": "headline", "published": "when", "tags": "kw", "url": "/n/{nr}"}
    with pytest.warns(SourceWarning, match=r"Skipped df\.iloc\[2\]: it has neither an id nor a url") as warned:
        report = rec.build(frame, fields=fields)
    assert next(warning.filename for warning in warned if warning.category is SourceWarning) == __file__
    assert (report.added, report.skipped) == (2, 1)
    assert report.problems == [str(warned[0].message)]
    first, second = rec
    assert (first.id, first.url, first.tags, first.section) == ("1", "/n/1", ("x", "y"), "News")
    assert (second.id, second.published, second.tags, second.section) == ("2", None, ("a", "b"), None)
    assert dict(first.metadata) == {"count": 1, "flag": True, "score": 1.5}
    assert dict(second.metadata) == {"flag": False}


def test_an_index_without_a_name_is_no_field(rec):
    with pytest.raises(SourceError, match="neither an id"):
        rec.build(pd.DataFrame({"title": ["A"]}, index=["a"]))
    assert rec.build(pd.DataFrame({"title": ["A"]}, index=pd.Index(["a"], name="ID"))).added == 1
    assert rec.build(pd.DataFrame({"id": ["b"], "title": ["B"]}).set_index("id", drop=False)).added == 1


def test_the_exception_names_the_fields_and_the_argument(rec):
    frame = pd.DataFrame({"nr": range(100), "headline": "A", "body": "B"})
    message = r"\(100 skipped\).* Its fields are nr, headline, body\. .*fields=\{'id': 'nr', 'title': 'headline', "
    with pytest.raises(SourceError, match=message):
        rec.build(frame)
    with pytest.raises(SourceError, match="it has no field 'headlin'; its fields are nr, headline, body"):
        rec.build(frame, fields={"id": "nr", "title": "headlin"})
    assert rec.build(frame, fields={"title": "headline"}, id_field="nr").added == 100
    with pytest.raises(SourceError, match="neither an id"):  # of an index that exists too
        rec.add(frame)


def test_a_warning_is_issued_again_where_the_same_line_runs_again(rec, recwarn):
    for _ in range(2):
        rec.add([{"id": "a", "title": "A"}, {"id": "b"}, {"id": "c"}])
    assert len(recwarn) == 2
    assert str(recwarn[0].message) == str(recwarn[1].message)
    assert str(recwarn[1].message).endswith("… and 1 more (article 3): article '…' has neither a title nor a text.")


def test_no_warning_with_a_problem_callback(rec, recwarn):
    problems = []
    report = rec.add([{"id": "a", "title": "A"}, {"id": "b"}, {"id": "c"}], on_problem=problems.append)
    assert len(recwarn) == 0
    assert [" ".join(problems)] == report.problems


def test_a_column_is_no_dataframe(rec):
    assert rec.build(pd.Series([{"id": "a", "title": "A"}])).added == 1
    with pytest.raises(SourceError, match="of type str"):
        rec.build(pd.Series(["A"]))


@pytest.mark.parametrize("name", ["id", "title", "published", "status", "deleted", "tags", "views"])
def test_a_record_with_a_number_too_long_for_a_text_costs_itself_alone(rec, name):
    odd = {"id": "odd", "title": "t", name: 10**5000}
    problems = []
    report = rec.add([{"id": "a", "title": "A"}, odd, {"id": "b", "title": "B"}], on_problem=problems.append)
    assert (report.added, report.skipped) == (2, 1)
    assert "a number of thousands of digits" in problems[0]
