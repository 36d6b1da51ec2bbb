"""Store the float32 tensors of an ONNX file in float16 or in bytes, in less room, and restore them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALL = 1024  # tensors with fewer elements stay float32: norms and biases
_LARGE = 16_384  # convolutions with fewer weights are not stored in bytes
_LEVELS, _BYTES = 127, "_bytes"


def halve(model: onnx.ModelProto) -> None:
    """Store large float32 tensors as float16 behind a Cast, which every runtime folds away at load."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT, name=name + "_cast"))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def quarter(model: onnx.ModelProto) -> None:
    """Store the weights of large convolutions as bytes with a scale per output channel, behind a DequantizeLinear.

    They are computed with in float32 as before; a weight is off by at most half a 127th of the largest of its channel.
    """
    graph = model.graph
    convolutions = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    nodes = []
    for tensor in [t for t in graph.initializer if t.name in convolutions]:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LARGE:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        largest = np.abs(values).reshape(len(values), -1).max(1)
        scale = np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)
        levels = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(levels, name + _BYTES))
        graph.initializer.append(numpy_helper.from_array(scale, name + "_scale"))
        inputs = [name + _BYTES, name + "_scale"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0, name=name + "_whole"))
    for node in reversed(nodes):
        graph.node.insert(0, node)


def whole(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with weights that were stored in float16 or bytes in float32, as quantisers want them."""
    stored = {t.name: t for t in model.graph.initializer}
    for node in list(model.graph.node):
        given = [stored.get(name) for name in node.input]
        tensor = given[0] if given else None
        if tensor is None:
            continue
        if node.op_type == "Cast" and tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
        elif node.op_type == "DequantizeLinear" and tensor.name.endswith(_BYTES) and given[1] is not None:
            levels = numpy_helper.to_array(tensor).astype(np.float32)
            values = levels * numpy_helper.to_array(given[1]).reshape(-1, *[1] * (levels.ndim - 1))
        else:
            continue
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for name, tensor in stored.items():
        if name not in used:
            model.graph.initializer.remove(tensor)
    return model


def restored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` whose weights are float32 wherever the file stores them in float16 or bytes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return whole(copy)
