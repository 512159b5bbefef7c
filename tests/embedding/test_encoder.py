import json

import numpy as np
import pytest

from recommender import Article, ModelError
from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder


@pytest.fixture(scope="module")
def tiny_transformer(tmp_path_factory):
    """The folder of a small transformer with random weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("transformer")
    AutoTokenizer.from_pretrained(DenseEncoder().folder).save_pretrained(folder)
    config = BertConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,  # large enough for different words to have different vectors
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_model(tiny_transformer, tmp_path_factory):
    """The folder of a small sentence-transformers model with random weights and a limit of 16 tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    folder = tmp_path_factory.mktemp("tiny")
    transformer = Transformer(str(tiny_transformer), max_seq_length=16)
    SentenceTransformer(modules=[transformer, Pooling(24, "mean")], device="cpu").save(str(folder))
    return folder


TEXTS = ["Cocoa prices. " + "They rose again on Monday. " * 300, "Oil. ", "  ", "Ölpreise steigen, 原油. ", "A B. c"]
ARTICLES = [Article(id=str(number), title="T", text=text) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def baseline():
    """The default model in sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(DenseEncoder().folder), device="cpu")
    model.max_seq_length = 128
    return model


def cosines(vectors, expected):
    assert vectors.dtype == np.float32
    assert vectors.shape == expected.shape
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    return (vectors * expected).sum(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_vectors_agree_with_sentence_transformers(baseline, monkeypatch, precision):
    from recommender.embedding import openvino

    # A processor without bf16 emulates it.
    monkeypatch.setattr(openvino, "_computes_bf16", lambda: precision == "bf16")
    openvino._recent.clear()
    encoder = DenseEncoder()
    texts = [f"T. {text}" for text in TEXTS]
    assert cosines(encoder.encode_articles(ARTICLES), baseline.encode(texts, normalize_embeddings=True)).min() > 0.999
    query = encoder.encode_query("who pays")
    assert query @ baseline.encode("who pays", normalize_embeddings=True) > 0.999
    openvino._recent.clear()


@pytest.mark.slow
def test_a_vector_does_not_depend_on_the_other_texts_of_its_batch(baseline):
    words = ["river", "dam", "club", "prices", "of", "the", "court", "ruled"]
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(words, draw.integers(1, 200))) for _ in range(150)]
    articles = [Article(id=str(number), title="T", text=text) for number, text in enumerate(texts)]
    encoder = DenseEncoder()
    together = encoder.encode_articles(articles)
    for row in (0, 70, 149):
        assert together[row] @ encoder.encode_articles([articles[row]])[0] > 0.9999
    assert cosines(together, baseline.encode([f"T. {text}" for text in texts], normalize_embeddings=True)).min() > 0.999


@pytest.mark.slow
def test_prompts_and_dense_layers_are_converted(tiny_transformer, tmp_path, monkeypatch):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Pooling, Transformer

    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    modules = [Transformer(str(tiny_transformer), max_seq_length=16), Pooling(24, "cls"), Dense(24, 12)]
    prompts = {"query": "query: ", "passage": "passage: "}
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(tmp_path / "model"))
    baseline = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    encoder = DenseEncoder(str(tmp_path / "model"))
    vectors, query = encoder.encode_articles(ARTICLES), encoder.encode_query("who pays")
    assert type(encoder._cpu_model).__name__ == "OpenVinoModel"
    texts = [f"T. {text}" for text in TEXTS]
    assert cosines(vectors, baseline.encode_document(texts, normalize_embeddings=True)).min() > 0.999
    assert query @ baseline.encode_query("who pays", normalize_embeddings=True) > 0.999
    assert query @ encoder.encode_articles([Article(id="a", title="who pays")])[0] < 0.99


@pytest.mark.slow
def test_a_model_that_cannot_be_converted_runs_on_pytorch_with_one_warning(tmp_path, monkeypatch, caplog):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    tokenizer = Tokenizer.from_file(str(DenseEncoder().folder / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(str(tmp_path / "m"))
    baseline = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    encoder = DenseEncoder(str(tmp_path / "m"))
    vectors = encoder.encode_articles(ARTICLES[:2])
    assert (
        cosines(vectors, baseline.encode([f"T. {text}" for text in TEXTS[:2]], normalize_embeddings=True)).min() > 0.999
    )
    assert [line.message for line in caplog.records if "run by PyTorch" in line.message][1:] == []
    assert "run by PyTorch, which is slower" in caplog.text


@pytest.mark.slow
def test_a_damaged_conversion_is_converted_again(tiny_model, tmp_path, monkeypatch):
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


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_causes_a_warning_only(tiny_model, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "file" / "cache"))
    assert DenseEncoder(str(tiny_model)).encode_query("a river").shape == (24,)
    assert "RECOMMENDER_CACHE" in caplog.text


def test_a_static_model_can_be_loaded_from_its_files():
    distilled = DenseEncoder("static")
    loaded = DenseEncoder("static:all-MiniLM-L6-v2", files=distilled.files)
    assert distilled.model.dimensions == 256
    assert distilled.hash == loaded.hash
    articles = [Article(id="a", title="River dam", text="x " * 100 + "treaty"), Article(id="b", title="River dam")]
    np.testing.assert_array_equal(distilled.encode_articles(articles), loaded.encode_articles(articles))
    near, far = loaded.encode_query("the dam on the river"), loaded.encode_query("football club")
    assert near @ loaded.encode_articles(articles)[1] > far @ loaded.encode_articles(articles)[1] + 0.3


def test_int8_vectors_are_close_to_float32_under_another_hash(baseline):
    encoder, float32 = DenseEncoder("int8"), DenseEncoder()
    assert encoder.name == "int8:all-MiniLM-L6-v2"
    assert encoder.hash == DenseEncoder("int8:all-MiniLM-L6-v2").hash != float32.hash
    not_empty = [text for text in TEXTS if text.strip()]
    articles = [Article(id=str(number), title="T", text=text) for number, text in enumerate(not_empty)]
    texts = [f"T. {text}" for text in not_empty]
    agreement = cosines(encoder.encode_articles(articles), baseline.encode(texts, normalize_embeddings=True))
    assert 0.99 < agreement.min() < agreement.max() < 0.99999
    assert encoder.encode_query("who pays") @ float32.encode_query("who pays") > 0.98


@pytest.mark.slow
def test_int8_quantises_models_that_convert_and_refuses_others(tiny_model, tmp_path, monkeypatch):
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
    with pytest.raises(ModelError, match=r"cannot be quantised to 8-bit integers here .* use it as it is: --model"):
        DenseEncoder(f"int8:{tmp_path / 'm'}").encode_query("a")


def test_max_tokens_limits_the_tokens_that_are_read():
    short, long = "river dam " * 10, "river dam " * 10 + "football " * 100
    few, many = DenseEncoder(max_tokens=16), DenseEncoder(max_tokens=128)
    same = few.encode_articles([Article(id=str(i), title="T", text=text) for i, text in enumerate((short, long))])
    other = many.encode_articles([Article(id=str(i), title="T", text=text) for i, text in enumerate((short, long))])
    assert same[0] @ same[1] > 0.9999
    assert other[0] @ other[1] < 0.9


def test_a_title_from_the_beginning_of_the_text_is_read_once():
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
def test_vectors_are_in_the_order_of_the_texts(name):
    encoder = DenseEncoder(name)
    texts = ["Cocoa prices rose. " * 90, "", "the river dam", "a lone \ud800 surrogate"]
    vectors = encoder.encode_texts(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.model.dimensions)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], vectors[row], atol=1e-3)
        np.testing.assert_array_equal(encoder.encode_texts([text], query=True)[0], encoder.encode_query(text))
    assert encoder.encode_texts([]).shape == (0, encoder.model.dimensions)


def test_a_model_is_loaded_by_its_path(tiny_model):
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


def test_the_default_model_has_two_names():
    assert DenseEncoder(DEFAULT_MODEL).folder == DenseEncoder("sentence-transformers/all-MiniLM-L6-v2").folder


def test_a_folder_without_a_model_is_an_error(tmp_path, monkeypatch):
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
def test_languages_come_from_the_model_card(tmp_path, card, languages):
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\nA model.\n")
    assert DenseEncoder(str(tmp_path))._languages() == languages
    (tmp_path / "README.md").unlink()
    assert DenseEncoder(str(tmp_path))._languages() is None


EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil:\n    pass\n"


@pytest.mark.parametrize("kind", ["custom module", "pickle", "custom model"])
def test_loading_a_model_runs_no_code_from_its_folder(tmp_path, monkeypatch, kind):
    import pickle

    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL)
    module = "evil.Evil" if kind == "custom module" else "sentence_transformers.models.Transformer"
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": module}]))
    (tmp_path / "config_sentence_transformers.json").write_text("{}")
    config = {"model_type": "bert", "architectures": ["BertModel"]}
    if kind == "custom model":
        config = {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(ModelError, match="does not hold a sentence-transformers model"):
        DenseEncoder(str(tmp_path)).encode_query("a")
    assert not (tmp_path / "ran").exists()


def test_models_with_one_thread_are_not_pinned_to_a_core(tiny_model):
    all_cores, one_core = DenseEncoder(str(tiny_model))._cpu_model, DenseEncoder(str(tiny_model), threads=1)._cpu_model
    assert all_cores is not one_core
    assert one_core._compile("THROUGHPUT").get_property("ENABLE_CPU_PINNING") is False
    assert one_core._compile("THROUGHPUT").get_property("INFERENCE_NUM_THREADS") == 1
