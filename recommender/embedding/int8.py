"""Static quantisation of a converted model to 8-bit integers, for processors with VNNI or AMX.

The inputs of linear layers get one measured range per tensor, the weights one scale per output (Jacob et al. 2018),
after outliers of single input channels are moved into the weights (SmoothQuant, Xiao et al. 2023). Everything else
stays in floating point.

Processors without VNNI add the products of two neighbouring inputs in 16 bits (vpmaddubsw), and larger sums saturate.
The scales of the weights exclude such sums, so that every processor computes the same products.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 2  # of the algorithm; part of the model's hash, since the vectors depend on it
SMOOTHING = 0.75  # SmoothQuant's alpha: the share of an outlier that moves into the weights
CALIBRATION_TEXTS = 256
MIN_CALIBRATION_TOKENS, MAX_CALIBRATION_TOKENS = 4, 512  # per text
MIN_RANGE = 1e-5  # smaller ranges of channels and weights count as this, so that nothing is divided by zero
MAX_WEIGHT_SUM = 127  # of two neighbours of one sign: 255 * (127 + 1 for rounding) fits 16 bits

Tensors = dict[str, NDArray[np.int64]]


def quantise(model: Any, tokenizer: Any, max_tokens: int, to_tensors: Callable[[str], Iterable[Tensors]]) -> int:
    """Quantise the linear layers of a model in place; return their number.

    Args:
        model: an OpenVINO model. Layers that do not compute in float32 stay as they are.
        tokenizer: the model's tokenizer, of the library `tokenizers`. Ranges are measured on texts of tokens drawn at
            random from its vocabulary, which cover the ranges of real texts in every language of the model.
        max_tokens: the length in tokens at which the model truncates a text.
        to_tensors: returns the model's inputs for a text.
    """
    max_length = max(min(max_tokens, MAX_CALIBRATION_TOKENS), MIN_CALIBRATION_TOKENS + 1)
    # A hash, not a random generator: every machine and NumPy version must draw the same texts.
    bits = hashlib.shake_256(b"the same texts everywhere").digest(4 * CALIBRATION_TEXTS * (1 + max_length))
    numbers = np.frombuffer(bits, dtype="<u4").reshape(CALIBRATION_TEXTS, -1).astype(np.int64)
    lengths = MIN_CALIBRATION_TOKENS + numbers[:, 0] % (max_length - MIN_CALIBRATION_TOKENS)
    tokens = numbers[:, 1:] % tokenizer.get_vocab_size()
    texts = [tokenizer.decode(row[:length].tolist()) for row, length in zip(tokens, lengths.tolist(), strict=True)]
    groups = _linear_layers(model)
    ranges = _input_ranges(model.clone(), (tensors for text in texts for tensors in to_tensors(text)))
    for layers, (low, high) in zip(groups, ranges, strict=True):
        _quantise_layers(layers, low, high)
    model.validate_nodes_and_infer_types()
    return sum(map(len, groups))


def quantise_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights as integers, and the scale of each output to multiply them with, shape (outputs, 1).

    No sum of two neighbouring integers times inputs of 0 to 255 exceeds 16 bits. Halving the range of all weights
    (NNCF's `overflow_fix`) has the same effect but costs every output a bit; here most lose less than half of one.

    Args:
        weights: float32, shape (outputs, inputs).
    """
    pairs = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2))).reshape(len(weights), -1, 2)
    sums = np.maximum(np.maximum(pairs, 0).sum(axis=2), np.maximum(-pairs, 0).sum(axis=2))  # of weights of one sign
    scale = np.maximum(sums.max(axis=1, keepdims=True), MIN_RANGE).astype(np.float32) / np.float32(MAX_WEIGHT_SUM)
    return np.round(weights / scale).astype(np.int8), scale


def _linear_layers(model: Any) -> list[list[Any]]:
    """Return the products with constant weights of shape (outputs, inputs), grouped by their common input."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_b"]:
            continue
        source, weights = node.input_value(0), _constant_weights(node)
        is_float32 = source.partial_shape.rank.is_static and source.element_type.to_dtype() == np.float32
        if weights is not None and len(weights.shape) == 2 and is_float32:
            groups.setdefault((source.get_node().get_friendly_name(), source.get_index()), []).append(node)
    return list(groups.values())


def _constant_weights(layer: Any) -> Any:
    """Return the constant that holds a product's weights, in float32 or half precision; None if there is none."""
    node = layer.input_value(1).get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _input_ranges(model: Any, samples: Iterable[Tensors]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the least and the greatest value of each input channel, for each group; adds outputs to the model."""
    from openvino import Core, opset15  # noqa: PLC0415 - not every command embeds

    groups, first_output = _linear_layers(model), len(model.outputs)
    for layers in groups:
        source = layers[0].input_value(0)
        axes = opset15.constant(np.arange(source.partial_shape.rank.get_length() - 1))
        model.add_outputs([opset15.reduce_min(source, axes).output(0), opset15.reduce_max(source, axes).output(0)])
    request = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    ranges: list[Any] = [(np.inf, -np.inf)] * len(groups)
    for tensors in samples:
        request.infer(tensors)
        for group, (low, high) in enumerate(ranges):
            output = first_output + 2 * group
            sample_low, sample_high = (request.get_output_tensor(output + side).data for side in (0, 1))
            ranges[group] = np.minimum(low, sample_low), np.maximum(high, sample_high)
    return ranges


def _quantise_layers(layers: list[Any], low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
    """Quantise the common input of some layers, and their weights.

    Args:
        layers: products with one input.
        low: the least value of each input channel.
        high: the greatest value of each input channel.
    """
    from openvino import opset15  # noqa: PLC0415

    weights = [_constant_weights(layer).get_data().astype(np.float32) for layer in layers]
    input_max = np.maximum(np.maximum(np.abs(low), np.abs(high)), MIN_RANGE)
    weight_max = np.maximum(np.max([np.abs(matrix).max(axis=0) for matrix in weights], axis=0), MIN_RANGE)
    smoothing = (input_max**SMOOTHING / weight_max ** (1 - SMOOTHING)).astype(np.float32)
    source = layers[0].input_value(0)
    shape = [1] * (source.partial_shape.rank.get_length() - 1) + [-1]
    smoothed = opset15.multiply(source, opset15.constant((1 / smoothing).reshape(shape)))
    start, end = (
        opset15.constant(np.float32(limit)) for limit in _quantisation_range(low / smoothing, high / smoothing)
    )
    quantised = opset15.fake_quantize(smoothed, start, end, start, end, 256)
    for layer, matrix in zip(layers, weights, strict=True):
        integers, scale = quantise_weights(matrix * smoothing)
        layer.input(0).replace_source_output(quantised.output(0))
        layer.input(1).replace_source_output(
            opset15.multiply(opset15.convert(opset15.constant(integers), "f32"), opset15.constant(scale)).output(0)
        )


def _quantisation_range(low: NDArray[np.float32], high: NDArray[np.float32]) -> tuple[float, float]:
    """Return the ends of a range of 256 values that covers all values of a tensor and contains 0 exactly."""
    least, greatest = min(float(low.min()), 0.0), max(float(high.max()), MIN_RANGE)
    zero = round(-least * 255 / (greatest - least))
    step = max(greatest / (255 - zero) if zero < 255 else 0.0, -least / zero if zero else 0.0)
    return -step * zero, step * (255 - zero)
