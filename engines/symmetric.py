"""An 8-bit ONNX network without zero points, as TensorRT wants it.

Quantisers for CPUs give activations unsigned bytes with a zero point that uses their whole range. TensorRT takes signed
bytes around zero alone. The ranges stay those that were calibrated; what lies on one side of zero only loses one bit.
Needs the package onnx.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_LARGEST = 127  # of a signed byte; -128 is left out, so that both sides are alike


def symmetric(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with every zero point 0 and signed; the original is left as it is. Scales are those of constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]  # which says "unsigned" of tensors between nodes
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    added: dict[str, onnx.TensorProto] = {}
    for node in made.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        value, scale, zero = node.input
        if numpy_helper.to_array(constants[zero]).dtype == np.uint8:
            steps, around = numpy_helper.to_array(constants[scale]), numpy_helper.to_array(constants[zero])
            wider = _wider(steps, around)
            names = f"{scale}_symmetric", f"{zero}_symmetric"
            added[names[0]] = numpy_helper.from_array(wider, names[0])
            added[names[1]] = numpy_helper.from_array(np.zeros(wider.shape, np.int8), names[1])
            if value in constants:  # a weight that was stored quantised
                axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
                stored = _requantised(numpy_helper.to_array(constants[value]), steps, around, wider, axis)
                added[f"{value}_symmetric"] = numpy_helper.from_array(stored, f"{value}_symmetric")
                node.input[0] = f"{value}_symmetric"
            node.input[1], node.input[2] = names
        if value in constants:
            _count_from_the_front(node, len(constants[value].dims))
    used = {name for node in made.graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend([*kept, *added.values()])
    return made


def _wider(scale: NDArray[np.float32], zero: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The scale of signed bytes that reach as far as the unsigned ones did on their longer side."""
    below, above = zero.astype(np.float32), 255 - zero.astype(np.float32)
    return np.asarray(scale * np.maximum(below, above) / _LARGEST, np.float32)


def _requantised(
    value: NDArray[np.uint8],
    scale: NDArray[np.float32],
    zero: NDArray[np.uint8],
    wider: NDArray[np.float32],
    axis: int,
) -> NDArray[np.int8]:
    if scale.ndim:
        shape = [1] * value.ndim
        shape[axis] = -1
        scale, zero, wider = scale.reshape(shape), zero.reshape(shape), wider.reshape(shape)
    real = (value.astype(np.float32) - zero) * scale
    return np.asarray(np.clip(np.rint(real / wider), -_LARGEST, _LARGEST), np.int8)


def _count_from_the_front(node: onnx.NodeProto, dimensions: int) -> None:
    """The axis of a weight's scales as a number that is not negative."""
    for attribute in node.attribute:
        if attribute.name == "axis" and attribute.i < 0:
            attribute.i += dimensions
