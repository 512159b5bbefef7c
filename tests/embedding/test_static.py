"""The static model of an index may be hostile: it is refused with a ModelError."""

import base64
import json

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer

from recommender import ModelError
from recommender.embedding.encoder import DenseEncoder
from recommender.embedding.static import TOKENIZER, VECTORS, StaticEncoder
from recommender.embedding.static_tokenizer import PATTERNS, load_tokenizer

WORDS = ["[UNK]", "river", "dam", "club", "the"]
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}


def tokenizer_file(normalizer=None, pre_tokenizer=None, model=None, **parts):
    vocab = {word: number for number, word in enumerate(WORDS)}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer or {"type": "Whitespace"},
            "model": model or {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
            **parts,
        }
    ).encode()


def files(tokenizer, rows=5):
    vectors = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float16)
    return {VECTORS: save({"vectors": vectors}), TOKENIZER: tokenizer}


def charsmap(replacement):
    """A character map of SentencePiece with an empty trie."""
    trie = np.zeros(1024, dtype="<u4").tobytes()
    return base64.b64encode(len(trie).to_bytes(4, "little") + trie + replacement + b"\0").decode()


def sequence(*components, key="normalizers"):
    return {"type": "Sequence", key: list(components)}


STRIP = {"type": "Strip", "strip_left": True, "strip_right": True}
SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
PADDED = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"normalizer": sequence({"type": "NFKC"}, {"type": "Lowercase"}, STRIP)},
        {"normalizer": sequence(SPACES, sequence({"type": "NFD"}))},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap(b"fi")}},
        {"padding": PADDED | {"strategy": {"Fixed": 2**40}}},
    ],
)
def test_tokenizers_of_distilled_models_are_loaded(parts):
    model = StaticEncoder(files(tokenizer_file(**parts)), 16)
    vectors = model.encode(["the river dam", "", "the club"], query=False)
    assert vectors.shape == (3, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-5)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_known_regular_expressions_are_loaded(pattern):
    split = sequence({**SPLIT, "pattern": {"Regex": pattern}}, key="pretokenizers")
    encoding = load_tokenizer(tokenizer_file(pre_tokenizer=split)).encode("river?dam")
    assert encoding.tokens


GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 60}
FAILS = r"(?:(?:a+)+)+$"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tokenizer_file(normalizer=sequence(GROWS, GROWS)), "3600 times as long"),
        (tokenizer_file(normalizer=sequence(*[{"type": "Prepend", "prepend": "x" * 20}] * 2)), "400 times as long"),
        (tokenizer_file(normalizer=sequence(*[{"type": "ByteLevel"}] * 9)), "times as long"),
        (tokenizer_file(normalizer=sequence(*[{"type": "NFC"}] * 99)), "more than 16 components"),
        (
            tokenizer_file(normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap(b"x" * 9999)}),
            "9999 times as long",
        ),
        (tokenizer_file(normalizer={"type": "Replace", "pattern": {"Regex": FAILS}, "content": ""}), "regular expr"),
        (tokenizer_file(pre_tokenizer={**SPLIT, "pattern": {"Regex": FAILS}}), "regular expression"),
        (tokenizer_file(normalizer={"type": "Replace", "pattern": {"String": ""}, "content": "x"}), "regular expr"),
        (tokenizer_file(normalizer={"type": "Unheard"}), "its normalizer has a Unheard"),
        (tokenizer_file(pre_tokenizer={"type": "FixedLength", "length": 0}), "its pre_tokenizer has a FixedLength"),
        (tokenizer_file(model={"type": "Other"}), "its model is a Other"),
        (tokenizer_file(model={"type": "WordPiece", "max_input_chars_per_word": 10**9, "vocab": {}}), "words of more"),
        (tokenizer_file(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}), "cannot be read"),
        (b'{"normalizer": 5}', "cannot be read"),
        (b"[" * 10**5, "cannot be read"),
        (b"no JSON", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_other_tokenizers_are_refused(content, reason):
    with pytest.raises(ModelError, match=f"The tokenizer of the static model is refused: .*{reason}"):
        load_tokenizer(content)


def test_the_tokenizer_of_a_distilled_model_gives_the_same_tokens():
    content, text = DenseEncoder("static").files[TOKENIZER], "Café prices, at the río: 3.5 % up"
    tokens, expected = (
        tokenizer.encode(text, add_special_tokens=False).tokens
        for tokenizer in (load_tokenizer(content), Tokenizer.from_buffer(content))
    )
    assert tokens == expected


@pytest.mark.parametrize(("rows", "content"), [(3, None), (9, None), (5, b"torn")])
def test_vectors_that_do_not_match_the_tokenizer_are_refused(rows, content):
    parts = files(tokenizer_file(), rows) | ({VECTORS: content} if content else {})
    with pytest.raises(ModelError, match="static model"):
        StaticEncoder(parts, 16)


def test_a_vector_with_nan_is_refused_on_encoding():
    parts = files(tokenizer_file())
    vectors = np.ones((len(WORDS), 4), dtype=np.float16)
    vectors[WORDS.index("dam")] = np.nan
    encoder = DenseEncoder("static:some-model", files=parts | {VECTORS: save({"vectors": vectors})})
    assert encoder.encode_texts(["the river", "nothing known"]).any(axis=1).tolist() == [True, False]
    with pytest.raises(ModelError, match=r"The model static:some-model gave 1 of 2 texts .* not finite .* 'the dam'"):
        encoder.encode_texts(["the river", "the dam"])


def test_an_encoder_with_a_hostile_tokenizer_raises_model_error():
    hostile = tokenizer_file(normalizer=sequence(GROWS, GROWS))
    encoder = DenseEncoder("static:some-model", files=files(hostile))
    for call in (lambda: encoder.encode_query("the dam"), lambda: encoder.model):
        with pytest.raises(ModelError, match="The tokenizer of the static model is refused"):
            call()
