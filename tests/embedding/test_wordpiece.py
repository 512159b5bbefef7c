"""Tokens by words are those of the tokenizer itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model2vec import StaticModel
from safetensors.numpy import load
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from recommender.embedding import wordpiece
from recommender.embedding.encoder import DenseEncoder
from recommender.embedding.static import TOKENIZER, VECTORS, StaticEncoder
from recommender.embedding.wordpiece import WordPieces, read_by_words

FILE = str(DenseEncoder().folder / "tokenizer.json")
TEXTS = [
    "",
    " \n",
    "Cocoa prices rose, again; std::vector<int>::push_back() isn't it?",
    "ÉTÉ Straße ﬁle 原油価格 x原油y \u0301abc cafe\u0301 \u200b\u200b \xa0 a\xa0b\u3000c\u2028d",
    "a\x0bb c\x1cd e\x85f \x1f g\x0ch \x7f i\x01j \ufffd k",
    "[CLS] not one [SEP]x [MASK][UNK] ##ing",
    "supercalifragilisticexpialidocious " * 3 + "x" * 300,
    "\u0301 \u200d " * 40 + "the end",
]
TEXT = st.lists(
    st.one_of(st.sampled_from(" \n\t\x0b\x1c\x85\xa0\u0301\u200b.,-[]#"), st.sampled_from(TEXTS), st.text(max_size=9))
)


def tokenizer(most=None):
    made = Tokenizer.from_file(FILE)
    made.no_padding()
    if most:
        made.enable_truncation(most)
    return made


BY_WORDS = {most: WordPieces(tokenizer(), most, special=True) for most in (4, 16, 512)}
WHOLE = {most: tokenizer(most) for most in BY_WORDS}


@pytest.mark.parametrize("most", BY_WORDS)
@given(st.lists(TEXT.map("".join), max_size=4))
def test_tokens_are_the_tokenizers_own(most, texts):
    texts = [text.encode(errors="replace").decode() for text in [*texts, *TEXTS]]
    expected = [encoding.ids for encoding in WHOLE[most].encode_batch_fast(texts)]
    assert [ids.tolist() for ids in BY_WORDS[most].ids(texts)] == expected


def test_words_that_are_kept_do_not_fill_memory(monkeypatch):
    monkeypatch.setattr(wordpiece, "MOST_KEPT", 50 * wordpiece.AROUND)
    by_words, whole = WordPieces(tokenizer(), 512, special=False), tokenizer(512)
    for start in range(0, 400, 40):
        texts = [f"word{number} and word{number + 7}" for number in range(start, start + 40)]
        own = [encoding.ids for encoding in whole.encode_batch_fast(texts, add_special_tokens=False)]
        assert [ids.tolist() for ids in by_words.ids(texts)] == own
        assert len(by_words._known) < 100


def test_other_tokenizers_are_left_to_themselves():
    assert read_by_words(tokenizer())
    added = [AddedToken("New York"), AddedToken("new\xa0york"), AddedToken("<mask>", lstrip=True)]
    spaced = [tokenizer() for _ in added]
    for other, token in zip(spaced, added, strict=True):
        other.add_tokens([token])
    left = tokenizer()
    left.enable_truncation(8, direction="left")
    words = tokenizer()
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    unlike = tokenizer()
    unlike.normalizer = normalizers.Sequence([normalizers.Lowercase()])
    pairs = Tokenizer(models.BPE())
    for other in (*spaced, left, words, unlike, pairs):
        assert not read_by_words(other)


@pytest.mark.parametrize("max_tokens", [8, 512])
def test_static_vectors_are_those_of_model2vec(max_tokens, monkeypatch):
    files = DenseEncoder("static").files
    vectors = load(files[VECTORS])["vectors"].astype(np.float32)
    own = StaticModel(vectors, Tokenizer.from_buffer(files[TOKENIZER]), normalize=True, max_length=max_tokens)
    texts = [text for text in TEXTS if text.strip()]
    found = StaticEncoder(files, max_tokens).encode(texts, query=False)
    np.testing.assert_allclose(found, own.encode(texts), atol=1e-6)
    assert not StaticEncoder(files, max_tokens).encode(["", "\ufffd"], query=False).any()
    monkeypatch.setattr("recommender.embedding.static.read_by_words", lambda tokenizer: False)
    np.testing.assert_array_equal(StaticEncoder(files, max_tokens).encode(texts, query=False), own.encode(texts))
