"""Checkpoints that a user imports: stored by the model's name, checked by their own keys, refused in a sentence."""

import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.live_models import SMALL, networks_of

from engines.errors import WeightsError
from engines.load import load
from engines.papers import imported, store
from engines.papers.live_networks import live_network
from service.cli import main
from service.runtime import RuntimeOptions, load_runtime

torch.set_num_threads(1)
NAME = "mt-vgg"
OPTIONS = SMALL[NAME]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A checkpoint as training on several GPUs leaves it."""
    path = tmp_path / "published.pth"
    state = {f"module.{key}": x for key, x in networks_of(NAME)[NAME].state_dict().items()}
    torch.save({"epoch": 7, "state_dict": state}, path)
    return path


def face() -> dict[str, np.ndarray]:
    return {"face": np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)}


@torch.inference_mode()
@pytest.mark.parametrize("swapped", [False, True])
def test_an_imported_checkpoint_is_found_by_the_models_name_and_computes_what_its_network_does(
    published: Path, swapped: bool
) -> None:
    imported.import_checkpoint(NAME, [published], swapped=swapped, options=OPTIONS)
    made = load(NAME, "openvino:fp32")
    assert made.weights.trained
    assert made.weights.version.startswith(f"{NAME}-")
    assert "published.pth" in made.weights.trained_on
    expected = live_network(NAME, networks_of(NAME)).module(torch.from_numpy(face()["face"]))
    found = made.engine(face())
    va = expected["valence_arousal"].flip(1) if swapped else expected["valence_arousal"]
    np.testing.assert_allclose(found["valence_arousal"], va, atol=1e-3)
    np.testing.assert_allclose(found["aus"], expected["aus"], atol=1e-3)


def test_a_second_load_needs_no_torch(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported.import_checkpoint(NAME, [published], options=OPTIONS)
    first = load(NAME, "openvino:fp32").weights
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert load(NAME, "openvino:fp32").weights == first


def test_without_weights_a_model_is_refused_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["analyze", "demo:", "--out", "x.jsonl"], ["serve", "--port", "0"]):
        assert main([*argv, "--model", "mimamo"]) == 2
        err = capsys.readouterr().err
        assert "weights import mimamo FILE" in err
        assert "weights import ferplus-resnet50 FILE" in err
        assert "--untrained" in err
        assert "Traceback" not in err


def test_untrained_weights_are_the_same_every_time_and_say_so_in_the_facts_of_every_event(cache: Path) -> None:
    options = {NAME: OPTIONS}
    first, second = imported.system(NAME, untrained=True, options=options), None
    for file in (cache / "onnx").rglob("*.onnx"):
        file.unlink()
    second = imported.system(NAME, untrained=True, options=options)
    assert first == second
    assert not first.trained


def test_an_export_that_was_cut_short_is_written_anew(
    published: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    imported.import_checkpoint(NAME, [published], options=OPTIONS)
    first = load(NAME, "openvino:fp32").weights
    (file,) = (cache / "onnx").rglob("*.onnx")
    file.write_bytes(file.read_bytes()[:1000])
    again = load(NAME, "openvino:fp32")
    assert "cut short" in caplog.text
    assert again.weights == first
    assert again.engine(face())["valence_arousal"].shape == (2, 2)


def test_a_cache_that_cannot_be_written_is_a_sentence(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "onnx").write_bytes(b"a file where the folder should be")
    with pytest.raises(WeightsError, match=r"cannot be written .*mt-vgg is not in it; set AFFECTSTREAM_CACHE"):
        imported.system(NAME, untrained=True, options={NAME: OPTIONS})


def test_weights_that_are_there_are_not_passed_over_for_random_ones(published: Path) -> None:
    imported.import_checkpoint(NAME, [published], options=OPTIONS)
    runtime = load_runtime(RuntimeOptions(model=NAME, engine="openvino:fp32", untrained=True))
    try:
        assert runtime.info["trained"] is True
        assert runtime.info["weights"].startswith(NAME)
        assert any("imported" in line for line in runtime.licences())
    finally:
        runtime.close()


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("__import__('pathlib').Path('harm').write_text('done')",))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": _Harm()}))
    with pytest.raises(WeightsError, match="could run code"):
        imported.import_checkpoint(NAME, [path], options=OPTIONS)
    assert not (tmp_path / "harm").exists()
    assert store.find(NAME) is None


def test_a_wrong_checkpoint_is_refused_with_its_keys(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match=r"missing \(.*rnn.*unexpected \(fc2"):
        imported.import_checkpoint("mt-vgg-gru", [published], options=OPTIONS)
    with pytest.raises(WeightsError, match="of another shape"):
        imported.import_checkpoint(NAME, [published], options={"width": 4, "fc": 16})
    published.write_bytes(published.read_bytes()[:1000])
    assert main(["weights", "import", NAME, str(published), "--set", "width=4", "--set", "fc=32"]) == 2
    assert "truncated" in capsys.readouterr().err


def test_a_bad_command_is_a_sentence(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, said in (
        (["weights", "import"], "no network ''"),
        (["weights", "import", "tsvav", "x.pth"], "no network 'tsvav'"),
        (["weights", "import", "tsav"], "one file"),
        (["weights", "import", "tsav", str(published.parent / "none.pth")], "none.pth"),
        (["weights", "import", NAME, str(published), "--set", "width"], "--set width"),
        (["weights", "import", NAME, str(published), "--set", "breadth=4"], "breadth"),
    ):
        assert main(argv) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "Traceback" not in err


def test_the_command_line_takes_a_checkpoint_in(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "import", NAME, str(published), "--set", "width=4", "--set", "fc=32"]) == 0
    assert "published.pth" in capsys.readouterr().out
    checkpoint = store.find(NAME)
    assert checkpoint is not None
    assert checkpoint.options == {"width": 4, "fc": 32}
    assert main(["weights", "list", "--json"]) == 0
    assert {"name": NAME, "state": "ready"}.items() <= json.loads(capsys.readouterr().out)[-1].items()


def test_a_checkpoint_that_was_altered_afterwards_is_refused(published: Path, cache: Path) -> None:
    checkpoint = imported.import_checkpoint(NAME, [published], options=OPTIONS)
    file = cache / "checkpoints" / checkpoint.file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="altered"):
        load(NAME)
    (cache / "checkpoints" / f"{NAME}.json").write_text(json.dumps({"name": NAME})[:-3])
    with pytest.raises(WeightsError, match="import the checkpoint again"):
        load(NAME)


def test_two_networks_make_an_ensemble(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = networks_of("descriptors")["descriptors"]
    files = [tmp_path / "context.ckpt", tmp_path / "aligned.ckpt"]
    for file in files:
        torch.save({"state_dict": network.state_dict()}, file)
    checkpoint = imported.import_checkpoint("descriptors-ensemble", files, options={})
    assert checkpoint.options == {"heads": "linear"}


def test_tensorflow_variables_are_taken_in(tmp_path: Path) -> None:
    from models.networks.gru import UNITS

    rng = np.random.default_rng(0)
    planes, variables = [3, 4, 4, 8, 8, 16, 16, 16, 32, 32, 32, 32, 32, 32], {}
    for i, (inside, outside) in enumerate(pairwise(planes), start=1):
        variables[f"conv_{i}/weights"] = rng.standard_normal((3, 3, inside, outside))
        variables[f"conv_{i}/biases"] = rng.standard_normal(outside)
    variables["linear_1/weights"], variables["linear_1/biases"] = rng.standard_normal((288, 16)), np.zeros(16)
    for layer, inside in enumerate((16, UNITS)):
        cell = f"rnn_1/rnn/multi_rnn_cell/cell_{layer}/gru_cell"
        for part, outside in (("gates", 2 * UNITS), ("candidate", UNITS)):
            variables[f"{cell}/{part}/kernel"] = rng.standard_normal((inside + UNITS, outside))
            variables[f"{cell}/{part}/bias"] = rng.standard_normal(outside)
    variables["rnn_1/weights_rnn"], variables["rnn_1/biases_rnn"] = rng.standard_normal((UNITS, 2)), np.zeros(2)
    path = tmp_path / "affwildnet.npz"
    np.savez(path, **variables)
    checkpoint = imported.import_checkpoint("affwildnet", [path], options={"width": 4, "fc": 16})
    assert checkpoint.options["reset"] == "before"
    assert "landmarks" not in load("affwildnet", "openvino:fp32").engine.inputs
