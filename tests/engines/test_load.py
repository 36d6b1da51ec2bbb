"""Loading a model: the right file and precision, compared with its reference before it serves."""

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.default_model import inputs, part
from helpers.small_models import model  # noqa: F401
from helpers.small_network import WEIGHT, write_network

from engines import doctor, openvino, weights
from engines import load as loading
from engines.cache import cache_dir
from engines.engine import Arrays
from engines.errors import EngineError
from engines.load import LoadedEngine, build, expected, load, parse_engine, table, verify
from engines.probe import faces, probe
from engines.verify import compare, concordance

CROPS = {"crop": np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32)}


def crops(reference: LoadedEngine) -> Arrays:
    """A probe."""
    return CROPS


def test_fp32_is_its_own_reference(model: Path) -> None:
    loaded = load("small", "openvino:fp32")
    assert (loaded.engine.name, loaded.engine.precision) == ("openvino", "fp32")
    assert loaded.weights.version == "small-1"
    assert loaded.figures is None


def test_a_quantised_file_within_the_limits_serves_and_its_figures_are_kept(model: Path) -> None:
    loaded = load("small", "openvino:int8", probe=crops)
    assert loaded.engine.precision == "int8"
    assert loaded.weights.name == "small-int8"
    assert loaded.figures is not None
    assert loaded.figures.excess is None
    assert loaded.figures.values["valence CCC"] > 0.99


@pytest.mark.parametrize("asked", ["openvino", "openvino:int8"])
def test_an_engine_beyond_the_limits_is_refused_with_its_figures_and_the_next_one_runs(
    model: Path, asked: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "capabilities", lambda: ("FP32", "INT8"))
    loaded = load("wrong", asked, probe=crops)
    assert loaded.engine.precision == "fp32"
    assert loaded.weights.name == "wrong-fp32"
    assert re.search(r"wrong on openvino:int8 is refused.*valence/arousal error \d.*at most 0.1", caplog.text)


def test_bf16_is_tried_between_int8_and_fp32(model: Path) -> None:
    if "BF16" not in openvino.capabilities():
        pytest.skip("needs a CPU with bf16")
    assert load("wrong", "openvino:int8", probe=crops).engine.precision == "bf16"


