import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from openvino import opset15
from tokenizers import Tokenizer, models

from recommender.embedding.encoder import DenseEncoder
from recommender.embedding.int8 import quantise, quantise_weights
from recommender.sources import Source

VOCABULARY, INPUTS, OUTPUTS = 40, 48, 32


def product_model(table, weights, bias):
    """Return a model that looks up a row of the table for each token and multiplies it by the weights."""
    ids = opset15.parameter([-1, -1], np.int64, name="input_ids")
    rows = opset15.gather(opset15.constant(table), ids, opset15.constant(np.int64(0)))
    product = opset15.matmul(rows, opset15.constant(weights), False, True)
    return ov.Model([opset15.add(product, opset15.constant(bias))], [ids], "product")


def outputs(model, ids):
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"input_ids": ids})[0]


@pytest.mark.parametrize("outlier", [1, 100], ids=["even channels", "one channel with outliers"])
def test_a_quantised_product_is_close_to_float32(outlier):
    rng = np.random.default_rng(3)
    table = rng.normal(size=(VOCABULARY, INPUTS)).astype(np.float32)
    table[:, 5] *= outlier
    weights = rng.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    weights[:, 5] /= outlier
    bias = rng.normal(size=OUTPUTS).astype(np.float32)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    ids = rng.integers(0, VOCABULARY, (4, 9))
    model = product_model(table, weights, bias)
    expected = outputs(model, ids)
    calibration_tokens = []

    def to_tensors(text):
        numbers = [int(word[1:]) for word in text.split()]
        calibration_tokens.extend(numbers)
        yield {"input_ids": np.array([numbers], dtype=np.int64)}

    assert quantise(model, tokenizer, 128, to_tensors) == 1
    assert set(calibration_tokens) == set(range(VOCABULARY))
    errors = outputs(model, ids) - expected
    assert np.abs(errors).max() > 0
    # Rounding alone costs about 0.01.
    assert np.sqrt((errors**2).mean()) < 0.02 * expected.std()


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.floats(-1000, 1000, width=32),
    )
)
def test_sums_of_two_neighbouring_products_fit_16_bits(weights):
    integers, scale = quantise_weights(weights)
    assert integers.shape == weights.shape
    np.testing.assert_allclose(integers * scale, weights, atol=scale.max())
    wide = np.pad(integers.astype(np.int64), ((0, 0), (0, weights.shape[1] % 2))).reshape(len(weights), -1, 2)
    assert (255 * np.maximum(wide, 0).sum(axis=2)).max() <= np.iinfo(np.int16).max
    assert (255 * np.minimum(wide, 0).sum(axis=2)).min() >= np.iinfo(np.int16).min


@pytest.mark.slow
def test_vectors_of_real_articles_are_close_to_those_of_float32(root):
    articles = [entry.article for entry in Source(root / "examples")]
    vectors = DenseEncoder("int8").encode_articles(articles)
    cosines = (vectors * DenseEncoder().encode_articles(articles)).sum(axis=1)
    assert cosines.mean() > 0.997
    assert cosines.min() > 0.994


def test_a_model_without_linear_layers_is_not_quantised():
    ids = opset15.parameter([-1, -1], np.int64, name="input_ids")
    model = ov.Model([opset15.convert(ids, "f32")], [ids], "no products")
    tokenizer = Tokenizer(models.WordLevel({"w0": 0}, unk_token="w0"))
    assert quantise(model, tokenizer, 128, lambda text: [{"input_ids": np.zeros((1, 2), dtype=np.int64)}]) == 0
