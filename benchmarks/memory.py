"""How much memory a build takes as its archive grows: from megabytes to more than fits in memory.

    python benchmarks/memory.py [--sizes 10 100 1000 5000] [--article 100] [--folder DIR]

For each size in MB a JSON Lines file is made of articles of so many KB (words drawn as in generated.py), and built by
`recommender build --model static`, a process of its own. While it runs, its anonymous memory and that of the processes
that it starts is added up ten times a second; mapped files, which the system takes back when it needs room, are not
counted. The default folder is temporary; 5 GB take twenty minutes and 16 GB of disk. (Linux only.)
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import generated
import numpy as np
from measuring import COMMAND, machine

WORDS = 50_000  # of the vocabulary


def main() -> None:
    """Make, build and measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 5000])
    parser.add_argument("--article", type=int, default=100)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(f"{machine()}\n\n{'MB':>8}{'articles':>12}{'peak, MB':>12}{'seconds':>10}", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for size in options.sizes:
            file = Path(name, f"{size}.jsonl")
            count = write(file, size * 1_000_000, options.article * 1000)
            seconds, peak = measured(["build", str(file), "--model", "static", "--index", f"{name}/{size}"])
            print(f"{file.stat().st_size / 1e6:>8,.0f}{count:>12,}{peak:>12,.0f}{seconds:>10,.0f}", flush=True)
            file.unlink()


def write(file: Path, size: int, length: int) -> int:
    """Write articles of so many characters to a file of so many bytes; return how many."""
    draw = np.random.default_rng(0)
    words = np.array([generated.word(rank) for rank in range(WORDS)], dtype=object)
    chances = (np.arange(WORDS) + generated.SHIFT) ** -generated.SLOPE
    sums = np.cumsum(chances / chances.sum())
    mean = float(np.mean([len(word) for word in words[:1000]])) + 1
    count = 0
    with file.open("w", encoding="utf-8") as out:
        while out.tell() < size:
            text = " ".join(words[np.searchsorted(sums, draw.random(int(length / mean)))])
            out.write(json.dumps({"id": f"{count:08}", "title": text[:60], "text": text, "language": "en"}) + "\n")
            count += 1
    return count


def measured(arguments: list[str]) -> tuple[float, float]:
    """Run the command; return how long it took and the most anonymous memory at a time, in MB."""
    started, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, *COMMAND, *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - started, peak


def anonymous(process: int) -> float:
    """Return the anonymous memory of a process and of those that it started, in MB."""
    try:
        match = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it has just ended
        return 0.0
    return (int(match[1]) / 1024 if match else 0.0) + sum(anonymous(int(child)) for child in children)


if __name__ == "__main__":
    main()
