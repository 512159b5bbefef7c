"""A converted model in 8-bit integers: processors with VNNI or AMX compute these several times as fast as float32.

The inputs of linear layers are quantised by ranges that are measured here, one for each tensor, the weights by output
(Jacob et al. 2018), after a part of how far single channels of the inputs reach beyond the others was moved into the
weights (SmoothQuant, Xiao et al. 2023). All else stays as it is.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # of how it is done, which decides the vectors
SMOOTHED = 0.75  # the exponent of an input's range in what goes into the weights: SmoothQuant's alpha
TEXTS = 256  # that ranges are measured on
SHORTEST, LONGEST = 4, 512  # tokens that one has
LEAST = 1e-5  # range of a channel, and of a weight, that does not count as none

Tensors = dict[str, NDArray[np.int64]]


def quantise(model: Any, tokenizer: Any, max_tokens: int, tensors: Callable[[str], Iterable[Tensors]]) -> int:
    """Put the linear layers of a model into integers, in place; return how many there are.

    Args:
        model: of OpenVINO; layers that do not compute in float32 are left.
        tokenizer: its own, of `tokenizers`. Texts of tokens drawn at random from all that it knows reach as far as
            real ones do, in every language that the model knows.
        max_tokens: how many tokens of a text it reads.
        tensors: gives what the model reads for a text.
    """
    longest = max(min(max_tokens, LONGEST), SHORTEST + 1)
    # Every machine and version is to draw the same.
    bits = hashlib.shake_256(b"the same texts everywhere").digest(4 * TEXTS * (1 + longest))
    drawn = np.frombuffer(bits, dtype="<u4").reshape(TEXTS, -1).astype(np.int64)
    lengths, tokens = SHORTEST + drawn[:, 0] % (longest - SHORTEST), drawn[:, 1:] % tokenizer.get_vocab_size()
    texts = [tokenizer.decode(row[:length].tolist()) for row, length in zip(tokens, lengths.tolist(), strict=True)]
    groups = _linear(model)
    ranges = _ranges(model.clone(), (part for text in texts for part in tensors(text)))
    for layers, (low, high) in zip(groups, ranges, strict=True):
        _replace(layers, low, high)
    model.validate_nodes_and_infer_types()
    return sum(map(len, groups))


def _linear(model: Any) -> list[list[Any]]:
    """Return products with constant weights, shape (outputs, inputs), those of one input together."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_b"]:
            continue
        given, weights = node.input_value(0), _constant(node)
        computed = given.partial_shape.rank.is_static and given.element_type.to_dtype() == np.float32
        if weights is not None and len(weights.shape) == 2 and computed:
            groups.setdefault((given.get_node().get_friendly_name(), given.get_index()), []).append(node)
    return list(groups.values())


def _constant(layer: Any) -> Any:
    """Return the weights of a product, which may be kept in half precision; None if they are not constant."""
    node = layer.input_value(1).get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _ranges(model: Any, samples: Iterable[Tensors]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return how far each channel of each group's input reaches, down and up; adds outputs to the model."""
    from openvino import Core, opset15  # noqa: PLC0415 - not every command embeds

    groups, first = _linear(model), len(model.outputs)
    for layers in groups:
        given = layers[0].input_value(0)
        axes = opset15.constant(np.arange(given.partial_shape.rank.get_length() - 1))
        model.add_outputs([opset15.reduce_min(given, axes).output(0), opset15.reduce_max(given, axes).output(0)])
    request = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    found: list[Any] = [(np.inf, -np.inf)] * len(groups)
    for tensors in samples:
        request.infer(tensors)
        for place, (low, high) in enumerate(found):
            own = (request.get_output_tensor(first + 2 * place + side).data for side in (0, 1))
            found[place] = np.minimum(low, next(own)), np.maximum(high, next(own))
    return found


def _replace(layers: list[Any], low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
    """Quantise what goes into some layers, and their weights."""
    from openvino import opset15  # noqa: PLC0415

    weights = [_constant(layer).get_data().astype(np.float32) for layer in layers]
    reach = np.maximum(np.maximum(np.abs(low), np.abs(high)), LEAST)
    own = np.maximum(np.max([np.abs(part).max(axis=0) for part in weights], axis=0), LEAST)
    moved = (reach**SMOOTHED / own ** (1 - SMOOTHED)).astype(np.float32)
    given = layers[0].input_value(0)
    shape = [1] * (given.partial_shape.rank.get_length() - 1) + [-1]
    smooth = opset15.multiply(given, opset15.constant((1 / moved).reshape(shape)))
    least, most = (opset15.constant(np.float32(end)) for end in _ends(low / moved, high / moved))
    rounded = opset15.fake_quantize(smooth, least, most, least, most, 256)
    for layer, part in zip(layers, weights, strict=True):
        smoothed = part * moved
        scale = np.maximum(np.abs(smoothed).max(axis=1, keepdims=True), LEAST) / np.float32(127)
        integers = opset15.constant(np.round(smoothed / scale).astype(np.int8))
        layer.input(0).replace_source_output(rounded.output(0))
        layer.input(1).replace_source_output(
            opset15.multiply(opset15.convert(integers, "f32"), opset15.constant(scale)).output(0)
        )


def _ends(low: NDArray[np.float32], high: NDArray[np.float32]) -> tuple[float, float]:
    """Return the ends of a range of 256 steps that holds all values, one of the steps being 0."""
    least, most = min(float(low.min()), 0.0), max(float(high.max()), LEAST)
    zero = round(-least * 255 / (most - least))
    step = max(most / (255 - zero) if zero < 255 else 0.0, -least / zero if zero else 0.0)
    return -step * zero, step * (255 - zero)
