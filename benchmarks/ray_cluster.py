"""How fast an index is built on a Ray cluster, whether it is the same, and what becomes of it if a machine is lost.

    python benchmarks/ray_cluster.py [ARCHIVE] [--limit N] [--model NAME]

ARCHIVE is any source of `recommender build`; the default is the examples. Clusters of one, two and three nodes with one
core each run on this machine, as processes (`ray.cluster_utils.Cluster`), so that more nodes than cores share them. In
the last run a node is killed once a third of the articles are embedded. `start` is the time until the first articles
come, with Ray's own; `rate` is of the time after it. Every index is compared with the one that a build
without a cluster makes: ids, articles, terms, vectors (the largest difference of a number), and the ranking of all.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from measuring import EXAMPLES, machine

from recommender import Progress, Recommender
from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder
from recommender.store import LocalStore


@dataclass
class Run:
    """One build, watched: call it with its progress."""

    then: Callable[[], None] | None = None  # done once, when a third of the articles are embedded
    limit: int = 0
    started: float = field(default_factory=time.perf_counter)
    first: float = 0.0  # seconds until the first articles came
    before: int = 0  # that came at once
    last: float = 0.0

    def __call__(self, progress: Progress) -> None:
        """Note when articles come."""
        now = time.perf_counter() - self.started
        if progress.stage == "reading" and progress.articles and not self.first:
            self.first, self.before = now, progress.articles
        if progress.stage == "reading":
            self.last = now
        if self.then and progress.embedded >= self.limit / 3:
            self.then()
            self.then = None


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--limit", type=int, help="use this many articles only")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    print(f"{options.archive.name}; {machine()}\n")
    DenseEncoder(options.model).model  # noqa: B018 - into the cache
    header = f"{'':34}{'articles':>9}{'seconds':>9}{'start':>8}{'rate':>8}{'ratio':>7}  result"
    print(header, flush=True)
    with tempfile.TemporaryDirectory() as name:
        plain = Path(name, "plain")
        rate, count = build(options, plain, "without a cluster", None, None)
        for nodes in (1, 2, 3):
            with Cluster(nodes) as cluster:
                label = f"{nodes} {'node' if nodes == 1 else 'nodes'} with one core each"
                build(options, Path(name, f"ray-{nodes}"), label, cluster, plain, rate)
        with Cluster(3) as cluster:
            lose = Run(cluster.lose_one, count)
            build(options, Path(name, "ray-lost"), "3 nodes, one of them killed", cluster, plain, rate, lose)


class Cluster:
    """Nodes with one core each, as processes of this machine."""

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster as Nodes

        self._cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._added_nodes = [self._cluster.add_node(num_cpus=1) for _ in range(nodes - 1)]
        self.address: str = self._cluster.address

    def __enter__(self) -> "Cluster":
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all nodes."""
        self._cluster.shutdown()

    def lose_one(self) -> None:
        """Kill a node and all that runs on it; not the one by which this process belongs to the cluster."""
        import ray

        driver_node = ray.get_runtime_context().get_node_id()
        lost = next(node for node in self._added_nodes if node.node_id != driver_node)
        self._added_nodes.remove(lost)
        self._cluster.remove_node(lost, allow_graceful=False)


def build(
    options: argparse.Namespace,
    index: Path,
    label: str,
    cluster: Cluster | None,
    plain: Path | None,
    bare: float = 0.0,
    run: Run | None = None,
) -> tuple[float, int]:
    """Build, print a line, and return the rate and how many articles there were."""
    run = run or Run()
    run.started = time.perf_counter()
    with Recommender(index, model=options.model) as rec:
        report = rec.build(
            options.archive, limit=options.limit, ray=cluster.address if cluster else None, on_progress=run
        )
    rate = (report.articles - run.before) / max(run.last - run.first, 1e-9)
    ratio = f"{rate / bare:7.2f}" if bare else f"{1:7.2f}"
    result = compared(plain, index) if plain else ""
    print(
        f"{label:34}{report.articles:9,}{report.seconds:9.1f}{run.first:8.1f}{rate:8.1f}{ratio}  {result}", flush=True
    )
    return rate, report.articles


def compared(first: Path, second: Path) -> str:
    """Say how two indexes differ."""
    stores = LocalStore(first), LocalStore(second)
    ids = [list(store.ids()) for store in stores]
    if ids[0] != ids[1]:
        return f"other ids ({len(set(ids[0]) ^ set(ids[1])):,})"
    hashes = [{id: stamp.record_hash for id, stamp in store.content_hashes(ids[0]).items()} for store in stores]
    if hashes[0] != hashes[1]:
        return "other articles"
    most, remaining_ids = 0.0, iter(ids[0])
    while page := list(islice(remaining_ids, 512)):
        vectors, terms = zip(*(signals(store, page) for store in stores), strict=True)
        if terms[0] != terms[1]:
            return "other terms"
        most = max(most, float(np.abs(vectors[0] - vectors[1]).max()))
    links = []
    for path in (first, second):
        with Recommender(path) as rec:
            blocks = rec.links(plain=True)
            links.append({id: [(link.id, round(link.score, 2)) for link in block] for id, block in blocks})
    unlike = sum(links[0][id] != links[1][id] for id in links[0])
    return f"equal; vectors to {most:.1g}; {unlike:,} rankings differ"


def signals(store: LocalStore, ids: list[str]) -> tuple[np.ndarray, list[object]]:
    """Return vectors and terms of articles, in their order."""
    stored = store.signals(ids)
    names = store.terms([int(number) for number in set(stored.term_ids.tolist())])
    terms: list[dict[str, int]] = [{} for _ in stored.ids]
    for row, number, frequency in zip(stored.rows, stored.term_ids, stored.frequencies, strict=True):
        terms[row][names[int(number)]] = int(frequency)
    order = [stored.ids.index(id) for id in ids]
    return stored.vectors[order], [(terms[position], stored.languages[position]) for position in order]


if __name__ == "__main__":
    main()
