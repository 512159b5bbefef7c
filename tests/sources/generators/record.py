"""Build the sites of the tests with the real generators, and record the addresses that they publish.

    python tests/sources/generators/record.py [SITE...]             write sites/SITE.tsv
    python tests/sources/generators/record.py --check [SITE...]     compare with it instead

A site is one file, sites/SITE.txt, with its files below lines of `-- path --`. Its templates print the address and the
source of every page as `@@address|source@@`, without a source on lists. The generators are looked up in
.cache/generators (see `make test-generators`), then on the PATH; a site whose generator is missing is passed over.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

FOLDER = Path(__file__).parent / "sites"
CACHE = Path(__file__).parents[3] / ".cache" / "generators"
# Of each generator: the folder of its output, and the commands that print its version and build a site.
GENERATORS = {
    "hugo": ("public", ["hugo", "version"], ["hugo", "--quiet"]),
    "jekyll": ("_site", ["jekyll", "--version"], ["jekyll", "build", "--quiet"]),
    "hexo": ("public", ["hexo", "version"], ["hexo", "generate", "--silent"]),
    "mkdocs": ("site", ["mkdocs", "--version"], ["mkdocs", "build", "--quiet"]),
    "pelican": ("output", ["pelican", "--version"], ["pelican", "-q", "-s", "publishconf.py", "content"]),
}
_FILE = re.compile(r"^-- (.+) --\n", re.M)
_MARK = re.compile(r"@@([^|]*)\|(.*?)@@")


def generator_of(site: str) -> str:
    """Return the generator of a site: `hugo` of `hugo_ugly`."""
    return site.partition("_")[0]


def unpack(site: str, folder: Path) -> None:
    """Write the files of a site into a folder."""
    parts = _FILE.split((FOLDER / f"{site}.txt").read_text(encoding="utf-8"))
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def recorded(site: str) -> dict[str, str]:
    """Return the recorded source of each address of a site; "" for a list."""
    lines = (FOLDER / f"{site}.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if not line.startswith("#"))


def published(site: str) -> tuple[str, dict[str, str]] | None:
    """Build a site; return the generator's version and the source of each address; None without the generator."""
    output, version_command, command = GENERATORS[generator_of(site)]
    path = os.pathsep.join([str(CACHE / "bin"), str(CACHE / "node_modules" / ".bin"), os.environ["PATH"]])
    if not shutil.which(command[0], path=path):
        return None
    zone = re.search(r"^timezone: (\S+)", (FOLDER / f"{site}.txt").read_text(encoding="utf-8"), re.M)
    # Hexo shifts dates by the difference between the time zones of the site and of the machine.
    environment = {**os.environ, "PATH": path, "TZ": zone[1] if zone else "UTC", "NO_MKDOCS_2_WARNING": "1"}
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        unpack(site, folder)
        if (CACHE / "node_modules").is_dir():
            (folder / "node_modules").symlink_to(CACHE / "node_modules")
        if not (folder / "publishconf.py").exists() and generator_of(site) == "pelican":
            command = ["pelicanconf.py" if part == "publishconf.py" else part for part in command]
        version, build = (
            subprocess.run(arguments, check=False, cwd=folder, env=environment, capture_output=True, text=True)
            for arguments in (version_command, command)
        )
        if build.returncode:
            sys.exit(f"{site}: {' '.join(command)} failed:\n{build.stdout}\n{build.stderr}")
        addresses = {}
        for file in sorted((folder / output).rglob("*")):
            if file.is_file():
                marks = _MARK.findall(file.read_text(encoding="utf-8", errors="replace"))
                if file.suffix in (".html", ".htm", "") and marks and marks[0][0]:
                    source = html.unescape(marks[0][1]).removeprefix(f"{folder}/")
                    addresses[normal(html.unescape(marks[0][0]))] = source if (folder / source).is_file() else ""
        number = re.search(r"\d+\.\d+[\d.]*", version.stdout)
        return number[0] if number else "", dict(sorted(addresses.items()))


def normal(address: str) -> str:
    """Return the decoded path of an address, without the `index.html` of a folder."""
    path = unquote(urlsplit(address).path)
    return path.removesuffix("index.html") if path.endswith("/index.html") else path


def main(arguments: list[str]) -> None:
    """Record or check the sites that are named, or all."""
    check = "--check" in arguments
    names = [argument for argument in arguments if argument != "--check"]
    differing = 0
    for site in names or sorted(path.stem for path in FOLDER.glob("*.txt")):
        if generator_of(site) not in GENERATORS or not (result := published(site)):
            print(f"{site}: passed over, its generator is not installed")
            continue
        version, addresses = result
        if check:
            differences = sorted(addresses.items() ^ recorded(site).items())
            differing += bool(differences)
            print(f"{site}: {version}, {len(addresses)} addresses, {len(differences)} differences", *differences)
        else:
            rows = [f"# {generator_of(site)} {version}", *(f"{key}\t{value}" for key, value in addresses.items())]
            (FOLDER / f"{site}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
            print(f"{site}: {version}, {len(addresses)} addresses")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
