"""The TensorRT engine against stand-ins for a GPU: calls in their order, what is kept, a sentence for each failure."""

import sys
import threading
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.extras import needs_nncf
from helpers.faces import networks
from helpers.fake_gpu import FakeGpu, install, uninstall
from helpers.small_models import model as small_models
from helpers.small_network import WEIGHT, write_network
from onnx import TensorProto

from engines import load, weights
from engines.batches import SIZES
from engines.errors import EngineError
from engines.gpu import cuda, tensorrt, tensorrt_build
from engines.gpu.tensorrt import TensorRtEngine
from engines.gpu.tensorrt_build import PROFILES, key, profiles
from service.capture.media import Frame
from service.inference.gpu_perception import BatchedNetwork
from service.runtime import RuntimeOptions, load_runtime

Fake = Callable[..., FakeGpu]
model = small_models  # the fixture of a manifest with small networks


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fake]:
    yield lambda version="10.13.3.9": install(FakeGpu(version), monkeypatch, tmp_path)
    uninstall()


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "small.onnx")


def crops(rows: int) -> dict[str, np.ndarray]:
    return {"crop": np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)}


@pytest.mark.parametrize("version", ["10.13.3.9", "11.4.0.106"])
def test_any_batch_comes_out_right_the_first_time_and_from_the_graph(fake: Fake, network: Path, version: str) -> None:
    gpu = fake(version)
    engine = TensorRtEngine(network, precision="fp32")
    assert (engine.inputs, engine.types) == ({"crop": (-1, 4)}, {"crop": "float32"})
    for rows in (1, 5, 5, 1, 64, 130, 5, 0):
        given = crops(rows)
        outputs = engine(given)
        np.testing.assert_allclose(outputs["valence_arousal"], np.maximum(given["crop"] @ WEIGHT, 0), atol=1e-5)
        assert outputs["expression"].shape == (rows, 3)
    # Sizes 1, 6, 64 and 2 (the last two of 130) were each run once by themselves and recorded then.
    assert gpu.runs - gpu.launches == 4
    assert gpu.launches == 6
    assert gpu.network_flags == ([2] if version.startswith("10") else [0])
    assert gpu.cleared == ["TF32"]


