"""Quantising: the file is the same network in 8 bits, kept whole or not at all, its sensitive layers left out."""

import hashlib
import multiprocessing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.extras import needs_nncf
from onnx import TensorProto, helper, numpy_helper

from engines import quantize, weights
from engines.cache import cache_dir
from engines.engine import Arrays
from engines.errors import EngineError
from engines.load import LoadedEngine, build, load
from engines.openvino import OpenVinoEngine
from engines.quantize import Scheme
from engines.verify import Comparison

NAMES = '["neutral"]'


def write_network(path: Path) -> Path:
    """face (batch, 16, 16, 3) bytes -> two convolutions, the second's weights stored in float16 -> valence_arousal."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((16, 3, 3, 3)).astype(np.float32) / 600
    second = (rng.standard_normal((32, 16, 3, 3)) / 8).astype(np.float16)
    head = np.zeros((32, 2), np.float32)
    head[:2] = np.eye(2) / 2
    nodes = [
        helper.make_node("Cast", ["face"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"], name="before"),
        helper.make_node("Conv", ["scaled", "first"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Cast", ["stored"], ["second"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["b", "second"], ["c"], name="middle"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "head"], ["g"], name="last"),
        helper.make_node("Tanh", ["g"], ["valence_arousal"]),
    ]
    stored = (("scale", np.float32(0.5)), ("first", first * 2), ("stored", second), ("head", head))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("face", TensorProto.UINT8, ["batch", 16, 16, 3])],
        [helper.make_tensor_value_info("valence_arousal", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in stored],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(network, {"expressions": NAMES})
    onnx.save(network, path)
    return path


_BLOCKS = np.random.default_rng(1).integers(0, 256, (32, 4, 4, 3), np.uint8)
FACES: Arrays = {"face": _BLOCKS.repeat(4, 1).repeat(4, 2)}


def faces(reference: LoadedEngine) -> Arrays:
    """A probe."""
    return FACES


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> weights.Weights:
    """A manifest with one model in fp32 alone."""
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    file = write_network(tmp_path / "small.onnx")
    made = weights.Weights(
        name="small", file=file.name, computes="nothing", licence="Apache-2.0", commercial=True, trained_on="nothing",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size=file.stat().st_size,
        sources=(weights.Source(path=str(file)),), model="small", version="small-1",
    )  # fmt: skip
    monkeypatch.setattr(weights, "entries", lambda: (made,))
    return made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The 8-bit form of that network."""
    folder = tmp_path_factory.mktemp("small")
    quantize.quantise(write_network(folder / "small.onnx"), FACES, folder / "int8.onnx")
    return (folder / "int8.onnx").read_bytes()


def store(source: weights.Weights, content: bytes) -> Path:
    """Puts an 8-bit file into the cache, under its right name."""
    file = cache_dir() / "engines/int8" / source.sha256[:24] / f"1-{hashlib.sha256(content).hexdigest()}.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


GOOD = Comparison(16, {}, None)
BAD = Comparison(16, {"valence CCC": 0.5}, "valence CCC 0.5, at least 0.99 is allowed")


def eight_bit(file: Path) -> set[str]:
    """Names of the layers whose weights are read through 8 bits."""
    graph = onnx.load(str(file)).graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    return {n.name for n in graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in dequantised}


@needs_nncf
def test_the_8_bit_file_computes_what_its_source_does_and_says_the_same_of_itself(source: weights.Weights) -> None:
    record = build("small", "openvino:int8", probe=faces)
    assert record.fit, record.figures
    assert record.precision == "int8"
    made = quantize.find(source)
    assert made is not None
    assert eight_bit(made.location) == {"first", "middle", "last"}
    nodes = {n.name: n for n in onnx.load(str(made.location)).graph.node}
    assert nodes["before"].input[0] == "planes"  # what prepares the picture stays as it was
    properties = {p.key: p.value for p in onnx.load(str(made.location)).metadata_props}
    assert properties == {"expressions": NAMES}
    loaded = load("small", "openvino:int8", probe=faces)
    assert (loaded.engine.precision, loaded.weights.version) == ("int8", "small-1")
    assert load("small").engine.precision == "int8"  # the fastest that is there