def test_an_engine_that_gives_nan_gives_way_to_the_next(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = weights.entry("wrong-int8")
    broken = write_network(entry.location, weight=WEIGHT * np.float32(np.nan))
    entry = replace(entry, sha256=hashlib.sha256(broken.read_bytes()).hexdigest())
    weights._manifest(weights.MANIFEST)["wrong-int8"] = entry
    assert load("wrong", "openvino:int8", probe=crops).engine.precision in ("bf16", "fp32")
    assert "not finite" in caplog.text


def test_without_a_probe_one_is_made(model: Path) -> None:
    figures = load("small", "openvino:int8").figures
    assert figures is not None
    assert figures.samples >= 8


def test_what_an_earlier_start_found_is_not_measured_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("small", "openvino:int8")
    monkeypatch.setattr(loading, "compare", None)
    assert load("small", "openvino:int8").figures == first.figures


def test_a_record_that_is_stale_or_damaged_is_made_anew(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("small", "openvino:int8").figures
    (file,) = (cache_dir() / "engines").glob("*.json")
    file.write_text(file.read_text("utf-8")[:50])
    assert load("small", "openvino:int8").figures == first
    monkeypatch.setattr(openvino, "capabilities", lambda: ("FP32", "INT8", "SOMETHING_NEW"))
    load("small", "openvino:int8")
    assert len(list((cache_dir() / "engines").glob("*.json"))) == 2


def test_a_cache_that_cannot_be_written_costs_only_the_comparison(model: Path) -> None:
    cache_dir().write_bytes(b"a file where the folder should be")
    assert load("small", "openvino:int8").engine.precision == "int8"


def test_build_measures_and_list_shows_fit_and_refused_engines(model: Path) -> None:
    assert build("small", "openvino:int8").fit
    assert not build("wrong", "openvino:int8").fit
    serves = {(row["model"], row["engine"]): row["serves"] for row in table()}
    assert serves["small", "openvino:int8"] == "yes"
    assert serves["wrong", "openvino:int8"].startswith("refused: valence/arousal error")


def test_verify_measures_every_engine_that_this_cpu_runs(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "capabilities", lambda: ("FP32", "INT8"))
    rows = {row["engine"]: row["serves"] for row in verify(["small"])}
    assert rows == {"openvino:fp32": "yes", "openvino:int8": "yes"}


def test_the_doctor_says_what_would_serve_and_why_nothing_faster(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "capabilities", lambda: ("FP32", "INT8"))
    assert expected("small") == "openvino:int8 (is compared with fp32 at the first start)"
    build("small", "openvino:int8")
    assert expected("small") == "openvino:int8"
    build("wrong", "openvino:int8")
    assert re.match(r"openvino:fp32 \(int8 was refused: valence/arousal error .*\)$", expected("wrong"))
    assert expected("plain") == "openvino:fp32 (no int8 file was built)"


def test_unknown_names_are_sentences(model: Path) -> None:
    assert weights.models() == ("small", "wrong", "plain")
    with pytest.raises(EngineError, match="no model 'smal'; known are: small, wrong, plain"):
        load("smal")
    with pytest.raises(EngineError, match="no engine 'opnvino'; choose one of openvino"):
        load("small", "opnvino:fp32")
    with pytest.raises(EngineError, match="no precision 'int4'"):
        load("small", "openvino:int4")
    with pytest.raises(EngineError, match="'plain' has no int8 weights"):
        load("plain", "openvino:int8")


def test_the_engine_is_named_with_or_without_precision() -> None:
    assert parse_engine("openvino") == ("openvino", "auto")
    assert parse_engine("openvino:fp32") == ("openvino", "fp32")


def test_auto_takes_bf16_only_where_the_cpu_has_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "capabilities", lambda: ("FP32",))
    assert load("plain").engine.precision == "fp32"


class Fixed:
    """An engine whose answers are known."""

    name = "openvino"
    precision = "int8"

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs: Arrays = dict(outputs)

    def __call__(self, inputs: Arrays) -> Arrays:
        """The rows that `inputs` names."""
        return {name: values[inputs["row"]] for name, values in self.outputs.items()}


def test_each_output_is_judged_in_its_own_unit() -> None:
    rng = np.random.default_rng(0)
    good = {
        "valence_arousal": rng.uniform(-1, 1, (64, 2)),
        "expression": rng.dirichlet(np.ones(7), 64),
        "aus": rng.standard_normal((64, 12)),
        "std": rng.uniform(0.1, 0.2, (64, 2)),
    }
    inputs = {"row": np.arange(64)}
    reference = Fixed(**good)
    assert compare(reference, Fixed(**good), inputs).excess is None
    for name, bad, unit in (
        ("valence_arousal", good["valence_arousal"] * 0.8, "valence/arousal error"),
        ("valence_arousal", good["valence_arousal"][::-1], "valence CCC"),
        ("expression", good["expression"][:, ::-1], "top expression"),
        ("aus", -good["aus"], "AU F1"),
        ("std", good["std"] * 1.2, "std relative error"),
    ):
        excess = compare(reference, Fixed(**(good | {name: bad})), inputs).excess
        assert excess is not None
        assert unit in excess


def test_outputs_that_are_not_finite_are_never_fit_to_serve() -> None:
    good = {"valence_arousal": np.zeros((4, 2))}
    bad = {"valence_arousal": np.full((4, 2), np.nan)}
    with pytest.raises(EngineError, match="not finite"):
        compare(Fixed(**good), Fixed(**bad), {"row": np.arange(4)})


def test_concordance_is_one_for_equals_and_falls_with_offset() -> None:
    a = np.linspace(-1, 1, 50)
    assert concordance(a, a) == pytest.approx(1.0)
    assert concordance(a, a + 0.5) < 0.8
    assert concordance(a, -a) == pytest.approx(-1.0)


def test_the_probe_is_a_varied_face_and_always_the_same() -> None:
    made = probe({"face": (-1, 112, 112, 3), "sound": (-1, 1, 64, 1001)}, {"face": "uint8", "sound": "float32"}, 8)
    assert made["face"].shape == (8, 112, 112, 3)
    assert made["sound"].shape == (8, 1, 64, 1001)
    np.testing.assert_array_equal(made["face"], faces(8))
    assert len({picture.tobytes() for picture in made["face"]}) == 8


def test_the_doctor_says_what_is_there_without_loading_it() -> None:
    found = {row["what"]: row["found"] for row in doctor.rows()}
    assert "devices CPU" in found["OpenVINO"]
    assert "usable" in found["cores"]
    assert found["CPU computes"]


def test_an_entry_says_where_its_file_lies(model: Path) -> None:
    entry = weights.entry("small-fp32")
    assert entry.location == model / "small-fp32.onnx"
    assert replace(entry, sources=()).location.name == "small-fp32.onnx"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_face_is_read_alike_alone_and_among_those_of_other_sessions(precision: str) -> None:
    """Live equals replay only if the company in a batch plays no part."""
    if precision == "bf16" and "BF16" not in openvino.capabilities():
        pytest.skip("needs a CPU with bf16")
    engine = load("face-mt", f"openvino:{precision}").engine
    given = inputs(16)
    together = engine(given)
    for i in (0, 7, 15):
        alone = engine(part(given, slice(i, i + 1)))
        for name in ("expression", "valence_arousal"):
            np.testing.assert_allclose(together[name][i], alone[name][0], atol=1e-5)


def test_a_full_disk_keeps_nothing_from_serving_now_or_later(model: Path) -> None:
    """No file may grow beyond 100 bytes, which is what a full disk looks like from inside."""
    code = f"""
import logging, resource
from pathlib import Path
from engines import weights
from engines.load import load
weights.MANIFEST = Path({str(weights.MANIFEST)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
logging.basicConfig(level=logging.WARNING)
print(load("small", "openvino:int8").engine.precision)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "int8\n"
    assert "cannot be kept" in done.stderr
    assert not list((cache_dir() / "engines").glob("*"))
    assert load("small", "openvino:int8").engine.precision == "int8"


def test_one_core_is_enough(model: Path) -> None:
    code = f"""
import os
os.sched_setaffinity(0, {{next(iter(os.sched_getaffinity(0)))}})
from pathlib import Path
from engines import weights
from engines.load import load
weights.MANIFEST = Path({str(weights.MANIFEST)!r})
loaded = load("small", "openvino:int8", threads=1)
print(loaded.engine.precision)
"""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs Linux")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "int8\n"), done.stderr


def test_an_operator_that_nobody_knows_is_a_sentence(model: Path) -> None:
    file = write_network(model / "plain-fp32.onnx", operator="Frobnicate")
    entry = replace(weights.entry("plain-fp32"), sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    weights._manifest(weights.MANIFEST)["plain-fp32"] = entry
    with pytest.raises(EngineError, match=r"OpenVINO cannot compile plain-fp32.onnx: .*Frobnicate"):
        load("plain")


def test_an_engine_is_compared_at_the_batch_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path))
    rows = []
    real = openvino.OpenVinoEngine.__call__

    def counted(self: openvino.OpenVinoEngine, inputs: Arrays) -> Arrays:
        rows.append(len(next(iter(inputs.values()))))
        return real(self, inputs)

    monkeypatch.setattr(openvino.OpenVinoEngine, "__call__", counted)
    assert build("face-mt", "openvino:int8", batch=16).fit
    assert 16 in rows
    with pytest.raises(EngineError, match="batches of 0; choose 1 to"):
        build("face-mt", batch=0)


def test_a_container_with_less_than_a_core_is_warned_of_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loading._warn_of_shortage.cache_clear()
    monkeypatch.setattr(loading, "shortage", lambda: "This container may use 0.5 of a core's time.")
    for _ in range(2):
        load("small", "openvino:fp32")
    assert caplog.text.count("0.5 of a core's time") == 1
    loading._warn_of_shortage.cache_clear()


def test_the_doctor_names_a_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 0.5)
    monkeypatch.setattr(doctor, "usable_cores", lambda: [3])
    assert doctor._cores() == "1 usable; this container is limited to the time of 0.5"
    monkeypatch.setattr(doctor, "cpu_quota", lambda: None)
    assert doctor._cores() == "1 usable"
