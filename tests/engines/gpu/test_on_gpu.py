"""What only a GPU can show. Skipped without one; the first machine that has one should run this file first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from helpers.default_model import inputs, part

from engines import load, quantize, split, weights
from engines.engine import SOUND_EMBEDDING
from engines.errors import EngineError
from engines.gpu import cuda, tensorrt, torch_cuda
from engines.gpu.tensorrt import TensorRtEngine
from engines.gpu.torch_cuda import TorchEngine
from engines.openvino import OpenVinoEngine
from engines.papers import export
from engines.split import Typed
from engines.verify import compare
from service.inference import gpu_perception
from service.inference.gpu_perception import BatchedNetwork
from service.perception.networks import Networks
from service.perception.perceive import perceive_still

# What torch and its compiler warn of there is not this project's to mend, and would keep the compiler from running.
pytestmark = pytest.mark.filterwarnings("default")

FACES = inputs(21)
Make = Callable[[Path, str], Typed]
BACKENDS: dict[str, tuple[Callable[[], tuple[str, ...]], Make]] = {
    "tensorrt": (tensorrt.precisions, lambda path, precision: TensorRtEngine(path, precision=precision)),
    "torch": (torch_cuda.precisions, lambda path, precision: TorchEngine(path, precision=precision)),
}


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    try:
        BACKENDS[name][0]()
    except EngineError as error:
        pytest.skip(f"needs a GPU: {error}")
    return name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_default_model_is_within_the_limits_whatever_the_batch(backend: str, precision: str) -> None:
    runs, make = BACKENDS[backend]
    if precision not in runs():
        pytest.skip(f"this GPU has no {precision}")
    file = weights.path("face-mt")
    truth, engine = OpenVinoEngine(file), make(file, precision)
    figures = compare(truth, engine, FACES)
    assert figures.excess is None, figures
    whole = engine(FACES)
    for rows in (1, 5, 5, 1):  # the first of a size runs layer by layer, the second as a CUDA graph
        for name, values in engine(part(FACES, slice(rows))).items():
            np.testing.assert_allclose(values, whole[name][:rows], atol=1e-3 if precision == "fp32" else 5e-2)


@pytest.mark.timeout(900)
def test_perception_sees_the_same_face(backend: str, portrait: np.ndarray) -> None:
    networks = Networks()
    [expected] = perceive_still(networks, portrait)
    scheduler = gpu_perception.move_to(networks, backend)
    assert scheduler is not None, "the warning says why"
    assert isinstance(networks.mesh, BatchedNetwork)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: perceive_still(networks, portrait), range(32)))
    scheduler.close()
    for [face] in found:
        np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=0.1)


@pytest.mark.timeout(900)
def test_tensorrt_and_torch_share_the_gpu_from_many_threads() -> None:
    try:
        tensorrt.precisions(), torch_cuda.precisions()
    except EngineError as error:
        pytest.skip(f"needs a GPU with both: {error}")
    file = weights.path("face-mt")
    engines = [make(file, "fp32") for _, make in BACKENDS.values()]
    expected = OpenVinoEngine(file)(FACES)["valence_arousal"]

    def call(index: int) -> float:
        rows = 1 + index % 7
        found = engines[index % 2](part(FACES, slice(rows)))["valence_arousal"]
        return float(np.abs(found - expected[:rows]).max())

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(call, range(400))) < 1e-3


@pytest.mark.timeout(900)
def test_pycuda_and_torch_share_one_context_from_many_threads() -> None:
    try:
        torch_cuda.precisions()
        gpu = cuda.gpu()
    except EngineError as error:
        pytest.skip(f"needs a GPU with torch and pycuda: {error}")
    file = weights.path("face-mt")
    engine, expected = TorchEngine(file, precision="fp32"), OpenVinoEngine(file)(FACES)["valence_arousal"]
    lock = Lock()
    with gpu.current():
        stream = gpu.driver.Stream()
        given, found = (gpu.driver.pagelocked_empty(1 << 20, np.float32) for _ in range(2))
        memory = gpu.driver.mem_alloc(given.nbytes)

        def there_and_back() -> None:
            gpu.driver.memcpy_htod_async(memory, given, stream)
            gpu.driver.memcpy_dtoh_async(found, memory, stream)

        there_and_back()
        stream.synchronize()
        graph = cuda.Graph(stream, there_and_back)

    def copy(index: int) -> bool:
        with lock, gpu.current():
            given[:] = index
            graph.launch()
            stream.synchronize()
            return bool((found == index).all())

    def read(index: int) -> bool:
        rows = 1 + index % 7
        outputs = engine(part(FACES, slice(rows)))["valence_arousal"]
        return float(np.abs(outputs - expected[:rows]).max()) < 1e-3

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda index: (copy, read)[index % 2](index), range(400)))
    with gpu.current():
        graph.close()
        memory.free()


@pytest.mark.timeout(900)
def test_tsav_in_two_parts_gives_what_the_cpu_gives(backend: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from helpers.live_models import live_of

    path = tmp_path / "tsav.onnx"
    export.write(live_of("tsav"), path)
    rng = np.random.default_rng(0)
    given = {
        "clip": rng.integers(0, 256, (5, 8, 112, 112, 4), np.uint8),
        "sound": rng.standard_normal((5, 1, 64, 1001), np.float32),
    }
    engine = split.opened(path, lambda part: BACKENDS[backend][1](part, "fp32"))
    whole = engine(given)
    for name, values in OpenVinoEngine(path, caching=False)(given).items():
        np.testing.assert_allclose(whole[name], values, atol=1e-3)
    again = engine({"clip": given["clip"], SOUND_EMBEDDING: whole[SOUND_EMBEDDING]})
    for name, values in again.items():
        np.testing.assert_allclose(values, whole[name], atol=1e-5)


@pytest.mark.timeout(900)
def test_8_bits_that_were_calibrated_for_tensorrt_are_within_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        tensorrt.precisions()
    except EngineError as error:
        pytest.skip(f"needs a GPU: {error}")
    if not quantize.available():
        pytest.skip("needs the extra quantize")
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path))
    record = load.build("face-mt", "tensorrt:int8")
    assert record.fit, record.figures
