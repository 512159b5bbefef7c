"""Short runs of run.py and damage.py; `make torture` has long ones."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def run(*arguments: str, program: str = "run.py") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, Path(__file__).parent / program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nothing_is_lost_when_a_writer_is_killed_the_power_goes_or_the_disk_is_full():
    output = run("--kills", "8", "--power", "8", "--full", "6", "--seed", "7")
    assert output.returncode == 0, output.stdout
    assert "0 failures" in output.stdout


@pytest.mark.parametrize(
    ("fault", "tried", "not_tried"),
    [
        ("two transactions", "--kills", "--power"),
        ("no sync of database", "--power", "--kills"),
        ("no sync of files", "--power", "--kills"),
    ],
)
def test_an_injected_fault_is_detected(fault, tried, not_tried):
    output = run(tried, "1", not_tried, "0", "--full", "0", "--fault", fault)
    assert output.returncode == 1, output.stdout
    assert "1 failures." in output.stdout


def test_a_damaged_index_gives_the_same_answers_or_says_what_is_damaged():
    output = run("--flips", "8", "--damages", "40", "--seed", "1", program="damage.py")
    assert output.returncode == 0, output.stdout
    assert "0 failures" in output.stdout
