"""The OpenVINO engine: names, batches, threads, precisions, and a sentence for everything that cannot be."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.small_network import WEIGHT, write_network
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from engines import openvino
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine, resolve_precision, threads_for


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "small.onnx")


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_outputs_come_by_name_for_any_batch(network: Path, batch: int) -> None:
    crop = np.random.default_rng(0).standard_normal((batch, 4)).astype(np.float32)
    outputs = OpenVinoEngine(network)({"crop": crop})
    assert set(outputs) == {"valence_arousal", "expression"}
    np.testing.assert_allclose(outputs["valence_arousal"], np.maximum(crop @ WEIGHT, 0), atol=1e-6)
    np.testing.assert_allclose(outputs["expression"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("limit", [0, openvino.SMALL])
def test_one_row_alone_is_what_it_is_among_others(network: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(openvino, "SMALL", limit)
    engine = OpenVinoEngine(network)
    crop = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    together = engine({"crop": crop})
    for row in range(3):
        for name, values in engine({"crop": crop[row : row + 1]}).items():
            np.testing.assert_allclose(values, together[name][row : row + 1], atol=1e-6)


def test_an_empty_batch_gives_empty_outputs(network: Path) -> None:
    assert OpenVinoEngine(network)({"crop": np.zeros((0, 4), np.float32)})["expression"].shape == (0, 3)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_a_network_with_a_fixed_batch_takes_any_batch_too(tmp_path: Path, batch: int) -> None:
    engine = OpenVinoEngine(write_network(tmp_path / "fixed.onnx", batch=1))
    crop = np.random.default_rng(0).standard_normal((batch, 4)).astype(np.float32)
    outputs = engine({"crop": crop})
    np.testing.assert_allclose(outputs["valence_arousal"], np.maximum(crop @ WEIGHT, 0), atol=1e-6)


def test_results_are_the_callers_own(network: Path) -> None:
    engine = OpenVinoEngine(network)
    first = engine({"crop": np.ones((1, 4), np.float32)})["valence_arousal"]
    kept = first.copy()
    engine({"crop": np.full((1, 4), 9, np.float32)})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("streams", [1, 2])
def test_many_threads_may_call_at_once(network: Path, streams: int) -> None:
    engine = OpenVinoEngine(network, streams=streams)

    def call(i: int) -> bool:
        crop = np.full((1 + i % 3, 4), i / 50, np.float32)
        return bool(np.allclose(engine({"crop": crop})["valence_arousal"], crop @ WEIGHT, atol=1e-5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))


def test_a_number_of_rows_that_was_prepared_is_compiled_already(network: Path) -> None:
    engine = OpenVinoEngine(network)
    assert set(engine._graphs._by_rows) == {1}
    engine.prepare(3)
    compiled = dict(engine._graphs._by_rows)
    assert set(compiled) == {1, 4}
    engine({"crop": np.ones((3, 4), np.float32)})
    assert engine._graphs._by_rows == compiled


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ({"face": np.zeros((1, 4), np.float32)}, r"takes the inputs \['crop'\], but was given \['face'\]"),
        ({"crop": np.zeros((1, 5), np.float32)}, r"takes 'crop' of shape \(-1, 4\), but was given \(1, 5\)"),
        ({"crop": np.zeros(4, np.float32)}, r"takes 'crop' of shape \(-1, 4\), but was given \(4,\)"),
    ],
)
def test_wrong_inputs_are_a_sentence(network: Path, crop: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        OpenVinoEngine(network)(crop)


def test_outputs_that_are_not_finite_are_refused_where_asked(network: Path) -> None:
    crop = {"crop": np.full((2, 4), np.nan, np.float32)}
    assert np.isnan(OpenVinoEngine(network)(crop)["expression"]).all()
    with pytest.raises(EngineError, match="not finite"):
        OpenVinoEngine(network, check=True)(crop)


def test_a_file_that_is_no_network_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    for name in ("text.onnx", "missing.onnx"):
        with pytest.raises(EngineError, match=f"OpenVINO cannot compile {name}: .+"):
            OpenVinoEngine(tmp_path / name)


def test_an_unknown_operator_is_a_sentence(tmp_path: Path) -> None:
    path = write_network(tmp_path / "odd.onnx", operator="Frobnicate")
    with pytest.raises(EngineError, match=r"OpenVINO cannot compile odd.onnx: .*Frobnicate"):
        OpenVinoEngine(path)


def test_beside_8_bits_floating_point_is_bf16_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in ((("FP32", "INT8"), "f32"), (("BF16", "FP32", "INT8"), "bf16")):
        monkeypatch.setattr(openvino, "capabilities", lambda has=has: has)
        assert [openvino.arithmetic(precision) for precision in ("fp32", "int8")] == ["f32", expected]
        assert expected in openvino.device()  # so that engines compared in the other one are compared anew


def test_an_8_bit_network_that_cannot_have_bf16_has_float32_beside_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (8, 1, 3, 3)).astype(np.int8)
    constants = {
        "scale": np.float32(0.02), "zero": np.int8(38), "step": np.float32(0.05), "nothing": np.uint8(0),
        "weight": weight, "weight_scale": np.full(8, 0.001, np.float32), "weight_zero": np.zeros(8, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["sound", "scale", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["seen"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["kernel"], axis=0),
        helper.make_node("Conv", ["seen", "kernel"], ["product"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["product"], ["inner"]),
        helper.make_node("QuantizeLinear", ["inner", "step", "nothing"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "step", "nothing"], ["stepped"]),
        helper.make_node("GlobalMaxPool", ["stepped"], ["most"]),
    ]
    graph = helper.make_graph(
        nodes,
        "signed",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["batch", 1, 16, 16])],
        [helper.make_tensor_value_info("most", TensorProto.FLOAT, ["batch", 8, 1, 1])],
        [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    path = tmp_path / "signed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), path)
    sound = rng.standard_normal((3, 1, 16, 16)).astype(np.float32)
    most = OpenVinoEngine(path, precision="int8")({"sound": sound})["most"]
    exact = ReferenceEvaluator(str(path)).run(None, {"sound": sound})[0]
    np.testing.assert_allclose(most, exact, atol=0.051)  # a step, where rounding went the other way


def test_an_unknown_precision_is_a_sentence() -> None:
    with pytest.raises(EngineError, match="no precision 'fp8' in OpenVINO; choose one of auto, fp32, bf16, int8"):
        resolve_precision("fp8")


def test_a_cpu_without_bf16_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "capabilities", lambda: ("FP32", "INT8"))
    assert resolve_precision("auto") == "fp32"
    with pytest.raises(EngineError, match="no bf16 arithmetic; choose openvino:fp32"):
        resolve_precision("bf16")


def test_float32_stays_float32_where_the_cpu_has_bf16(network: Path) -> None:
    crop = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    outputs = OpenVinoEngine(network, precision="fp32")({"crop": crop})
    assert np.abs(outputs["valence_arousal"] - np.maximum(crop @ WEIGHT, 0)).max() < 1e-6


def test_a_warm_start_reads_the_compiled_network_from_the_cache(network: Path, cache: Path) -> None:
    OpenVinoEngine(network)
    compiled = sorted((cache / "openvino").rglob("*.blob"))
    assert compiled
    assert OpenVinoEngine(network)._graphs.of(1).compiled.get_property("LOADED_FROM_CACHE")
    assert sorted((cache / "openvino").rglob("*.blob")) == compiled


def from_engine(network: Path) -> NDArray[np.float32]:
    return OpenVinoEngine(network)({"crop": np.ones((1, 4), np.float32)})["valence_arousal"]


def from_file(network: Path) -> NDArray[np.float32]:
    """The same of the file as it is, as perception's networks are compiled."""
    found: NDArray[np.float32] = openvino.compile_file(network)({"crop": np.ones((1, 4), np.float32)})[0]
    return found


