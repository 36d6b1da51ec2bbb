"""The torch engine on the CPU: the same numbers as OpenVINO from the same files, in float32 and in half precision.

What it does on a GPU alone needs one; there, `affectstream engines verify` is the test."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.default_model import inputs
from helpers.small_network import WEIGHT, write_network
from onnx import TensorProto, helper, numpy_helper

from engines import weights
from engines.errors import EngineError
from engines.gpu import torch_cuda
from engines.gpu.mediapipe_onnx import onnx_file
from engines.gpu.onnx_torch import OnnxModule
from engines.gpu.torch_cuda import TorchEngine
from engines.openvino import OpenVinoEngine
from engines.papers.export import write
from engines.papers.live_networks import LiveNetwork
from engines.verify import compare
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE

PARITY = 1e-3  # with OpenVINO in float32


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_default_model_gives_what_openvino_gives(precision: str) -> None:
    file = weights.path("face-mt")
    probe = inputs(9)
    truth, engine = OpenVinoEngine(file, caching=False), TorchEngine(file, precision=precision, device="cpu")
    assert (engine.inputs, engine.types) == (truth.inputs, truth.types)
    expected, found = truth(probe), engine(probe)
    assert found.keys() == expected.keys()
    if precision == "fp32":
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=PARITY)
    else:
        figures = compare(truth, engine, probe)
        assert figures.excess is None, figures
        assert any(not np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("file", [FULL_RANGE, SHORT_RANGE, MESH], ids=lambda file: str(file.name))
def test_the_networks_of_perception_give_what_openvino_gives(file, portrait: np.ndarray) -> None:
    path = onnx_file(weights.path(file.name), file.mean, file.scale)
    truth, engine = OpenVinoEngine(path, caching=False), TorchEngine(path, precision="fp32", device="cpu")
    size = truth.inputs["picture"][1]
    probe = {"picture": np.stack([portrait[:size, :size], portrait[100 : 100 + size, 150 : 150 + size]])}
    expected, found = truth(probe), engine(probe)
    assert list(found) == list(expected)  # perception reads them by their order
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=PARITY)


class Recurrent(torch.nn.Module):
    """What the papers' live forms are made of: pictures as bytes, a convolution through time, a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv3d(3, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm3d(4)
        self.rnn = torch.nn.GRU(4, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(10, 2)

    def forward(self, clip: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        x = (clip.float() / 255.0).movedim(4, 1)
        x = self.norm(self.stem(x)).relu()
        x = torch.nn.functional.max_pool3d(x, (1, 2, 2)).mean((3, 4)).transpose(1, 2)
        x, last = self.rnn(x, state.transpose(0, 1).contiguous())
        return {"valence_arousal": self.head(x[:, -1]).tanh(), "next_state": last.transpose(0, 1)}


def test_three_dimensions_and_recurrent_layers_give_what_torch_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Recurrent().eval()
    inputs = {"clip": torch.zeros(2, 4, 6, 6, 3, dtype=torch.uint8), "state": torch.zeros(2, 4, 5)}
    write(LiveNetwork(network, inputs), tmp_path / "clip.onnx")
    rng = np.random.default_rng(0)
    given = {
        "clip": rng.integers(0, 256, (5, 4, 6, 6, 3), np.uint8),
        "state": rng.standard_normal((5, 4, 5)).astype(np.float32),
    }
    with torch.inference_mode():
        expected = network(*(torch.from_numpy(values) for values in given.values()))
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 2e-2)):
        found = TorchEngine(tmp_path / "clip.onnx", precision=precision, device="cpu")(given)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values.numpy(), atol=tolerance)


@pytest.mark.parametrize("rows", [0, 1, 5, 130])
def test_outputs_come_by_name_for_any_batch(tmp_path: Path, rows: int) -> None:
    engine = TorchEngine(write_network(tmp_path / "small.onnx"), precision="fp32", device="cpu")
    crop = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
    outputs = engine({"crop": crop})
    np.testing.assert_allclose(outputs["valence_arousal"], np.maximum(crop @ WEIGHT, 0), atol=1e-6)
    assert outputs["expression"].shape == (rows, 3)


def test_many_threads_may_call_at_once(tmp_path: Path) -> None:
    engine = TorchEngine(write_network(tmp_path / "small.onnx"), precision="fp32", device="cpu")

    def call(i: int) -> bool:
        crop = np.full((1 + i % 3, 4), i / 50, np.float32)
        return bool(np.allclose(engine({"crop": crop})["valence_arousal"], crop @ WEIGHT, atol=1e-5))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(40)))


def test_padding_that_differs_at_the_ends_is_that_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[0, 0, 1, 1], strides=[2, 2]),
            helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2, 2], pads=[0, 1, 1, 0], strides=[1, 1]),
            helper.make_node("AveragePool", ["m"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        "pads",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 2, 2])],
        [numpy_helper.from_array(rng.standard_normal((2, 3, 3, 3)).astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "pads.onnx")
    given = {"x": rng.standard_normal((3, 3, 8, 8)).astype(np.float32)}
    expected = OpenVinoEngine(tmp_path / "pads.onnx", caching=False)(given)["y"]
    found = OnnxModule(model)(torch.from_numpy(given["x"]))["y"]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_an_operation_that_is_not_known_is_a_sentence(tmp_path: Path) -> None:
    odd = write_network(tmp_path / "odd.onnx", operator="Frobnicate")
    with pytest.raises(EngineError, match="Frobnicate is not known to the torch engine; choose openvino"):
        TorchEngine(odd, precision="fp32", device="cpu")


def test_a_machine_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"torch .* sees no NVIDIA GPU here; choose openvino"):
        torch_cuda.precisions()


def test_without_torch_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r"needs PyTorch: pip install 'affectstream\[train\]'"):
        torch_cuda.version()
