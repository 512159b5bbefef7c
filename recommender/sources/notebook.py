"""Reader of Jupyter notebooks (nbformat), one article per file: their Markdown cells, without code and output."""

import json
from collections.abc import Iterator

from recommender.sources import markdown
from recommender.sources.entry import MAX_ARTICLE_BYTES, Entry, File, decode


def read(file: File) -> Iterator[Entry]:
    """Yield the Entry of a file."""
    content = file.read_article_bytes(MAX_ARTICLE_BYTES)
    if isinstance(content, Entry):
        yield content
        return
    try:
        import nbformat  # noqa: PLC0415 - an extra
    except ImportError:
        problem = "notebooks are read with nbformat, which is not installed: pip install 'recommender[ipynb]'"
        yield Entry(file.name, id=file.id, problems=(problem,))
        return
    try:
        notebook = nbformat.reads(_completed(decode(content)), as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat passes on errors of its parsers and validators
        problem = f"the notebook cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        yield Entry(file.name, id=file.id, problems=(problem,))
        return
    # Front matter stands in a first raw or Markdown cell (Quarto, Nikola, Jupyter Book).
    cells = [
        str(cell.get("source", ""))
        for number, cell in enumerate(notebook.get("cells", []))
        if cell.get("cell_type") == "markdown" or (cell.get("cell_type") == "raw" and number == 0)
    ]
    yield from markdown.read_text("\n\n".join(cells), file)


def _completed(text: str) -> str:
    """Return a notebook with the parts that nbformat requires and that other programs leave out.

    Raises:
        ValueError, TypeError: the text is no notebook.
    """
    notebook = {"metadata": {}, "nbformat_minor": 0, **json.loads(text)}
    cells = notebook.get("cells")
    for number, cell in enumerate(cells if isinstance(cells, list) else []):
        if isinstance(cell, dict):
            cell.setdefault("metadata", {})
            if notebook["nbformat_minor"] >= 5:
                cell.setdefault("id", f"cell{number}")
            if cell.get("cell_type") == "code":
                cell.setdefault("outputs", [])
                cell.setdefault("execution_count", None)
    return json.dumps(notebook)
