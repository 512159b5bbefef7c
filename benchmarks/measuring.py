"""What several benchmarks need: the machine in a line, clocks around functions, an archive as one file, memory."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from recommender.sources import Source

EXAMPLES = Path(__file__).parent.parent / "examples"
COMMAND = ("-m", "recommender")  # the command, of the Python that runs the benchmark


def machine() -> str:
    """Say what the benchmark runs on."""
    import openvino
    from loky import cpu_count

    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    name = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
    return f"{name}, {platform.machine()}, {cpu_count()} cores, {'with' if 'BF16' in able else 'without'} bf16"


class Clock:
    """Adds up the time that calls of a function take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def around(self, function: Callable) -> Callable:
        """Return the function, timed."""

        def timed(*arguments: object, **options: object) -> object:
            with self.running():
                return function(*arguments, **options)

        return timed


def as_one_file(archive: Path, limit: int | None, file: Path) -> int:
    """Write the articles of any source to a JSON Lines file; return how many."""
    count = 0
    with file.open("w", encoding="utf-8") as out:
        for article in islice((entry.article for entry in Source(archive) if entry.article), limit):
            record = {
                "id": article.id,
                "title": article.title,
                "text": article.text,
                "url": article.url,
                "published": article.published.isoformat() if article.published else None,
                "section": article.section,
                "tags": list(article.tags),
                "language": article.language,
                "related": list(article.related),
            }
            out.write(json.dumps({name: value for name, value in record.items() if value}) + "\n")
            count += 1
    return count


def memory(process: str = "self") -> dict[str, float]:
    """Return what a process holds now, and its peak, in MB: anonymous memory, mapped files, the peak of both."""
    # Not getrusage, whose peak a process takes over from the one that starts it.
    lines = (line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines())
    kilobytes = {parts[0].rstrip(":"): int(parts[1]) / 1024 for parts in lines if parts[-1] == "kB"}
    return {"anonymous": kilobytes["RssAnon"], "mapped": kilobytes["RssFile"], "peak": kilobytes["VmHWM"]}
