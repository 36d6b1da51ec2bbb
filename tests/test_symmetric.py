"""8-bit networks for TensorRT: no zero points, signed bytes, and nearly the same numbers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.openvino import OpenVinoEngine
from engines.symmetric import symmetric

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((8, 4)).astype(np.float32)


def quantised(weight_dtype: type[np.integer]) -> onnx.ModelProto:
    """x (batch, 8) in [-1, 3] -> y = x @ WEIGHT, both quantised; the weight by columns, along axis -1."""
    low = 128 if weight_dtype is np.uint8 else 0
    steps = (np.abs(WEIGHT).max(0) / 127).astype(np.float32)
    constants = {
        "s": np.float32(4 / 255),
        "z": np.uint8(64),
        "w": (np.rint(WEIGHT / steps) + low).astype(weight_dtype),
        "ws": steps,
        "wz": np.full(4, low, weight_dtype),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["weight"], axis=-1),
        helper.make_node("MatMul", ["d", "weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "eight",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    graph.value_info.append(helper.make_tensor_value_info("q", TensorProto.UINT8, ["batch", 8]))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("weight_dtype", [np.int8, np.uint8])
def test_the_numbers_stay_within_a_step_of_the_wider_scale(tmp_path: Path, weight_dtype: type[np.integer]) -> None:
    model = symmetric(quantised(weight_dtype))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "symmetric.onnx")
    x = RNG.uniform(-1, 3, (16, 8)).astype(np.float32)
    found = OpenVinoEngine(tmp_path / "symmetric.onnx", precision="int8", caching=False)({"x": x})["y"]
    rounding = 3 / 127 / 2 * np.abs(WEIGHT).sum(0) + np.abs(x).sum(1, keepdims=True) * np.abs(WEIGHT).max(0) / 127
    assert (np.abs(found - x @ WEIGHT) <= rounding).all()


@pytest.mark.parametrize("weight_dtype", [np.int8, np.uint8])
def test_there_is_no_zero_point_and_no_unsigned_byte_left(weight_dtype: type[np.integer]) -> None:
    before = quantised(weight_dtype)
    copy = before.SerializeToString()
    model = symmetric(before)
    assert before.SerializeToString() == copy
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node[:3]:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    assert all(values.dtype != np.uint8 for values in constants.values())
    [axis] = [attribute.i for attribute in model.graph.node[2].attribute if attribute.name == "axis"]
    assert axis == 1
    np.testing.assert_allclose(constants["s_symmetric"], 4 / 255 * 191 / 127, rtol=1e-6)
