"""Build the sites of the tests with the real generators of npm, and record or compare the pages that they write.

    python tests/sources/generators/record_npm.py [--compare] [NAME...]

Packages are installed below `.cache/generators`; this takes minutes and the network. `make test-generators` compares.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from recorded_sites import pages_of, published, record, unpack

CACHE = Path(".cache/generators").resolve()
# The packages of each generator, the first of which has its version; the script that builds a site; the output folder.
GENERATORS = {
    "docusaurus": (
        ("@docusaurus/core", "@docusaurus/preset-classic", "react", "react-dom"),
        ("@docusaurus/core/bin/docusaurus.mjs", "build"),
        "build",
    ),
    "eleventy": (("@11ty/eleventy",), ("@11ty/eleventy/cmd.cjs",), "_site"),
    "astro": (("astro@5", "@astrojs/mdx@4"), ("astro/astro.js", "build"), "dist"),
}


def build(name):
    """Build a site with its real generator; return the version and the pages."""
    packages, command, output = GENERATORS[name]
    folder = CACHE / name
    modules = folder / "node_modules"
    folder.mkdir(parents=True, exist_ok=True)
    package = modules / re.sub(r"(?<=.)@.*", "", packages[0])
    if not package.is_dir():
        (folder / "package.json").write_text('{"private": true}')
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", *packages], cwd=folder, check=True)
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    unpack(name, site)
    if not (site / "package.json").exists():
        (site / "package.json").write_text('{"private": true}')
    (site / "node_modules").symlink_to(modules)
    subprocess.run(["node", modules / command[0], *command[1:]], cwd=site, check=True)
    return json.loads((package / "package.json").read_text())["version"], pages_of(site / output)


def main():
    """Record the sites that are named, or all; with --compare exit with 1 if one has other pages than recorded."""
    compare = "--compare" in sys.argv
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or list(GENERATORS)
    changed = []
    for name in names:
        version, pages = build(name)
        if not compare:
            record(name, version, pages)
        elif difference := sorted({*pages} ^ {*published(name)}):
            changed.append(name)
            print(f"{name} {version} differs from the recorded pages: {', '.join(difference)}")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
