"""Variants of JSON documents in which one part has another type."""

import copy

OTHERS = (None, 7, -1, 1.5, "x", True, [], {}, [7], ["x"], {"a": 1}, [[1]])


def variants(document):
    """Yield copies of a document, in each of which one part is replaced."""
    for path in list(_paths(document)):
        for other in OTHERS:
            changed = copy.deepcopy(document)
            part = changed
            for key in path[:-1]:
                part = part[key]
            part[path[-1]] = other
            yield changed


def _paths(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from _paths(part, (*path, key))
