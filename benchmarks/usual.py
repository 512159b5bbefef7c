"""What people build today: sentence-transformers and FAISS in a script. It is here to be measured against.

    python benchmarks/usual.py build FILE.jsonl FOLDER [--model FOLDER] [--part I/N]
    python benchmarks/usual.py related ID FOLDER
    python benchmarks/usual.py search TEXT FOLDER [--model FOLDER]

The model's own 256 tokens in float32, all vectors in an IndexFlatIP, ids and titles in a JSON file beside it.
"""

import argparse
import json
from pathlib import Path

import faiss
import numpy as np
from sentence_transformers import SentenceTransformer


def build(file: Path, folder: Path, model: str, part: str) -> None:
    """Embed all articles, or every N-th from the I-th on, and store vectors, ids and titles."""
    first, step = (int(number) for number in part.split("/"))
    with file.open(encoding="utf-8") as lines:
        articles = [json.loads(line) for line in lines][first::step]
    texts = [f"{article.get('title') or ''}. {article.get('text') or ''}" for article in articles]
    vectors = SentenceTransformer(model, device="cpu").encode(texts, normalize_embeddings=True)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    folder.mkdir(parents=True, exist_ok=True)
    faiss.write_index(index, str(folder / "vectors.faiss"))
    facts = [(article.get("id") or article.get("url"), article.get("title")) for article in articles]
    (folder / "articles.json").write_text(json.dumps(facts), encoding="utf-8")


def ask(folder: Path, *, id: str | None = None, text: str | None = None, model: str = "") -> None:
    """Print the nearest of an article or a text."""
    index = faiss.read_index(str(folder / "vectors.faiss"))
    facts = json.loads((folder / "articles.json").read_text(encoding="utf-8"))
    if text is not None:
        query = SentenceTransformer(model, device="cpu").encode([text], normalize_embeddings=True)
    else:
        query = index.reconstruct([article_id for article_id, _ in facts].index(id))[None]
    scores, positions = index.search(np.asarray(query), 11)
    for score, position in zip(scores[0], positions[0], strict=True):
        if facts[position][0] != id:
            print(f"{score:.2f}  {facts[position][1]}")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("build", "related", "search"))
    parser.add_argument("what")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--part", default="0/1")
    options = parser.parse_args()
    if options.task == "build":
        build(Path(options.what), options.folder, options.model, options.part)
    elif options.task == "related":
        ask(options.folder, id=options.what)
    else:
        ask(options.folder, text=options.what, model=options.model)


if __name__ == "__main__":
    main()