def test_results_are_the_callers_own(fake: Fake, network: Path) -> None:
    fake()
    engine = TensorRtEngine(network, precision="fp32")
    first = engine(crops(2))["valence_arousal"]
    kept = first.copy()
    engine({"crop": np.full((2, 4), 9, np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_threads_take_turns(fake: Fake, network: Path) -> None:
    fake()
    engine = TensorRtEngine(network, precision="fp32")
    wrong = []

    def call(value: int) -> None:
        crop = np.full((1 + value % 3, 4), value, np.float32)
        if not np.allclose(engine({"crop": crop})["valence_arousal"], crop @ WEIGHT, atol=1e-4):
            wrong.append(value)

    threads = [threading.Thread(target=call, args=(value,)) for value in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_in_the_file_that_tensorrt_reads(fake: Fake, network: Path, precision: str) -> None:
    gpu = fake()
    engine = TensorRtEngine(network, precision=precision)
    given = crops(3)
    found, truth = engine(given)["valence_arousal"], np.maximum(given["crop"] @ WEIGHT, 0)
    np.testing.assert_allclose(found, truth, atol=2e-2)
    assert gpu.builds == 1
    assert not np.array_equal(found, truth.astype(np.float32))


@needs_nncf
def test_8_bits_are_calibrated_for_tensorrt_and_reach_it_without_zero_points(fake: Fake) -> None:
    gpu = fake()
    with pytest.raises(EngineError, match="`affectstream engines build face-mt --backend tensorrt --precision int8`"):
        load.load("face-mt", "tensorrt:int8")  # the 8-bit file that ships is for CPUs
    record = load.build("face-mt", "tensorrt:int8")
    assert record.fit, record.figures
    assert (record.backend, record.precision) == ("tensorrt", "int8")
    [read] = gpu.profiles
    kinds = {tensor.data_type for tensor in onnx.load_from_string(read).graph.initializer}
    assert TensorProto.INT8 in kinds
    assert TensorProto.UINT8 not in kinds
    loaded = load.load("face-mt", "tensorrt:int8")
    assert (loaded.engine.name, loaded.engine.precision) == ("tensorrt", "int8")
    assert load.load("face-mt", "openvino:int8").weights.name == "face-mt-int8"
    assert gpu.builds == 1


def test_a_network_that_cannot_be_recorded_runs_without_a_graph(fake: Fake, network: Path, caplog) -> None:
    gpu = fake()
    gpu.cannot_record = True
    engine = TensorRtEngine(network, precision="fp32")
    for _ in range(3):
        given = crops(2)
        np.testing.assert_allclose(engine(given)["valence_arousal"], np.maximum(given["crop"] @ WEIGHT, 0), atol=1e-5)
    assert gpu.launches == 0
    assert "runs without a CUDA graph: The GPU could not record or repeat its work" in caplog.text


def test_a_second_start_reads_the_plan_and_builds_nothing(fake: Fake, network: Path) -> None:
    gpu = fake()
    TensorRtEngine(network, precision="fp32")
    TensorRtEngine(network, precision="fp32")
    assert gpu.builds == 1
    TensorRtEngine(network, precision="fp16")
    assert gpu.builds == 2
    # The second build knew what the first had measured.
    assert gpu.timing_caches == [b"", b"timings of this GPU"]


@pytest.mark.parametrize("damage", ["corrupt", "unwritable", "timings"])
def test_a_broken_cache_only_costs_a_build(fake: Fake, network: Path, tmp_path: Path, damage: str) -> None:
    gpu = fake()
    if damage == "unwritable":
        (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    TensorRtEngine(network, precision="fp32")
    kept = tmp_path / "cache" / "tensorrt"
    if damage == "corrupt":
        [plan] = kept.glob("*.plan")
        plan.write_bytes(plan.read_bytes()[10:])
    elif damage == "timings":
        [timings] = kept.glob("*.timings")
        timings.write_bytes(b"of another GPU")
        [plan] = kept.glob("*.plan")
        plan.unlink()
    engine = TensorRtEngine(network, precision="fp32")
    assert gpu.builds == 2
    assert engine(crops(1))["expression"].shape == (1, 3)
    assert not list(kept.glob("*.part"))


def test_a_plan_is_for_one_gpu_one_tensorrt_one_file_and_one_precision(fake: Fake, network: Path) -> None:
    fake()
    gpu = cuda.gpu()
    first = key(gpu, "aa", "fp16")
    keys = {first, key(gpu, "bb", "fp16"), key(gpu, "aa", "fp32")}
    gpu.capability = (8, 6)
    keys.add(key(gpu, "aa", "fp16"))
    gpu.capability = (9, 0)
    assert key(gpu, "aa", "fp16") == first
    fake("11.4.0.106")
    keys.add(key(cuda.gpu(), "aa", "fp16"))
    assert len(keys) == 5


def test_profiles_cover_every_batch_that_runs() -> None:
    shapes = profiles({"face": (-1, 112, 112, 3), "keep": (-1, 2)})
    assert shapes[0]["face"] == ((1, 112, 112, 3), (1, 112, 112, 3), (4, 112, 112, 3))
    assert shapes[1]["keep"] == ((1, 2), (16, 2), (64, 2))
    for size in SIZES:
        least, _, most = next(profile for profile in PROFILES if size <= profile[2])
        assert least <= size <= most
    assert PROFILES[-1][2] == SIZES[-1]
    with pytest.raises(
        EngineError, match=r"'sound' of shape \(-1, -1\) must be free in its batch, and in nothing else"
    ):
        profiles({"sound": (-1, -1)})


def test_what_it_took_on_the_gpu_is_given_back(fake: Fake, network: Path) -> None:
    gpu = fake()
    free = gpu.free
    engine = TensorRtEngine(network, precision="fp32")
    engine(crops(3))
    assert gpu.free < free
    engine.close()
    assert gpu.free == free
    with pytest.raises(EngineError, match="was closed"):
        engine(crops(3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"face": np.zeros((1, 4), np.float32)}, r"takes the inputs \['crop'\], but was given \['face'\]"),
        ({"crop": np.zeros((1, 5), np.float32)}, r"takes 'crop' of shape \(-1, 4\) in float32, but was given \(1, 5\)"),
        ({"crop": np.zeros((1, 4), np.float64)}, r"but was given \(1, 4\) in float64"),
    ],
)
def test_wrong_inputs_are_a_sentence(fake: Fake, network: Path, given: dict[str, np.ndarray], message: str) -> None:
    fake()
    with pytest.raises(EngineError, match=message):
        TensorRtEngine(network, precision="fp32")(given)


def test_a_gpu_that_is_too_small_or_busy_is_told_with_its_figures(fake: Fake, network: Path) -> None:
    fake().free = 10 << 20
    with pytest.raises(EngineError, match=r"small.onnx in fp32 needs 64 MiB of GPU memory, and 10 of the NVIDIA"):
        TensorRtEngine(network, precision="fp32")


def test_a_driver_older_than_tensorrt_is_told_both_versions(fake: Fake, network: Path) -> None:
    gpu = fake()
    gpu.driver_too_old, gpu.driver_cuda = True, 12080
    with pytest.raises(EngineError, match=r"TensorRT 10.13.3.9 does not start .* CUDA up to 12.8: CUDA init.*update"):
        TensorRtEngine(network, precision="fp32")


def test_no_gpu_is_a_sentence(fake: Fake, network: Path) -> None:
    fake().devices = 0
    with pytest.raises(EngineError, match=r"CUDA finds no NVIDIA GPU .*no CUDA-capable device is detected\."):
        tensorrt.precisions()


@pytest.mark.parametrize("missing", ["tensorrt", "pycuda.driver"])
def test_missing_libraries_are_a_sentence(fake: Fake, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    fake()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EngineError, match=r"cannot be loaded .*pip install 'affectstream\[gpu\]'"):
        tensorrt.precisions()


def test_another_tensorrt_is_refused(fake: Fake) -> None:
    fake("8.6.1")
    with pytest.raises(EngineError, match=r"TensorRT 8.6.1 is not one that is known here: 10 and 11 are"):
        tensorrt.version()


def test_an_unknown_operator_is_a_sentence(fake: Fake, tmp_path: Path) -> None:
    fake()
    odd = write_network(tmp_path / "odd.onnx", operator="Frobnicate")
    with pytest.raises(EngineError, match=r"TensorRT cannot read odd.onnx: In node 0 .*Frobnicate: unsupported\.$"):
        TensorRtEngine(odd, precision="fp32")


def test_an_interrupted_build_leaves_nothing_behind(
    fake: Fake, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = fake()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tensorrt_build.tqdm, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            TensorRtEngine(network, precision="fp32")
    assert not (tmp_path / "cache").exists()
    TensorRtEngine(network, precision="fp32")
    assert gpu.builds == 1


def test_bf16_needs_a_gpu_that_has_it(fake: Fake) -> None:
    fake().capability = (7, 5)
    assert tensorrt.precisions() == ("fp16", "fp32", "int8")
    assert tensorrt.device() == "NVIDIA Imagined 9000, compute capability 7.5, CUDA 13.0"


def test_a_service_on_a_gpu_sees_the_same_face_and_says_which_engine_read_it(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, portrait: np.ndarray
) -> None:
    names = ("blazeface-full-range", "blazeface-short-range", "face-mesh-468", "face-mt", "portrait", "silero-vad")
    files = {name: weights.path(name) for name in names}
    monkeypatch.setattr(weights, "path", lambda name: files[name])
    gpu = fake("11.4.0.106")
    monkeypatch.setattr("service.runtime.Networks", lambda: copy(networks()))
    runtime = load_runtime(RuntimeOptions(engine="tensorrt:fp32"))
    assert gpu.builds == 4
    assert (runtime.info["engine"], runtime.info["precision"]) == ("tensorrt", "fp32")
    assert isinstance(runtime.networks.mesh, BatchedNetwork)
    [found] = runtime.still_pipeline("gpu").frame(Frame(portrait, 0.0)).data["faces"]
    runtime.close()
    assert found["expression"]["label"] == "happiness"
    assert gpu.launches + gpu.runs > 4
    [row] = [row for row in load.table() if row["engine"] == "tensorrt:fp32"]
    assert (row["model"], row["serves"], row["runtime"]) == ("face-mt", "yes", "11.4.0.106")


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt:fp16", "torch"])
def test_where_there_is_no_gpu_openvino_serves_with_a_warning(
    model: Path, fake: Fake, caplog: pytest.LogCaptureFixture, engine: str
) -> None:
    fake().devices = 0
    assert load.load("plain", engine).engine.name == "openvino"
    assert f"{engine.partition(':')[0]} cannot run here, openvino is used: " in caplog.text


def test_an_engine_that_computes_something_else_is_refused(
    model: Path, fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    fake().spoil = 0.5
    assert load.load("plain", "tensorrt:fp32").engine.name == "openvino"
    assert "plain on tensorrt:fp32 is refused, the next engine is tried: " in caplog.text
    assert "at most 0.1 is allowed" in caplog.text


def test_a_precision_that_the_gpu_has_not_is_a_sentence(model: Path, fake: Fake) -> None:
    fake().capability = (7, 5)
    with pytest.raises(EngineError, match="tensorrt has no bf16 here; it has fp16, fp32, int8"):
        load.load("plain", "tensorrt:bf16")


def test_nothing_is_quantised_for_a_gpu_that_is_not_there(
    model: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake().devices = 0
    monkeypatch.setattr("engines.quantize.quantise", None)
    with pytest.raises(EngineError, match="CUDA finds no NVIDIA GPU"):
        load.build("plain", "tensorrt:int8")


def test_verify_compares_the_engines_of_every_backend_that_runs_here(
    model: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    fake()
    rows = {row["engine"]: row["serves"] for row in load.verify(["plain"])}
    assert {"openvino:fp32", "tensorrt:fp16", "tensorrt:bf16", "tensorrt:fp32"} <= rows.keys()
    assert rows["tensorrt:fp32"] == "yes"
    assert not any(engine.startswith("torch") for engine in rows)  # torch sees no GPU here
