"""Speed against quality: the usual script, and `recommender build` with the default model, int8 and a static one.

    python benchmarks/profiles.py [ARCHIVE] [--qrels FILE] [--chart FILE.svg]

ARCHIVE is any source of `recommender build`; the default is the examples. The truth are the archive's own editorial
links, or a file of judgements. Each way is a process of its own, imports included, over all articles, one after the
other. Quality is nDCG@10 of what each ranks first: by the vectors alone in the usual script (usual.py), by the whole
score, plain, in the others. The converted models and the static one stand in the cache before anything is timed.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import faiss
from build import timed
from measuring import COMMAND, EXAMPLES, as_one_file, machine
from quality import mean, ranked, truth

from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder
from recommender.evaluation.qrels import Judgements
from recommender.ranking.scoring import BOTH
from recommender.store import LocalStore

USUAL = "the usual script"
PROFILES = (DEFAULT_MODEL, "int8", "static")


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--qrels", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / "archive.jsonl"
        count = as_one_file(options.archive, None, file)
        model = DenseEncoder().folder
        for profile in PROFILES:
            DenseEncoder(profile).encode_query("put the model into the cache")
        script = [sys.executable, Path(__file__).with_name("usual.py")]
        times = {USUAL: timed([*script, "build", file, folder / "usual", "--model", model])}
        for profile in PROFILES:
            command = [sys.executable, *COMMAND, "build", file, "--index", folder / profile, "--model", profile]
            times[profile] = timed(command)
        judged = truth(LocalStore(folder / DEFAULT_MODEL), options.qrels)
        quality = {USUAL: mean(judged, nearest(folder / "usual", judged))}
        for profile in PROFILES:
            quality[profile] = mean(judged, ranked(LocalStore(folder / profile), judged, {"": BOTH})[""])

        print(f"{count:,} articles of {options.archive.name}, {len(judged):,} queries; {machine()}\n")
        print(f"{'':24}{'seconds':>9}{'articles/s':>12}{'ratio':>8}{'nDCG@10':>10}{'ratio':>8}")
        for way, seconds in times.items():
            ratios = times[USUAL] / seconds, quality[way] / quality[USUAL]
            columns = f"{ratios[0]:8.2f}{quality[way]:10.4f}{ratios[1]:8.3f}"
            print(f"{way:24}{seconds:9.1f}{count / seconds:12.1f}{columns}")
        if options.chart:
            chart(options.chart, {way: (count / times[way], quality[way]) for way in times}, options.archive.name)


def nearest(folder: Path, judged: Judgements) -> dict[str, list[str]]:
    """Return what the usual script ranks first for each query."""
    index = faiss.read_index(str(folder / "vectors.faiss"))
    ids = [id for id, _ in json.loads((folder / "articles.json").read_text(encoding="utf-8"))]
    row_of = {id: number for number, id in enumerate(ids)}
    blocks = {}
    for id in judged:
        if id in row_of:
            _, (neighbours,) = index.search(index.reconstruct(row_of[id])[None], 11)
            blocks[id] = [ids[number] for number in neighbours.tolist() if number >= 0 and ids[number] != id][:10]
    return blocks


def chart(file: Path, points: dict[str, tuple[float, float]], archive: str) -> None:
    """Draw the ways as points."""
    import pygal

    drawn = pygal.XY(
        title=f"Speed against quality ({archive})",
        x_title="articles built a second, logarithmic",
        y_title="nDCG@10",
        range=(0.9 * min(y for _, y in points.values()), 1.05 * max(y for _, y in points.values())),
        x_labels=[math.log10(rate) for rate in (10, 30, 100, 300, 1000, 3000, 10_000)],
        x_value_formatter=lambda power: f"{10**power:,.0f}",
        width=900,
        height=460,
        dots_size=7,
        stroke=False,
        js=[],
    )
    for name, (x, y) in points.items():
        drawn.add(name, [{"value": (math.log10(x), y), "label": f"{x:,.0f} articles/s, {y:.3f}"}])
    drawn.render_to_file(str(file))


if __name__ == "__main__":
    main()
