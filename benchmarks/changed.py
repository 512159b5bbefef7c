"""What `links --changed` costs after a delta, and how it differs from a full pass.

    python benchmarks/changed.py [ARCHIVE] [--new 20] [-k 10] [--index DIR]

ARCHIVE is any source of `recommender build`; the default is the examples. --index names a built index of it, which is
copied; without it one is built. The last --new articles (by id, drawn with a fixed seed) are taken out, the state is
made, they are added again, and the changed blocks are made.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import EXAMPLES

from recommender import Recommender


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--index", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index, state = Path(folder) / "index", Path(folder) / "state"
        if options.index:
            shutil.copytree(options.index, index)
        with Recommender(index) as rec:
            if not options.index:
                rec.build(options.archive)
            ids = [article.id for article in rec]
            chosen = np.random.default_rng(0).permutation(len(ids))[: options.new]
            new = [rec.get(ids[place]) for place in sorted(chosen.tolist())]
            rec.remove(*(article.id for article in new))
            first = run(rec, state, options.k)
            published = dict(first[0])
            seconds = clock(lambda: rec.add([article for article in new if article]))
            print(f"{len(rec):,} articles; adding {len(new)} took {seconds:.1f} s\n")
            changed = run(rec, state, options.k)
            published |= changed[0]
            full = run(rec, state, options.k, full=True)
            everything = published | full[0]
        print(f"{'':10}{'blocks made':>14}{'written':>10}{'seconds':>10}")
        for name, (blocks, made, took) in {"first": first, "changed": changed, "full": full}.items():
            print(f"{name:10}{made:14,}{len(blocks):10,}{took:10.1f}")
        came = {article.id for article in new if article}
        differ = [id for id, block in everything.items() if block != published[id]]
        links = sum(len(block) for block in everything.values())
        shared = sum(len(set(block) & set(published[id])) for id, block in everything.items())
        lack = sum(bool(came & (set(everything[id]) - set(published[id]))) for id in everything)
        print(f"\nwithout the full pass {len(differ):,} of {len(everything):,} blocks differ in their links or order,")
        print(f"{100 * shared / max(links, 1):.2f} % of the links are the same, and {lack:,} blocks lack a new article")
        print(f"changed took {changed[2] / full[2]:.3f} of the time of a full pass")


def run(rec: Recommender, state: Path, k: int, *, full: bool = False) -> tuple[dict[str, list[str]], int, float]:
    """Return the blocks that differ, how many were made, and how long it took."""
    start = time.perf_counter()
    with rec.changed_links(state, k, full=full) as changes:
        blocks = {id: [link.id for link in block] for id, block in changes.blocks}
    print(changes.sentence())
    return blocks, changes.made, time.perf_counter() - start


def clock(call) -> float:
    """Return how long a call takes, in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
