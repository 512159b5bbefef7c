"""The tokens of the word cache are those of the tokenizer itself."""

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
from recommender.embedding.wordpiece import WordPieceTokenizer, tokenizes_by_word

TOKENIZER_PATH = str(DenseEncoder().folder / "tokenizer.json")
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


def tokenizer(max_tokens=None):
    loaded = Tokenizer.from_file(TOKENIZER_PATH)
    loaded.no_padding()
    if max_tokens:
        loaded.enable_truncation(max_tokens)
    return loaded


BY_WORD = {limit: WordPieceTokenizer(tokenizer(), limit, special=True) for limit in (4, 16, 512)}
WHOLE_TEXT = {limit: tokenizer(limit) for limit in BY_WORD}


@pytest.mark.parametrize("max_tokens", BY_WORD)
@given(st.lists(TEXT.map("".join), max_size=4))
def test_tokens_equal_those_of_the_tokenizer(max_tokens, texts):
    texts = [text.encode(errors="replace").decode() for text in [*texts, *TEXTS]]
    expected = [encoding.ids for encoding in WHOLE_TEXT[max_tokens].encode_batch_fast(texts)]
    assert [ids.tolist() for ids in BY_WORD[max_tokens].token_ids(texts)] == expected


def test_the_word_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(wordpiece, "MAX_CACHE_CHARS", 50 * wordpiece.ENTRY_CHARS)
    by_word, whole_text = WordPieceTokenizer(tokenizer(), 512, special=False), tokenizer(512)
    for start in range(0, 400, 40):
        texts = [f"word{number} and word{number + 7}" for number in range(start, start + 40)]
        expected = [encoding.ids for encoding in whole_text.encode_batch_fast(texts, add_special_tokens=False)]
        assert [ids.tolist() for ids in by_word.token_ids(texts)] == expected
        assert len(by_word._cache) < 100


def test_only_tokenizers_like_berts_tokenize_by_word():
    assert tokenizes_by_word(tokenizer())
    tokens = [AddedToken("New York"), AddedToken("new\xa0york"), AddedToken("<mask>", lstrip=True)]
    with_added_tokens = [tokenizer() for _ in tokens]
    for other, token in zip(with_added_tokens, tokens, strict=True):
        other.add_tokens([token])
    truncated_left = tokenizer()
    truncated_left.enable_truncation(8, direction="left")
    metaspace = tokenizer()
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    lowercase = tokenizer()
    lowercase.normalizer = normalizers.Sequence([normalizers.Lowercase()])
    byte_pairs = Tokenizer(models.BPE())
    for other in (*with_added_tokens, truncated_left, metaspace, lowercase, byte_pairs):
        assert not tokenizes_by_word(other)


@pytest.mark.parametrize("max_tokens", [8, 512])
def test_static_vectors_equal_those_of_model2vec(max_tokens, monkeypatch):
    files = DenseEncoder("static").files
    vectors = load(files[VECTORS])["vectors"].astype(np.float32)
    model = StaticModel(vectors, Tokenizer.from_buffer(files[TOKENIZER]), normalize=True, max_length=max_tokens)
    texts = [text for text in TEXTS if text.strip()]
    expected = model.encode(texts)
    np.testing.assert_allclose(StaticEncoder(files, max_tokens).encode(texts, query=False), expected, atol=1e-6)
    assert not StaticEncoder(files, max_tokens).encode(["", "\ufffd"], query=False).any()
    monkeypatch.setattr("recommender.embedding.static.tokenizes_by_word", lambda tokenizer: False)
    np.testing.assert_array_equal(StaticEncoder(files, max_tokens).encode(texts, query=False), expected)
