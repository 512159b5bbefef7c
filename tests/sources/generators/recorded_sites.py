"""Small sites for tests of generators, each a text file with the site's files and the pages that the generator wrote.

`=== PATH` begins a file of the site. `=== published by NAME VERSION` begins the recorded pages, a path per line.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_PUBLISHED = re.compile(r"^=== published by (.+)\n", re.M)
_FILE = re.compile(r"^=== (.+)\n", re.M)


def unpack(name, folder):
    """Write the files of a site into a folder."""
    text = _PUBLISHED.split((FOLDER / f"{name}.txt").read_text(encoding="utf-8"))[0]
    _, *parts = _FILE.split(text)
    for path, content in zip(parts[::2], parts[1::2], strict=True):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


def published(name):
    """Return the recorded pages of a site: paths from the root of the output, `/docs/` for `docs/index.html`."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("=== published by ")[1].splitlines()[1:]


def record(name, version, pages):
    """Replace the recorded pages of a site."""
    path = FOLDER / f"{name}.txt"
    files = _PUBLISHED.split(path.read_text(encoding="utf-8"))[0]
    path.write_text(f"{files}=== published by {name} {version}\n" + "".join(f"{page}\n" for page in pages), "utf-8")


def pages_of(output):
    """Return the pages in an output folder, as `published` does."""
    paths = sorted(f"/{path.relative_to(output).as_posix()}" for path in output.rglob("*.html"))
    return [re.sub(r"(?<=/)index\.html$", "", path) for path in paths]
