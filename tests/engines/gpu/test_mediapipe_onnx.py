"""MediaPipe's networks as ONNX: the same numbers as the TFLite files, for any batch."""

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import openvino as ov
import pytest
from numpy.typing import NDArray

from engines import weights
from engines.errors import EngineError
from engines.gpu import mediapipe_onnx
from engines.gpu.mediapipe_onnx import convert, onnx_file
from engines.openvino import OpenVinoEngine
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE

# Largest difference from the TFLite file. Logits reach 200, boxes and points are in pixels: float32 rounding.
TOLERANCE = 5e-4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = (FULL_RANGE.name, SHORT_RANGE.name, MESH.name, "pose-detection")
    files = {name: weights.path(name) for name in names}
    monkeypatch.setattr(weights, "path", lambda name: files[name])
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("file", [FULL_RANGE, SHORT_RANGE, MESH], ids=lambda file: str(file.name))
def test_a_batch_of_pictures_gives_what_the_tflite_file_gives_for_each(file, portrait: NDArray[np.uint8]) -> None:
    tflite = weights.path(file.name)
    core = ov.Core()
    truth = core.compile_model(core.read_model(tflite), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    size = truth.inputs[0].shape[1]
    rng = np.random.default_rng(0)
    pictures = np.stack(
        [
            cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA),
            cv2.resize(portrait[:256, 128:384], (size, size)),
            rng.integers(0, 256, (size, size, 3), np.uint8),
        ]
    )
    found = OpenVinoEngine(onnx_file(tflite, file.mean, file.scale), caching=False)({"picture": pictures})
    for index, (picture, name) in enumerate([(p, n) for p in range(3) for n in range(2)]):
        expected = truth((pictures[picture : picture + 1].astype(np.float32) - file.mean) / file.scale)[name]
        got = list(found.values())[name][picture : picture + 1]
        assert got.shape == expected.shape, index
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)


def test_the_file_is_the_same_every_time_and_kept(cache: Path) -> None:
    tflite = weights.path(SHORT_RANGE.name)
    first = onnx_file(tflite, SHORT_RANGE.mean, SHORT_RANGE.scale)
    assert cache in first.parents
    written = first.read_bytes()
    assert convert(tflite, SHORT_RANGE.mean, SHORT_RANGE.scale).SerializeToString() == written
    first.write_bytes(b"left as it is")
    assert onnx_file(tflite, SHORT_RANGE.mean, SHORT_RANGE.scale).read_bytes() == b"left as it is"


def test_the_batch_is_free_and_pictures_come_as_bytes() -> None:
    model = convert(weights.path(MESH.name), MESH.mean, MESH.scale)
    [picture] = model.graph.input
    assert picture.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in picture.type.tensor_type.shape.dim] == ["batch", 192, 192, 3]
    assert all(output.type.tensor_type.shape.dim[0].dim_param == "batch" for output in model.graph.output)


def test_an_operation_that_is_not_known_is_a_sentence() -> None:
    with pytest.raises(EngineError, match=r"The operation Clamp of a TFLite file is not known here"):
        convert(weights.path("pose-detection"), 0.0, 255.0)


def test_a_file_that_is_no_network_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("hello")
    with pytest.raises(EngineError, match=r"text.tflite is no TFLite file that can be read"):
        convert(tmp_path / "text.tflite", 0.0, 255.0)


def test_without_onnx_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match=r"pip install 'affectstream\[gpu\]'"):
        mediapipe_onnx.convert(weights.path(MESH.name), 0.0, 255.0)
