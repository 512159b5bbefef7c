"""Site generators: which one publishes a folder, and the addresses that it gives to the folder's pages."""

import importlib
from pathlib import Path

from recommender.errors import SourceError
from recommender.sources.generators.base import Page, Site

__all__ = ["GENERATORS", "NO_GENERATOR", "Page", "Site", "check_generator", "find_site"]

# The modules of this package with a generator's class, which has the module's name with a capital letter.
GENERATORS = (
    "hugo",
    "jekyll",
    "hexo",
    "mkdocs",
    "pelican",
    "zola",
    "docusaurus",
    "eleventy",
    "astro",
    "gatsby",
    "next",
    "sphinx",
)
NO_GENERATOR = "none"
MAX_PARENTS = 3  # of a source's folder, that are searched for a configuration file


def find_site(folder: Path, name: str | None = None) -> Site:
    """Return the site that a source's folder belongs to, recognised by its configuration file or its layout.

    Args:
        folder: the folder of the source.
        name: the generator, one of GENERATORS or "none"; None to recognise it.

    Raises:
        SourceError: `name` is not the name of a generator.
    """
    folder = folder.absolute()
    check_generator(name)
    if name == NO_GENERATOR:
        return Site(folder)
    generators = [_generator(module) for module in ([name] if name else GENERATORS)]
    for root in (folder, *folder.parents[:MAX_PARENTS]):
        for generator in generators:
            site = _configured_site(generator, root)
            if site and site.contains(folder):
                return site
    for generator in generators:
        ends = [layout for layout in generator.layout_folders if folder.as_posix().endswith(f"/{layout}")]
        for root in (folder, *(folder.parents[end.count("/")] for end in ends)):
            if generator.matches_layout(root):
                return generator(root)
    return generators[0].without_config(folder) if name else Site(folder)


def check_generator(name: str | None) -> None:
    """Raise SourceError if a name is neither None nor a value of `find_site`."""
    if name not in (None, NO_GENERATOR, *GENERATORS):
        raise SourceError(f"{name!r} is no site generator; these are {', '.join(GENERATORS)} and {NO_GENERATOR}.")


def _generator(name: str) -> type[Site]:
    module = importlib.import_module(f"recommender.sources.generators.{name}")
    generator: type[Site] = getattr(module, name.capitalize())
    return generator


def _configured_site(generator: type[Site], root: Path) -> Site | None:
    """Return the site with the configuration in a folder; None if the folder has none of this generator's."""
    for name in generator.config_names:
        path = root / name
        if not path.is_file():
            continue
        try:
            config = generator.read_config(path)
        except (OSError, ValueError) as error:
            if generator.matches_config(path, {}):
                site = generator(root)
                site.problem = (path, f"it cannot be read ({error}), so addresses follow the defaults of {site.name}")
                return site
            continue
        if generator.matches_config(path, config):
            return generator(root, config)
    return None
