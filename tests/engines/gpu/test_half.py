"""Networks in half precision: the same function, types at the edges kept, what half precision would spoil left out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.default_model import inputs
from onnx import TensorProto, helper, numpy_helper

from engines import weights
from engines.errors import EngineError
from engines.gpu.half import halved
from engines.openvino import OpenVinoEngine
from engines.verify import compare

CONV = np.random.default_rng(1).standard_normal((6, 3, 3, 3)).astype(np.float32)
HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def network(*, conv: np.ndarray = CONV, quantised: bool = False) -> onnx.ModelProto:
    """face (batch, 8, 8, 3) uint8, normalised, through a convolution, a mean, a GRU and a product, to
    valence_arousal (batch, 2) and expression probabilities (batch, 4)."""
    rng = np.random.default_rng(0)
    constants = {
        "mean": np.float32(127.5),
        "conv": conv,
        "axes": np.array([2, 3]),
        "w": rng.standard_normal((1, 12, 6)).astype(np.float32),
        "r": rng.standard_normal((1, 12, 4)).astype(np.float32),
        "out": rng.standard_normal((4, 2)).astype(np.float32),
        "step": np.float32(0.1),
        "zero": np.int8(0),
    }
    nodes = [
        helper.make_node("Cast", ["face"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "mean"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["chw", "conv"], ["seen"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["seen"], ["rectified"]),
        helper.make_node("ReduceMean", ["rectified", "axes"], ["pooled"], keepdims=0),
        helper.make_node("Constant", [], ["first"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Unsqueeze", ["pooled", "first"], ["sequence"]),
        helper.make_node("GRU", ["sequence", "w", "r"], ["", "state"], hidden_size=4),
        helper.make_node("Squeeze", ["state", "first"], ["last"]),
        helper.make_node("Softmax", ["last"], ["expression"]),
        helper.make_node("MatMul", ["last", "out"], ["valence_arousal"]),
    ]
    if quantised:
        nodes.insert(4, helper.make_node("QuantizeLinear", ["chw", "step", "zero"], ["q"]))
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("face", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [
            helper.make_tensor_value_info("valence_arousal", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("expression", TensorProto.FLOAT, ["batch", 4]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_it_computes_the_same_within_its_rounding(tmp_path: Path, precision: str) -> None:
    onnx.save(network(), tmp_path / "small.onnx")
    onnx.save(halved(network(), precision), tmp_path / "half.onnx")
    face = {"face": np.random.default_rng(2).integers(0, 256, (5, 8, 8, 3), np.uint8)}
    truth, found = (OpenVinoEngine(tmp_path / f"{name}.onnx", caching=False)(face) for name in ("small", "half"))
    for name, values in truth.items():
        np.testing.assert_allclose(found[name], values, atol=2e-2 if precision == "bf16" else 3e-3)
        assert np.abs(found[name] - values).max() > 0  # it is another precision indeed


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_types_at_the_edges_and_the_normalisation_stay(precision: str) -> None:
    model = halved(network(), precision)
    given = {value.name: value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]}
    assert given == {"face": TensorProto.UINT8, "valence_arousal": TensorProto.FLOAT, "expression": TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    half = HALF[precision]
    assert [types[name] for name in ("scaled", "chw", "pooled")] == [TensorProto.FLOAT] * 3
    assert [types[name] for name in ("seen", "rectified", "state", "last")] == [half] * 4
    weight_types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert weight_types["conv_half"] == weight_types["w_half"] == half
    assert "conv" not in weight_types  # no weight is kept twice


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_default_model_in_half_precision_passes_its_verification(tmp_path: Path, precision: str) -> None:
    file = weights.path("face-mt")
    onnx.save(halved(onnx.load(file), precision), tmp_path / "half.onnx")
    figures = compare(
        OpenVinoEngine(file, caching=False),
        OpenVinoEngine(tmp_path / "half.onnx", caching=False),
        inputs(16),
    )
    assert figures.excess is None, figures


def test_weights_beyond_fp16_become_its_largest_number() -> None:
    model = halved(network(conv=CONV * 1e6), "fp16")
    [conv] = [tensor for tensor in model.graph.initializer if tensor.name == "conv_half"]
    assert np.isfinite(numpy_helper.to_array(conv)).all()


def test_bf16_rounds_to_nearest_with_ties_to_even() -> None:
    conv = CONV.copy()
    conv.flat[:4] = [1.0, 1.00390625, 1.01171875, -3.14159265]  # the second and third are ties
    [half] = [tensor for tensor in halved(network(conv=conv), "bf16").graph.initializer if tensor.name == "conv_half"]
    bits = np.frombuffer(half.raw_data, np.uint16)[:4].astype(np.uint32) << 16
    np.testing.assert_array_equal(bits.view(np.float32), np.array([1.0, 1.0, 1.015625, -3.140625], np.float32))


def test_a_quantised_network_is_refused() -> None:
    with pytest.raises(EngineError, match="small is quantised already and has no fp16 form"):
        halved(network(quantised=True), "fp16")


def test_the_original_is_left_as_it_is() -> None:
    model = network()
    before = model.SerializeToString()
    halved(model, "bf16")
    assert model.SerializeToString() == before