@needs_nncf
def test_around_zero_there_are_signed_bytes_alone_and_the_numbers_stay(tmp_path: Path) -> None:
    path = write_network(tmp_path / "small.onnx")
    quantize.quantise(path, FACES, tmp_path / "int8.onnx", scheme=Scheme.AROUND_ZERO)
    network = onnx.load(str(tmp_path / "int8.onnx"))
    onnx.checker.check_model(network, full_check=True)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    nodes = [n for n in network.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(nodes) > 6
    for node in nodes:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
        assert constants[node.input[1]].size == 1 or node.input[0] in constants, "only weights go by channels"
    found = OpenVinoEngine(tmp_path / "int8.onnx", precision="int8", caching=False)(FACES)["valence_arousal"]
    truth = OpenVinoEngine(path, caching=False)(FACES)["valence_arousal"]
    assert truth.std() > 0.05
    np.testing.assert_allclose(found, truth, atol=0.02)


@needs_nncf
def test_one_scheme_leaves_the_files_of_the_other_alone(source: weights.Weights, small: bytes) -> None:
    store(source, small)
    kept = quantize.build(source, FACES, lambda file: GOOD, Scheme.AROUND_ZERO).weights
    assert kept is not None
    for scheme, sha256 in (
        (Scheme.AROUND_ZERO, kept.sha256),
        (Scheme.ANYWHERE, hashlib.sha256(small).hexdigest()),
    ):
        found = quantize.find(source, scheme)
        assert found is not None
        assert found.sha256 == sha256


@needs_nncf
def test_where_the_limits_break_the_edges_stay_in_floating_point(source: weights.Weights) -> None:
    tried: list[set[str]] = []

    def judge(file: Path) -> Comparison:
        tried.append(eight_bit(file))
        return GOOD if len(tried) == 3 else BAD

    made = quantize.build(source, FACES, judge)
    assert tried == [{"first", "middle", "last"}, {"first", "middle"}, {"middle"}]
    assert made.left_out == "that and the first and last layers"
    assert made.weights is not None


def _build_here(source: weights.Weights, samples: Arrays, start: Barrier, made: "Queue[str]") -> None:
    """Quantise in a process of its own, which begins when the others do, and put the file's path into `made`."""
    assert quantize.find(source) is None
    start.wait(60)
    kept = quantize.build(source, samples, lambda file: GOOD).weights
    assert kept is not None
    made.put(str(kept.location))


@needs_nncf
@pytest.mark.timeout(300)
def test_two_processes_that_quantise_one_model_leave_one_file_that_both_can_read(source: weights.Weights) -> None:
    """The samples differ, and so would the files."""
    processes = multiprocessing.get_context("spawn")
    start, made = processes.Barrier(2), processes.Queue()
    both = [
        processes.Process(target=_build_here, args=(source, samples, start, made))
        for samples in (FACES, {"face": FACES["face"] // 2})
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(140)
    assert [process.exitcode for process in both] == [0, 0]
    found = quantize.find(source)
    assert found is not None
    assert {made.get(timeout=10) for _ in both} == {str(found.location)}
    assert [path.name for path in found.location.parent.iterdir()] == [found.file]


@needs_nncf
def test_what_no_attempt_makes_good_is_refused_and_not_kept(source: weights.Weights) -> None:
    made = quantize.build(source, FACES, lambda file: BAD)
    assert (made.weights, made.figures) == (None, BAD)
    assert quantize.find(source) is None


@needs_nncf
def test_an_interrupt_leaves_what_was_there(source: weights.Weights, small: bytes) -> None:
    file = store(source, small)

    def interrupted(file: Path) -> Comparison:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize.build(source, FACES, interrupted)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@needs_nncf
@pytest.mark.parametrize("damage", ["corrupt", "stale"])
def test_a_file_that_is_stale_or_corrupt_is_built_anew(
    source: weights.Weights, small: bytes, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = store(source, small)
    if damage == "corrupt":
        file.write_bytes(small[:-9])
    else:
        file.rename(file.with_name(file.name.replace("1-", "0-", 1)))
    assert quantize.find(source) is None
    assert load("small", probe=faces).engine.precision == "int8"
    assert "built anew" in caplog.text
    assert len(list(file.parent.glob("*.onnx"))) == 1


@needs_nncf
def test_a_broken_8_bit_file_never_serves(
    source: weights.Weights, small: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hash is right, and so it is read; what it computes is not."""
    network = onnx.load_from_string(small)
    scale = next(t for t in network.graph.initializer if "scale" in t.name and len(t.dims))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(9), scale.name))
    store(source, network.SerializeToString())
    loaded = load("small", "openvino:int8", probe=faces)
    assert loaded.engine.precision != "int8"
    assert "small on openvino:int8 is refused, the next engine is tried" in caplog.text
    assert "is allowed" in caplog.text


def test_without_the_extra_a_sentence_says_what_to_install(
    source: weights.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "available", lambda: False)
    with pytest.raises(EngineError, match=r"needs NNCF.*pip install 'affectstream\[quantize\]'"):
        build("small", "openvino:int8", probe=faces)
    with pytest.raises(EngineError, match="`affectstream engines build small --backend openvino --precision int8`"):
        load("small", "openvino:int8", probe=faces)
    assert load("small", probe=faces).engine.precision in ("bf16", "fp32")


@needs_nncf
def test_a_damaged_file_that_cannot_be_built_anew_gives_way(
    source: weights.Weights, small: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store(source, small).write_bytes(b"")
    monkeypatch.setattr(quantize, "available", lambda: False)
    assert load("small", probe=faces).engine.precision in ("bf16", "fp32")
    assert "could not be built anew" in caplog.text


def test_a_cache_that_cannot_be_written_is_a_sentence_and_the_next_engine_runs(source: weights.Weights) -> None:
    cache_dir().write_bytes(b"a file where the folder should be")
    with pytest.raises(EngineError, match=r"cannot be written.*AFFECTSTREAM_CACHE|needs NNCF"):
        build("small", "openvino:int8", probe=faces)
    assert load("small", probe=faces).engine.precision in ("bf16", "fp32")


@needs_nncf
def test_what_cannot_be_quantised_is_a_sentence(tmp_path: Path) -> None:
    network = onnx.load(str(write_network(tmp_path / "odd.onnx")))
    network.graph.node[3].op_type = "Frobnicate"
    onnx.save(network, tmp_path / "odd.onnx")
    with pytest.raises(EngineError, match=r"odd.onnx cannot be quantised: .*Frobnicate"):
        quantize.quantise(tmp_path / "odd.onnx", FACES, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()
