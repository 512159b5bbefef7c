"""The report of an evaluation: one self-contained HTML page."""

from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np

from recommender.errors import RecommenderError

BINS = 25
COLOURS = ("#7a8b99", "#c98b2b", "#1f6f8b", "#3f7d3a", "#8b3a62")


def check() -> None:
    """Raise RecommenderError if the packages for a report are not installed."""
    for name in ("jinja2", "pygal"):
        if not find_spec(name):
            raise RecommenderError(f"A report needs {name}, which is not installed: pip install 'recommender[report]'.")


def render(record: dict[str, Any], *, index: str) -> str:
    """Return the page.

    Args:
        record: the result of `Evaluation.to_record`.
        index: the name of the index.

    Raises:
        RecommenderError: a package for the report is not installed.
    """
    check()
    import pygal  # noqa: PLC0415 - an extra

    options = chart_options()
    methods = record["methods"]

    quality = pygal.Bar(**options, title="Quality, with 95 % confidence intervals", range=(0, 1))
    quality.x_labels = list(methods["both"]["measures"])
    for name, method in methods.items():
        quality.add(
            name,
            [
                {"value": round(estimate["mean"], 4), "ci": {"low": estimate["low"], "high": estimate["high"]}}
                for estimate in method["measures"].values()
            ],
        )

    evenness = pygal.XY(
        **options,
        title="Share of all links that lead to the least recommended articles",
        x_title="share of the articles, the least recommended first",
        show_dots=False,
        range=(0, 1),
    )
    for name, method in methods.items():
        shares = method["usage"]["shares"]
        evenness.add(name, [(number / (len(shares) - 1), share) for number, share in enumerate(shares)])

    spread = pygal.Histogram(
        **options, title="Scores of pairs of articles", x_title="score", y_title="share of the pairs", xrange=(0, 1)
    )
    edges = np.linspace(0.0, 1.0, BINS + 1)
    for name, scores in reversed(record["scores"].items()):
        if scores:
            counts, _ = np.histogram(scores, bins=edges)
            bars = zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
            spread.add(
                f"{name} ({len(scores):,})", [(round(count / len(scores), 4), low, high) for count, low, high in bars]
            )

    quantiles = {
        name: [round(float(value), 2) for value in np.percentile(scores, [1, 5, 50, 95, 99])]
        for name, scores in record["scores"].items()
        if scores
    }
    charts = {"evenness": evenness, "spread": spread} | ({"quality": quality} if record["queries"] else {})
    return render_template(
        "report.html",
        index=index,
        record=record,
        example_method=list(methods)[-1],
        charts={name: chart.render_data_uri() for name, chart in charts.items()},
        quantiles=quantiles,
        titles=record["titles"],
    )


def chart_options() -> dict[str, Any]:
    """Return the options of all charts of reports."""
    from pygal.style import Style  # noqa: PLC0415 - an extra

    style = Style(
        background="white",
        plot_background="white",
        colors=COLOURS,
        font_family="sans-serif",
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=14,
        title_font_size=16,
        value_font_size=12,
    )
    # No script, so that the page needs no network.
    return {
        "style": style,
        "js": (),
        "width": 900,
        "height": 420,
        "explicit_size": True,
        "legend_at_bottom": True,
        "legend_at_bottom_columns": 3,
        "margin_bottom": 60,  # else a legend below the title of an axis is cut off
    }


def render_template(name: str, **values: Any) -> str:
    """Return a page from a template of this package."""
    import jinja2  # noqa: PLC0415 - an extra

    template = files("recommender.evaluation").joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page: str = environment.from_string(template).render(**values)
    return page
