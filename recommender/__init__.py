"""Related-article links for an archive of articles. Start with `Recommender`.

The public names are listed in `__init__.pyi`. Each is imported at its first use, so that the command starts fast.
"""


def __getattr__(name: str) -> object:
    """Import a public name."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow to import

        return version("recommender")
    import lazy_loader  # noqa: PLC0415 - the entry point handles Ctrl-C first

    imported, _, public = lazy_loader.attach_stub(__name__, __file__)
    globals()[name] = public if name == "__all__" else imported(name)
    return globals()[name]


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return ["__version__", *__getattr__("__all__")]
