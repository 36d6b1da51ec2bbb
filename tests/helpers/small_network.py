"""A small ONNX network whose outputs are known by arithmetic."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def write_network(
    path: Path, *, batch: str | int = "batch", operator: str = "Relu", weight: np.ndarray = WEIGHT
) -> Path:
    """crop (batch, 4) -> valence_arousal = Relu(crop @ weight), a tensor of two names, and expression = its Softmax."""
    nodes = [
        helper.make_node("MatMul", ["crop", "weight"], ["product"]),
        helper.make_node(operator, ["product"], ["inner"]),
        helper.make_node("Identity", ["inner"], ["valence_arousal"]),
        helper.make_node("Softmax", ["product"], ["expression"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 3]) for n in ("valence_arousal", "expression")],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path
