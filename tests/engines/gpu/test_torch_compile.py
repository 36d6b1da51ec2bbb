"""torch.compile where it pays: the flat graph is the same network, the faster of the two runs, and a failure costs
nothing. CUDA is a stand-in; which of them is faster on a GPU only a GPU can tell."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.default_model import inputs
from helpers.live_models import live_of
from helpers.small_network import WEIGHT, write_network

from engines import weights
from engines.batches import SIZES, in_sizes
from engines.gpu import torch_cuda
from engines.gpu.half import halved
from engines.gpu.onnx_torch import OnnxModule
from engines.gpu.torch_compile import faster, flat
from engines.papers import export


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.inference_mode()
def test_the_flat_graph_is_the_network_and_one_piece_to_the_compiler(precision: str) -> None:
    network = onnx.load(str(weights.path("face-mt")))
    network.graph.name = "face-mt"
    module = OnnxModule(network if precision == "fp32" else halved(network, precision)).eval()
    given = {name: torch.from_numpy(values) for name, values in inputs(5).items()}
    made = flat(module, given)
    seen = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        seen.append(graph)
        return graph.forward

    compiled = torch.compile(made, backend=backend, fullgraph=True)
    expected = module(*given.values())
    for outputs in (made(*given.values()), compiled(*given.values())):
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            torch.testing.assert_close(outputs[name], values, atol=0, rtol=0)
    assert len(seen) == 1


@torch.inference_mode()
def test_recurrent_layers_states_and_several_inputs_stay_what_they_are(tmp_path: Path) -> None:
    live = live_of("mt-vgg-gru")
    export.write(live, tmp_path / "recurrent.onnx")
    module = OnnxModule(onnx.load(str(tmp_path / "recurrent.onnx"))).eval()
    made = flat(module, live.inputs)
    given = [torch.randint(0, 255, x.shape, dtype=x.dtype) if x.ndim == 4 else torch.randn_like(x)
             for x in live.inputs.values()]  # fmt: skip
    expected = module(*given)
    assert len(expected) > 1
    for name, values in made(*given).items():
        torch.testing.assert_close(values, expected[name], atol=0, rtol=0)


def test_the_faster_of_the_two_is_kept() -> None:
    times = {"plain": 2.0, "quick": 1.0, "hardly": 1.9, "slow": 3.0}
    assert faster("plain", lambda: "quick", times.__getitem__, "x") == "quick"
    assert faster("plain", lambda: "hardly", times.__getitem__, "x") == "plain"
    assert faster("plain", lambda: "slow", times.__getitem__, "x") == "plain"


@pytest.mark.parametrize("where", ["compiling", "running"])
def test_what_the_compiler_cannot_do_is_logged_and_done_without(where: str, caplog: pytest.LogCaptureFixture) -> None:
    def compile_() -> str:
        if where == "compiling":
            raise NotImplementedError("no Triton\nfor this GPU")
        return "broken"

    assert faster("plain", compile_, {"plain": 1.0}.__getitem__, "face-mt.onnx in bf16") == "plain"
    error = {"compiling": "NotImplementedError: no Triton", "running": "KeyError: 'broken'"}[where]
    assert f"face-mt.onnx in bf16 runs without torch.compile, which failed: {error}" in caplog.text


def test_a_network_that_fails_by_itself_is_not_the_compilers_fault() -> None:
    with pytest.raises(KeyError):
        faster("plain", lambda: "quick", {"quick": 1.0}.__getitem__, "x")


class Timed(torch.nn.Module):
    """A module whose replays take so many seconds on the stand-in's clock."""

    def __init__(self, cuda: "StandIn", inner: torch.nn.Module, seconds: float) -> None:
        super().__init__()
        self.cuda_, self.inner, self.seconds = cuda, inner, seconds

    def forward(self, *given: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs: dict[str, torch.Tensor] = self.inner(*given)
        if self.cuda_.recording is not None:
            self.cuda_.recording.work = (self, given, outputs)
        return outputs


class StandIn:
    """torch with a GPU that is the CPU: a recorded graph does its work again, into the same outputs."""

    def __init__(self, compiled: float | None) -> None:
        """`compiled`: seconds that a compiled module takes; None if none can be."""
        self.recording: Any = None
        self.clock = 0.0
        self.compilations = self.recorded = 0
        self._compiled = compiled
        stand_in = self

        class Graph:
            work: Any

            def replay(self) -> None:
                module, given, outputs = self.work
                for name, values in module.inner(*given).items():
                    outputs[name].copy_(values)
                stand_in.clock += module.seconds

        @contextmanager
        def graph(made: Graph, **_: Any) -> Iterator[None]:
            self.recording = made
            self.recorded += 1
            yield
            self.recording = None

        self.cuda = SimpleNamespace(
            Stream=lambda: SimpleNamespace(synchronize=lambda: None), stream=lambda _: nullcontext(),
            graph_pool_handle=lambda: 1, empty_cache=lambda: None, CUDAGraph=Graph, graph=graph,
        )  # fmt: skip

    def compile(self, module: torch.nn.Module) -> Timed:
        self.compilations += 1
        if self._compiled is None:
            raise RuntimeError("no compiler here")
        return Timed(self, module, self._compiled)

    def zeros(self, shape: Any, *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory
        return torch.zeros(shape, dtype=dtype)

    def zeros_like(self, x: torch.Tensor, *, device: str) -> torch.Tensor:
        assert device == "cuda"
        return torch.zeros_like(x)

    def empty(self, shape: Any, *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory
        return torch.empty(shape, dtype=dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.mark.parametrize(
    ("plain", "compiled", "compilations"),
    [(5e-4, 2e-4, len(SIZES)), (5e-4, 1e-3, 1), (5e-4, None, 1), (5e-3, 1e-3, 0)],
)
def test_any_batch_comes_out_right_and_nothing_is_compiled_in_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: float, compiled: float | None, compilations: int
) -> None:
    """Where compiling pays at one size, all sizes are compiled before the engine is handed out; a network that takes
    long is not tried."""
    cuda = StandIn(compiled)
    monkeypatch.setattr(torch_cuda, "perf_counter", lambda: cuda.clock)
    module = Timed(cuda, OnnxModule(onnx.load(str(write_network(tmp_path / "small.onnx")))).eval(), plain)
    engine = torch_cuda._OnGpu(cuda, module, {"crop": (-1, 4)}, {"crop": "float32"})
    engine.record()
    engine.compile_if_faster("small.onnx in bf16")
    assert cuda.compilations == compilations
    before, recorded = cuda.clock, cuda.recorded
    assert recorded == len(SIZES) + (compilations if compiled is not None else 0)
    for rows in (1, 5, 16, 5, 130):
        crop = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        with torch.inference_mode():
            found = in_sizes(rows, {"crop": crop}, engine)
        np.testing.assert_allclose(found["valence_arousal"], np.maximum(crop @ WEIGHT, 0), atol=1e-6)
    assert (cuda.compilations, cuda.recorded) == (compilations, recorded)
    kept = compiled if compilations == len(SIZES) and compiled is not None else plain
    assert cuda.clock - before == pytest.approx(7 * kept)


def test_sizes_that_a_gpu_has_no_memory_for_are_left_out(tmp_path: Path) -> None:
    class Hungry(Timed):
        def forward(self, *given: torch.Tensor) -> dict[str, torch.Tensor]:
            if len(given[0]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(*given)

    cuda = StandIn(None)
    inner = OnnxModule(onnx.load(str(write_network(tmp_path / "small.onnx")))).eval()
    most = 8
    engine = torch_cuda._OnGpu(cuda, Hungry(cuda, inner, 1.0), {"crop": (-1, 4)}, {"crop": "float32"})
    engine.record()
    engine.compile_if_faster("small.onnx in bf16")
    assert engine.sizes == [1, 2, 4, 8]
    crop = np.random.default_rng(0).standard_normal((21, 4)).astype(np.float32)
    with torch.inference_mode():
        found = in_sizes(21, {"crop": crop}, engine, engine.sizes)
    np.testing.assert_allclose(found["valence_arousal"], np.maximum(crop @ WEIGHT, 0), atol=1e-6)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        torch_cuda._OnGpu(cuda, Hungry(cuda, inner, 1.0), {"crop": (-1, 4)}, {"crop": "float32"}).record()
