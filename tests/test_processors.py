"""The blocks of the examples are the same on every processor: oneDNN can leave the newer instructions out."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

BLOCKS = """
import json, sys
from recommender import Recommender
with Recommender(sys.argv[1]) as rec:
    rec.build(sys.argv[2])
    texts = {text: rec.search(text, 3) for text in ("stolen painting", "who pays for lost customer data")}
    blocks = dict(rec.links(3)) | texts
print(json.dumps({id: [(link.id, link.score) for link in block] for id, block in blocks.items()}))
"""


def blocks(root, index, level=None):
    """Return the blocks of a fresh build of the examples, and two searches, by a process with these instructions."""
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    environment |= {"ONEDNN_MAX_CPU_ISA": level} if level else {}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS, index, root / "examples"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def of_this_machine(root, tmp_path_factory):
    return blocks(root, tmp_path_factory.mktemp("index") / "own")


@pytest.mark.parametrize("level", ["AVX2", "AVX512_CORE_VNNI"])
def test_blocks_and_answers_are_those_of_this_machine(root, tmp_path, of_this_machine, level):
    simulated = blocks(root, tmp_path / "index", level)
    assert simulated.keys() == of_this_machine.keys()
    for id, block in of_this_machine.items():
        assert [link for link, _ in simulated[id]] == [link for link, _ in block], id
        assert [score for _, score in simulated[id]] == pytest.approx([score for _, score in block], abs=0.02), id