@pytest.mark.parametrize("run", [from_engine, from_file])
@pytest.mark.parametrize("damage", ["unwritable", "corrupt"])
def test_a_broken_cache_keeps_nothing_from_running(
    network: Path, cache: Path, damage: str, run: Callable[[Path], NDArray[np.float32]]
) -> None:
    if damage == "unwritable":
        cache.write_bytes(b"a file where the folder should be")
    else:
        run(network)
        blobs = list((cache / "openvino").rglob("*.blob"))
        assert blobs
        for blob in blobs:
            blob.chmod(0o600)
            blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    np.testing.assert_allclose(run(network), np.ones((1, 4)) @ WEIGHT, atol=1e-6)


def test_networks_that_are_compiled_at_once_leave_the_locale_as_it_was(network: Path, cache: Path) -> None:
    networks = [Path(shutil.copy(network, network.with_name(f"{n}.onnx"))) for n in range(8)]
    code = (
        "import locale, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from engines.openvino import compile_file\n"
        "before = locale.setlocale(locale.LC_ALL)\n"
        "with ThreadPoolExecutor(4) as threads:\n"
        "    list(threads.map(compile_file, 50 * [Path(one) for one in sys.argv[1:]]))\n"
        "assert locale.setlocale(locale.LC_ALL) == before\n"
    )
    command = [sys.executable, "-c", code, *map(str, networks)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((cache / "openvino").rglob("*.blob"))


def test_a_network_is_compiled_without_the_cache_while_another_takes_long(
    network: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "CACHE_WITHIN", 0.0)
    with openvino._uses_cache:
        np.testing.assert_allclose(from_file(network), np.ones((1, 4)) @ WEIGHT, atol=1e-6)
    assert not cache.exists()


@pytest.mark.parametrize("other", ["version", "device"])
def test_what_another_openvino_or_cpu_compiled_is_not_read(
    network: Path, cache: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenVinoEngine(network)
    (blob,) = (cache / "openvino").rglob("*.blob")
    monkeypatch.setattr(openvino, other, lambda: "another")
    assert not OpenVinoEngine(network)._graphs.of(1).compiled.get_property("LOADED_FROM_CACHE")
    (added,) = set((cache / "openvino").rglob("*.blob")) - {blob}
    assert added.parent != blob.parent


def limited(isa: str, code: str) -> subprocess.CompletedProcess[str]:
    """A run of `code` on a CPU that has no more than the instruction set `isa`."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="needs an x86 CPU")
@pytest.mark.usefixtures("fresh_cache")
def test_a_cpu_without_avx_512_serves_and_says_which_engine_it_cannot_run() -> None:
    code = (
        "import logging; logging.basicConfig()\n"
        "from engines.load import load\n"
        "loaded = load('face-mt', 'openvino:bf16' if 'BF16' in __import__('engines.openvino').openvino.capabilities()"
        " else 'openvino')\n"
        "print(loaded.engine.precision)\n"
    )
    done = limited("AVX2", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("fp32", "int8")
    if "bf16" in openvino.precisions():
        assert "face-mt on openvino:bf16 is refused, the next engine is tried: OpenVINO cannot compile" in done.stderr


@pytest.mark.parametrize("isa", ["SSE41", "avx"])
def test_a_cpu_that_openvino_crashes_on_is_a_sentence(isa: str) -> None:
    done = limited(isa, "from service.cli import main; raise SystemExit(main(['engines', 'doctor']))")
    assert done.returncode == 2
    expected = (
        f"affectstream: OpenVINO needs AVX2, and ONEDNN_MAX_CPU_ISA={isa.upper()} forbids it; unset that variable."
    )
    assert done.stderr.strip() == expected


def test_threads_follow_the_sessions_and_leave_cores_to_the_rest() -> None:
    assert threads_for(1, 16, heavy=False) == 1
    assert threads_for(2, 16, heavy=False) == 1
    assert threads_for(16, 1, heavy=False) == 1
    assert threads_for(16, 16, heavy=False) == 2
    assert threads_for(16, 500, heavy=False) == 8
    assert threads_for(16, 1, heavy=True) == 0  # all of them
