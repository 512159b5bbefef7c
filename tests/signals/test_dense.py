import numpy as np
import pytest

from recommender import Article, ModelError
from recommender.signals.dense import DEFAULT_MODEL, DenseEncoder


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """The folder of a small sentence-transformers model with made-up weights and a limit of 16 tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    parts, folder = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("tiny")
    AutoTokenizer.from_pretrained(DenseEncoder().folder).save_pretrained(parts)
    config = BertConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(parts)
    transformer = Transformer(str(parts), max_seq_length=16)
    SentenceTransformer(modules=[transformer, Pooling(24, "mean")], device="cpu").save(str(folder))
    return folder


def test_vectors_are_those_of_the_bare_model():
    from sentence_transformers import SentenceTransformer

    encoder = DenseEncoder()
    bare = SentenceTransformer(str(encoder.folder), device="cpu")
    bare.max_seq_length = 128
    articles = [Article(id="a", title="Cocoa prices", text="They rose. " * 300), Article(id="b", title="Oil", text="")]
    expected = bare.encode(["Cocoa prices. " + "They rose. " * 300, "Oil. "], normalize_embeddings=True)
    vectors = encoder.encode_articles(articles)
    assert vectors.dtype == np.float32
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose((vectors * expected).sum(axis=1), 1, rtol=1e-5)


def test_reads_as_many_tokens_as_it_is_told():
    short, long = "river dam " * 10, "river dam " * 10 + "football " * 100
    few, many = DenseEncoder(max_tokens=16), DenseEncoder(max_tokens=128)
    same = few.encode_articles([Article(id=str(i), title="T", text=text) for i, text in enumerate((short, long))])
    other = many.encode_articles([Article(id=str(i), title="T", text=text) for i, text in enumerate((short, long))])
    assert same[0] @ same[1] > 0.9999
    assert other[0] @ other[1] < 0.9


def test_a_title_taken_from_the_text_is_not_read_twice():
    encoder = DenseEncoder()
    derived = Article(id="a", text="The dam was shut. Growers protest.")
    assert derived.title == "The dam was shut."
    vectors = encoder.encode_articles([derived])
    np.testing.assert_allclose(vectors[0], encoder.encode_query(derived.text), atol=1e-5)


def test_any_model_by_path(tiny_model):
    encoder = DenseEncoder(str(tiny_model))
    assert encoder.model.dimensions == 24
    assert encoder.model.name == str(tiny_model)
    vectors = encoder.encode_articles([Article(id="a", title="T", text="x " * 500)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_the_hash_covers_every_file_and_the_settings(tiny_model, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    assert DenseEncoder(str(copy)).hash == DenseEncoder(str(tiny_model)).hash
    assert DenseEncoder(str(copy), max_tokens=64).hash != DenseEncoder(str(tiny_model)).hash
    (copy / "1_Pooling" / "config.json").write_text("{}")
    assert DenseEncoder(str(copy)).hash != DenseEncoder(str(tiny_model)).hash


def test_the_default_model_is_found_by_both_its_names():
    assert DenseEncoder(DEFAULT_MODEL).folder == DenseEncoder("sentence-transformers/all-MiniLM-L6-v2").folder


def test_what_is_no_model_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="no model folder"):
        DenseEncoder(str(tmp_path / "missing")).hash  # noqa: B018
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not hold a sentence-transformers model"):
        DenseEncoder(str(tmp_path)).encode_query("x")


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("language: en", ["en"]),
        ("language: [de-DE, eng]", ["de", "en"]),
        ("language: 5", None),
        ("language: [en", None),
        ("- a list", None),
        ("license: mit", None),
    ],
)
def test_the_languages_are_those_that_the_card_names(tmp_path, card, languages):
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\nA model.\n")
    assert DenseEncoder(str(tmp_path))._languages() == languages
    (tmp_path / "README.md").unlink()
    assert DenseEncoder(str(tmp_path))._languages() is None
