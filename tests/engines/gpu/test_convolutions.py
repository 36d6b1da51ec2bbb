"""Convolutions written for matrix units are the same convolutions: other memory, wider channels, fewer operations."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.live_models import live_of
from onnx import TensorProto, helper, numpy_helper

from engines import weights
from engines.gpu import torch_cuda
from engines.gpu.convolutions import FUSED, How, convolution, fused, widened
from engines.gpu.mediapipe_onnx import onnx_file
from engines.gpu.onnx_torch import OnnxModule
from engines.papers.export import write
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE


@pytest.fixture(scope="module")
def tsav(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("convolutions") / "tsav.onnx"
    write(live_of("tsav"), path)
    return onnx.load(str(path))


def dims(model: onnx.ModelProto) -> list[list[int]]:
    """Of the weights of its convolutions."""
    known = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return [known[node.input[1]] for node in model.graph.node if node.op_type in ("Conv", FUSED)]


@torch.inference_mode()
def test_a_network_with_wider_and_fused_convolutions_gives_the_same(tsav: onnx.ModelProto) -> None:
    wide = widened(tsav)
    onnx.checker.check_model(wide, full_check=True)
    changed = [(old[0], new[0]) for old, new in zip(dims(tsav), dims(wide), strict=True) if old[0] != new[0]]
    assert changed  # 5, 18, 28, ... of the narrow network of tests
    assert all(old % 8 and new % 64 == 0 for old, new in changed)
    made = fused(wide)
    left = [node.op_type for node in made.graph.node]
    assert not {"Conv", "Relu", "Add"} & set(left)
    torch.manual_seed(0)
    given = (torch.randint(0, 256, (3, 8, 112, 112, 4), dtype=torch.uint8), torch.randn(3, 1, 64, 1001))
    expected = OnnxModule(tsav).eval()(*given)
    for name, values in OnnxModule(made).eval()(*given).items():
        torch.testing.assert_close(values, expected[name], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_weights_that_a_file_has_once_for_several_convolutions_grow_for_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Identity", ["b"], ["b2"]),
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Add", ["x", "c2"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    weight = rng.standard_normal((5, 5, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes, "shared", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5, 6, 6])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight[:, 0, 0, 0].copy(), "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    wide = widened(model)
    assert dims(wide) == [[64, 5, 3, 3], [5, 64, 3, 3]]
    x = torch.randn(2, 5, 6, 6)
    expected = OnnxModule(model)(x)["y"]
    made = fused(wide)
    assert [node.op_type for node in made.graph.node] == ["Identity", FUSED, FUSED]
    torch.testing.assert_close(OnnxModule(made)(x)["y"], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize(("size", "kernel", "padding"), [((112, 112), 7, 3), ((33, 50), 3, 1), ((20, 21), 4, 0)])
@torch.inference_mode()
def test_a_picture_of_few_channels_may_be_folded(
    channels: int, size: tuple[int, int], kernel: int, padding: int
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, channels, *size), torch.randn(8, channels, kernel, kernel), torch.randn(8)
    expected = torch.nn.functional.conv2d(x, weight, bias, 2, padding).relu()
    found = convolution(x, weight, bias, None, How((2, 2), (padding, padding), (1, 1), relu=True))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((1, 3, 3), (1, 2, 2), (0, 1, 1)), ((1, 1, 1), (2, 2, 2), (0, 0, 0)), ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
     ((3, 3, 3), (1, 1, 1), (1, 1, 1)), ((1, 1, 1), (1, 1, 1), (1, 0, 0))],
)  # fmt: skip
@torch.inference_mode()
def test_pictures_of_a_clip_are_pictures(
    kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 4, 9, 9), torch.randn(8, 8, *kernel)
    expected = torch.nn.functional.conv3d(x, weight, None, stride, padding)
    shortcut = torch.randn_like(expected)
    found = convolution(x, weight, None, shortcut, How(stride, padding, (1, 1, 1), relu=True))
    torch.testing.assert_close(found, (expected + shortcut).relu(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["face-mt", "tsav", *(file.name for file in (FULL_RANGE, SHORT_RANGE, MESH))])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.inference_mode()
def test_nothing_goes_between_host_and_device_while_a_network_runs(name: str, precision: str, tmp_path: Path) -> None:
    """Which could not be recorded as a CUDA graph. "meta" is a device whose numbers nobody can read."""
    if name == "tsav":
        path = tmp_path / "tsav.onnx"
        write(live_of("tsav"), path)
    elif name == "face-mt":
        path = weights.path(name)
    else:
        (file,) = (file for file in (FULL_RANGE, SHORT_RANGE, MESH) if file.name == name)
        path = onnx_file(weights.path(name), file.mean, file.scale)
    module = torch_cuda.module(path, precision).to("meta")
    for rows in (1, 5):
        given = [
            torch.empty((rows, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])), device="meta",
                        dtype=torch.uint8 if value.type.tensor_type.elem_type == TensorProto.UINT8 else torch.float32)
            for value in onnx.load(str(path)).graph.input
        ]  # fmt: skip
        for values in module(*given).values():
            assert values.device.type == "meta"
            assert values.shape[0] == rows
