"""What --pool says, and its bad input."""

import sys

import pytest

from engines.weights import Weights
from models.errors import UserError
from service.cluster import connect
from service.pool.messages import Spec
from service.pool.options import PoolOptions, read_pool, spec_of
from service.runtime import RuntimeOptions, load_runtime
from service.settings import load_settings

WEIGHTS = Weights("w", "w.onnx", "", "", False, "", "ab" * 32, 1, (), model="tsav")


def test_an_address_alone_asks_for_one_replica_of_one_core() -> None:
    assert read_pool("auto") == PoolOptions("auto", 1, 1, 1.0, None)


def test_replicas_cores_and_a_share_of_a_gpu_are_read() -> None:
    assert read_pool("10.0.0.5:6379?replicas=2..8&cpus=2&gpus=0.25") == PoolOptions("10.0.0.5:6379", 2, 8, 2.0, 0.25)
    assert read_pool("auto?jpeg=95").jpeg == 95
    assert read_pool("auto?replicas=3") == PoolOptions("auto", 3, 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("?replicas=2", "give the address of a Ray cluster"),
        ("auto?replica=2", "there is no replica; the options are replicas, cpus, gpus and jpeg"),
        ("auto?replicas=many", "give numbers"),
        ("auto?replicas=8..2", "replicas is a number from 1 to 256, or MIN..MAX"),
        ("auto?replicas=0", "replicas is a number from 1 to 256, or MIN..MAX"),
        ("auto?cpus=0", "cpus must be above 0"),
        ("auto?gpus=-1", "gpus 0 or more"),
        ("auto?jpeg=9", "jpeg is a quality from 50 to 100"),
        ("auto?jpeg=high", "give numbers"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence.replace("..", r"\.\.")):
        read_pool(text)


def test_an_engine_on_a_gpu_takes_a_whole_one_unless_a_share_is_given() -> None:
    def spec(text: str, engine: str) -> Spec:
        return spec_of(read_pool(text), model="tsav", engine=engine, weights=WEIGHTS, rate=5.0, max_batch=0)

    assert (spec("auto", "openvino").gpus, spec("auto", "openvino").max_batch) == (0.0, 16)
    assert (spec("auto", "torch:bf16").gpus, spec("auto", "torch:bf16").max_batch) == (1.0, 64)
    assert spec("auto?gpus=0.5", "tensorrt").gpus == 0.5
    with pytest.raises(UserError, match="needs a GPU, and --pool says gpus=0"):
        spec("auto?gpus=0", "torch")


def test_services_share_a_pool_only_where_they_ask_for_the_same() -> None:
    one = Spec("tsav", "openvino", WEIGHTS, 5.0, 16)
    assert one.name == Spec("tsav", "openvino", WEIGHTS, 5.0, 16).name
    assert one.name != Spec("tsav", "openvino", WEIGHTS, 5.0, 16, most=2).name
    assert one.name != Spec("tsav", "openvino", WEIGHTS, 5.0, 16, version="another").name


@pytest.mark.parametrize("model", ["face-mt", "multiterm"])
def test_a_model_that_is_read_beside_the_camera_has_no_pool(model: str) -> None:
    with pytest.raises(UserError, match=f"{model} is read beside the camera"):
        load_runtime(RuntimeOptions(model=model, pool=read_pool("auto")))


def test_the_setting_becomes_an_option_of_the_runtime() -> None:
    assert RuntimeOptions.of(load_settings(model="tsav", pool="auto?replicas=2")).pool == PoolOptions("auto", 2, 2)
    assert RuntimeOptions.of(load_settings()).pool is None


def test_without_ray_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray: pip install 'affectstream\[cluster\]'"):
        connect("auto")
