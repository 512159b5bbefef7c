import json

import numpy as np
import pytest

from recommender import Article, ModelError
from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder


@pytest.fixture(scope="module")
def tiny_parts(tmp_path_factory):
    """The folder of a small transformer with made-up weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    parts = tmp_path_factory.mktemp("parts")
    AutoTokenizer.from_pretrained(DenseEncoder().folder).save_pretrained(parts)
    config = BertConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,  # so that other words give other vectors
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(parts)
    return parts


@pytest.fixture(scope="module")
def tiny_model(tiny_parts, tmp_path_factory):
    """The folder of a small sentence-transformers model with made-up weights and a limit of 16 tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    folder = tmp_path_factory.mktemp("tiny")
    transformer = Transformer(str(tiny_parts), max_seq_length=16)
    SentenceTransformer(modules=[transformer, Pooling(24, "mean")], device="cpu").save(str(folder))
    return folder


TEXTS = ["Cocoa prices. " + "They rose again on Monday. " * 300, "Oil. ", "  ", "Ölpreise steigen, 原油. ", "A B. c"]
ARTICLES = [Article(id=str(number), title="T", text=text) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def bare():
    """The default model in sentence-transformers alone."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(DenseEncoder().folder), device="cpu")
    model.max_seq_length = 128
    return model


def cosines(ours, theirs):
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-5)
    return (ours * theirs).sum(axis=1)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_vectors_are_those_of_the_bare_model(bare, monkeypatch, precision):
    from recommender.embedding import openvino

    # A processor without bf16 computes it too, slowly.
    monkeypatch.setattr(openvino, "_computes_bf16", lambda: precision == "bf16")
    openvino._recent.clear()
    encoder = DenseEncoder()
    texts = [f"T. {text}" for text in TEXTS]
    assert cosines(encoder.encode_articles(ARTICLES), bare.encode(texts, normalize_embeddings=True)).min() > 0.999
    query = encoder.encode_query("who pays")
    assert query @ bare.encode("who pays", normalize_embeddings=True) > 0.999
    openvino._recent.clear()


@pytest.mark.slow
def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(bare):
    words = ["river", "dam", "club", "prices", "of", "the", "court", "ruled"]
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(words, draw.integers(1, 200))) for _ in range(150)]
    articles = [Article(id=str(number), title="T", text=text) for number, text in enumerate(texts)]
    encoder = DenseEncoder()
    together = encoder.encode_articles(articles)
    for place in (0, 70, 149):
        assert together[place] @ encoder.encode_articles([articles[place]])[0] > 0.9999
    assert cosines(together, bare.encode([f"T. {text}" for text in texts], normalize_embeddings=True)).min() > 0.999


@pytest.mark.slow
def test_prompts_and_dense_layers_are_converted_too(tiny_parts, tmp_path, monkeypatch):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Pooling, Transformer

    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    modules = [Transformer(str(tiny_parts), max_seq_length=16), Pooling(24, "cls"), Dense(24, 12)]
    prompts = {"query": "what was asked: ", "passage": "what was written: "}
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(tmp_path / "model"))
    bare = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    encoder = DenseEncoder(str(tmp_path / "model"))
    ours, query = encoder.encode_articles(ARTICLES), encoder.encode_query("who pays")
    assert type(encoder._for_few).__name__ == "OpenVinoModel"
    texts = [f"T. {text}" for text in TEXTS]
    assert cosines(ours, bare.encode_document(texts, normalize_embeddings=True)).min() > 0.999
    assert query @ bare.encode_query("who pays", normalize_embeddings=True) > 0.999
    assert query @ encoder.encode_articles([Article(id="a", title="who pays")])[0] < 0.99


def test_what_cannot_be_converted_is_run_by_pytorch_and_said_once(tmp_path, monkeypatch, caplog):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    tokenizer = Tokenizer.from_file(str(DenseEncoder().folder / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(str(tmp_path / "m"))
    bare = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    encoder = DenseEncoder(str(tmp_path / "m"))
    ours = encoder.encode_articles(ARTICLES[:2])
    assert cosines(ours, bare.encode([f"T. {text}" for text in TEXTS[:2]], normalize_embeddings=True)).min() > 0.999
    assert [line.message for line in caplog.records if "run by PyTorch" in line.message][1:] == []
    assert "run by PyTorch, which is slower" in caplog.text


@pytest.mark.slow
def test_a_damaged_conversion_is_made_again(tiny_model, tmp_path, monkeypatch):
    from recommender.embedding import openvino

    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path))
    expected = DenseEncoder(str(tiny_model)).encode_query("a river")
    (folder,) = tmp_path.iterdir()
    content = bytearray((folder / "model.bin").read_bytes())
    content[-5000:-904] = np.random.default_rng(0).bytes(4096)
    (folder / "model.bin").write_bytes(content)
    openvino._recent.clear()
    np.testing.assert_allclose(DenseEncoder(str(tiny_model)).encode_query("a river"), expected, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1
    assert (folder / "model.bin").read_bytes() != content


def test_a_cache_that_cannot_be_written_costs_time_only(tiny_model, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "file" / "cache"))
    assert DenseEncoder(str(tiny_model)).encode_query("a river").shape == (24,)
    assert "RECOMMENDER_CACHE" in caplog.text


def test_a_static_model_is_kept_whole_in_its_files():
    made = DenseEncoder("static")
    again = DenseEncoder("static:all-MiniLM-L6-v2", files=made.files)
    assert made.model.dimensions == 256
    assert made.hash == again.hash
    articles = [Article(id="a", title="River dam", text="x " * 100 + "treaty"), Article(id="b", title="River dam")]
    np.testing.assert_array_equal(made.encode_articles(articles), again.encode_articles(articles))
    near, far = again.encode_query("the dam on the river"), again.encode_query("football club")
    assert near @ again.encode_articles(articles)[1] > far @ again.encode_articles(articles)[1] + 0.3


def test_an_int8_model_is_near_to_its_own_and_another_model(bare):
    encoder, own = DenseEncoder("int8"), DenseEncoder()
    assert encoder.name == "int8:all-MiniLM-L6-v2"
    assert encoder.hash == DenseEncoder("int8:all-MiniLM-L6-v2").hash != own.hash
    written = [text for text in TEXTS if text.strip()]
    articles = [Article(id=str(number), title="T", text=text) for number, text in enumerate(written)]
    texts = [f"T. {text}" for text in written]
    agreement = cosines(encoder.encode_articles(articles), bare.encode(texts, normalize_embeddings=True))
    assert 0.99 < agreement.min() < agreement.max() < 0.99999
    assert encoder.encode_query("who pays") @ own.encode_query("who pays") > 0.98


@pytest.mark.slow
def test_int8_takes_any_model_that_converts_and_refuses_others(tiny_model, tmp_path, monkeypatch):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    encoder = DenseEncoder(f"int8:{tiny_model}")
    vectors = encoder.encode_articles(ARTICLES)
    assert encoder.model.name == f"int8:{tiny_model}"
    assert cosines(vectors, DenseEncoder(str(tiny_model)).encode_articles(ARTICLES)).min() > 0.95
    tokenizer = Tokenizer.from_file(str(DenseEncoder().folder / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(str(tmp_path / "m"))
    with pytest.raises(ModelError, match=r"cannot be put into 8-bit integers here .* use it as it is: --model"):
        DenseEncoder(f"int8:{tmp_path / 'm'}").encode_query("a")


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


def test_a_title_that_ends_within_the_first_word_of_the_text_is_read():
    encoder = DenseEncoder()
    vectors = encoder.encode_articles([Article(id="a", title="Car", text="Carbon is hot.")])
    np.testing.assert_allclose(vectors[0], encoder.encode_query("Car. Carbon is hot."), atol=1e-5)


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "static"])
def test_texts_are_encoded_in_their_order_and_none_too(name):
    encoder = DenseEncoder(name)
    texts = ["Cocoa prices rose. " * 90, "", "the river dam", "a lone \ud800 surrogate"]
    vectors = encoder.encode_texts(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.model.dimensions)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], vectors[row], atol=1e-3)
        np.testing.assert_array_equal(encoder.encode_texts([text], query=True)[0], encoder.encode_query(text))
    assert encoder.encode_texts([]).shape == (0, encoder.model.dimensions)


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


EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil:\n    pass\n"


@pytest.mark.parametrize("kind", ["a module of its own", "a pickle", "a model of its own"])
def test_loading_a_model_runs_no_code_of_its_own(tmp_path, monkeypatch, kind):
    import pickle

    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL)
    module = "evil.Evil" if kind == "a module of its own" else "sentence_transformers.models.Transformer"
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": module}]))
    (tmp_path / "config_sentence_transformers.json").write_text("{}")
    config = {"model_type": "bert", "architectures": ["BertModel"]}
    if kind == "a model of its own":
        config = {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(ModelError, match="does not hold a sentence-transformers model"):
        DenseEncoder(str(tmp_path)).encode_query("a")
    assert not (tmp_path / "ran").exists()


def test_processes_that_use_one_core_each_are_not_bound_to_the_same(tiny_model):
    alone, beside = DenseEncoder(str(tiny_model))._for_few, DenseEncoder(str(tiny_model), threads=1)._for_few
    assert alone is not beside
    assert beside._compile("THROUGHPUT").get_property("ENABLE_CPU_PINNING") is False
    assert beside._compile("THROUGHPUT").get_property("INFERENCE_NUM_THREADS") == 1
