"""Make an archive with editorial links of the documentation in installed packages.

    python benchmarks/docstrings.py OUT.jsonl [PACKAGE ...]

An article is the docstring of a public function, class or method; its editorial links are what stands under "See
Also" in it, which is taken out of the text. Packages whose docstrings follow numpydoc give the most; the default are
numpy, scipy and sklearn, which come with this project. More can be installed beside it, for example pandas,
scikit-image, statsmodels, networkx, xarray, astropy and matplotlib. The docstrings are parsed with numpydoc
(`pip install numpydoc`).
"""

import argparse
import importlib
import inspect
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from numpydoc.docscrape import NumpyDocString

PACKAGES = ["numpy", "scipy", "sklearn"]
NOT_PUBLIC = {"tests", "conftest", "testing", "externals", "setup"}
SHORTEST = 80  # characters of a docstring that says something
ALIASES = {"np.": "numpy.", "pd.": "pandas.", "sp.": "scipy."}


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("packages", nargs="*", default=PACKAGES)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    name_of: dict[int, str] = {}  # one object may be reached by several names; the first is its id
    canonical: dict[str, str] = {}
    articles: dict[str, tuple[str, list[str]]] = {}
    modules = []  # so that no id() is given out twice
    for package in options.packages:
        for name, thing in things(package):
            first = name_of.setdefault(id(thing), name)
            canonical[name] = first
            modules.append(thing)
            if first == name and (parsed := text_and_links(thing)):
                articles[name] = parsed
    links = 0
    with options.out.open("w", encoding="utf-8") as file:
        for name, (text, targets) in articles.items():
            resolved_names = (resolved(name, target, canonical) for target in targets)
            related = [target for target in dict.fromkeys(resolved_names) if target in articles and target != name]
            links += len(related)
            record = {"id": name, "title": name.replace(".", " "), "text": text, "related": related}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    print(f"{len(articles):,} articles with {links:,} editorial links written to {options.out}.")


def things(package: str) -> Iterator[tuple[str, object]]:
    """Give the public functions, classes, methods and properties of a package with their full names."""
    root = importlib.import_module(package)
    folder = Path(root.__path__[0])
    names = [package]
    for path in sorted(folder.rglob("*.py")):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        hidden = any(part.startswith(("_", "test_")) or part in NOT_PUBLIC for part in parts)
        if len(parts) > 1 and not hidden:
            names.append(".".join(parts))
    for name in names:
        try:
            module = importlib.import_module(name)
            members = list(getattr(module, "__all__", None) or (key for key in vars(module) if key[0] != "_"))
            members_found = [(key, getattr(module, key, None)) for key in members]
        except BaseException as error:  # some modules stop the process where a library is missing
            print(f"passed over {name}: {error!r}"[:100], file=sys.stderr)
            continue
        for key, thing in members_found:
            ours = str(getattr(thing, "__module__", "")).startswith(package)
            if inspect.ismodule(thing) or not callable(thing) or not ours:
                continue
            yield f"{name}.{key}", thing
            if inspect.isclass(thing):
                for member, part in vars(thing).items():
                    if member[0] != "_" and (inspect.isfunction(part) or isinstance(part, property)):
                        yield f"{name}.{key}.{member}", part


def text_and_links(thing: object) -> tuple[str, list[str]] | None:
    """Return a docstring without its "See Also", and what stands there; None if there is no docstring to speak of."""
    try:
        docstring = inspect.getdoc(thing)
        if not docstring or len(docstring) < SHORTEST:
            return None
        parsed = NumpyDocString(docstring)
    except Exception:  # any property of any package may raise anything when it is looked at; it gives no article
        return None
    targets = [name for names, _ in parsed["See Also"] for name, _ in names]
    parsed["See Also"] = []
    return str(parsed), targets


def resolved(source: str, target: str, canonical: dict[str, str]) -> str | None:
    """Return the id that a name means where it stands: as a full name, or within the source's own modules."""
    target = target.lstrip("~.")
    for short, full in ALIASES.items():
        target = full + target.removeprefix(short) if target.startswith(short) else target
    parts = source.split(".")
    tries = [target, *(".".join([*parts[:end], target]) for end in range(len(parts) - 1, 0, -1))]
    return next((canonical[name] for name in tries if name in canonical), None)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    main()
