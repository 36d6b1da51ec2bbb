"""Store the float32 tensors of an ONNX file in float16 behind a Cast, in half the room, and restore them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALL = 1024  # tensors with fewer elements stay float32: norms and biases


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


def whole(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with weights stored in float16 turned to float32, as quantisers want them."""
    halves = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in halves]:
        values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for name, tensor in halves.items():
        if name not in used:
            model.graph.initializer.remove(tensor)
    return model
