"""The example of the README runs, and all documented command lines use options that exist."""

import re
import shutil
import subprocess
import sys

import pytest

from recommender.cli.main import main

COMMAND = re.compile(r"^ {4}(?:\$ )?(recommender .*)$|`(recommender [a-z]+ [^`]*)`|&& (recommender .*)$", re.MULTILINE)


def test_the_example_prints_what_the_readme_shows(root, tmp_path):
    code, output = re.search(
        r"^```python\n(.*?)^```\n\n((?: {4}[^\n]*\n)+)", (root / "README.md").read_text(encoding="utf-8"), re.M | re.S
    ).groups()
    shutil.copytree(root / "examples", tmp_path / "examples")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    expected = [line.strip() for line in output.splitlines()]
    for line, readme_line in zip(result.stdout.splitlines(), expected, strict=True):
        if score := re.match(r"0\.\d\d  ", readme_line):  # each processor has its own last digits
            assert float(line[:4]) == pytest.approx(float(score[0]), abs=0.02)
            line, readme_line = line[6:], readme_line[6:]  # noqa: PLW2901
        assert line == readme_line


def documented_commands(root):
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        for groups in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield page.relative_to(root), next(filter(None, groups))


def test_documented_commands_use_options_that_exist(root):
    unknown = []
    for page, line in documented_commands(root):
        command, _, _ = re.sub(r'"[^"]*"?', "TEXT", line).partition("#")
        words = re.split(r"&&|[|>;]", command)[0].replace("[", " ").replace("]", " ").split()[1:]
        name = words[0].rstrip(",.:") if words else ""
        if not name.isalpha() or name.isupper():
            continue
        if name not in main.commands:
            unknown.append(f"{page}: {line}")
            continue
        parameters = main.commands[name].params
        options = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words[1:]:
            option = word.partition("=")[0].rstrip(",.:")
            if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in {*options, "--help"}:
                unknown.append(f"{page}: {line}: {option}")
    assert unknown == []
