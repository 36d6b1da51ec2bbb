"""A network cut where its sound has been read gives the same with the sound and with what was made of it, in every
engine."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.fake_gpu import FakeGpu, install, uninstall
from helpers.live_models import live_of
from helpers.small_network import write_network

from engines import openvino_split, split
from engines.engine import SOUND_EMBEDDING, Arrays, Engine
from engines.errors import EngineError
from engines.gpu import tensorrt
from engines.gpu.torch_cuda import TorchEngine
from engines.openvino import OpenVinoEngine
from engines.papers import export
from engines.split import SplitEngine
from engines.weights import Source, Weights


@pytest.fixture(scope="module")
def given() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "clip": rng.integers(0, 256, (3, 8, 112, 112, 4), np.uint8),
        "sound": rng.standard_normal((3, 1, 64, 1001), np.float32),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split") / "tsav.onnx"
    export.write(live_of("tsav"), path)
    return path


@pytest.fixture(scope="module")
def truth(file: Path, given: Arrays) -> Arrays:
    """Of the network in one piece."""
    return OpenVinoEngine(file, threads=1, caching=False)(given)


@pytest.fixture(params=["openvino", "torch", "tensorrt"])
def engine(
    request: pytest.FixtureRequest, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Engine]:
    """Of each backend; torch on the CPU, TensorRT by stand-ins."""
    if request.param == "openvino":
        yield openvino_split.opened(file, threads=1, caching=False)
    elif request.param == "torch":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield split.opened(file, lambda part: TorchEngine(part, precision="fp32", device="cpu"))
        torch.set_num_threads(threads)
    else:
        install(FakeGpu(), monkeypatch, tmp_path)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        source = (Source(path=str(file)),)
        entry = Weights("tsav", file.name, "", "", False, "", sha256, file.stat().st_size, source)
        yield tensorrt.opened(entry, "fp32", 0, 1)
        uninstall()


def test_the_parts_give_what_the_whole_gives_and_a_kept_embedding_stands_for_the_sound(
    engine: Engine, given: Arrays, truth: Arrays
) -> None:
    assert isinstance(engine, SplitEngine)
    assert engine.inputs == {"clip": (-1, 8, 112, 112, 4), "sound": (-1, 1, 64, 1001)}
    assert engine.types == {"clip": "uint8", "sound": "float32"}
    whole = engine(given)
    assert whole.keys() == truth.keys()
    for name, values in truth.items():
        np.testing.assert_allclose(whole[name], values, atol=1e-4, rtol=1e-4)
    kept = {"clip": given["clip"], SOUND_EMBEDDING: whole[SOUND_EMBEDDING]}
    for name, values in engine(kept).items():
        np.testing.assert_array_equal(values, whole[name])
    other = engine(kept | {SOUND_EMBEDDING: whole[SOUND_EMBEDDING][::-1].copy()})
    assert (other["valence_arousal"][0] != whole["valence_arousal"][0]).all()
    some = whole[SOUND_EMBEDDING].copy()
    some[1:] = np.nan
    for name, values in engine(given | {"sound": given["sound"][1:], SOUND_EMBEDDING: some}).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-5, err_msg="only what is missing is read")
    for wrong in ({"clip": given["clip"]}, given | {"more": given["sound"]}):
        with pytest.raises(EngineError, match="takes the inputs"):
            engine(wrong)


def test_the_sound_is_not_read_where_its_embedding_is_given(given: Arrays, file: Path) -> None:
    calls: list[str] = []

    class Counting(OpenVinoEngine):
        def __call__(self, inputs: Arrays) -> Arrays:
            calls.append(self._label)
            return super().__call__(inputs)

    engine = split.opened(file, lambda part: Counting(part, threads=1, caching=False))
    kept = engine(given)[SOUND_EMBEDDING]
    assert calls == ["tsav-sound.onnx", "tsav.onnx"]
    engine({"clip": given["clip"], SOUND_EMBEDDING: kept})
    assert calls[2:] == ["tsav.onnx"]


def test_both_parts_are_whole_networks_and_share_little(file: Path) -> None:
    network = onnx.load(str(file))
    sound, rest = split.parts(network)
    for part in (sound, rest):
        onnx.checker.check_model(part)
    assert [value.name for value in sound.graph.input] == ["sound"]
    assert [value.name for value in rest.graph.input] == ["clip", SOUND_EMBEDDING]
    assert len(sound.graph.node) + len(rest.graph.node) <= len(network.graph.node) * 1.02


def test_a_network_that_hears_nothing_stays_whole(tmp_path: Path) -> None:
    path = write_network(tmp_path / "small.onnx")
    assert split.opened(path, lambda part: OpenVinoEngine(part, caching=False)).inputs == {"crop": (-1, 4)}


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        openvino_split.opened(path)
