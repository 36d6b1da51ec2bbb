"""Bad input of training and scoring, on the command line: one sentence that names what is wrong, and 2."""

import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch

import models
from models import checkpoint
from models.training import affwild2, synthetic
from service.cli import main

torch.set_num_threads(1)
RECIPE = """network = "mt-vgg"
options = { width = 2, fc = 16 }
score = "total_2020"
tasks = { va = 1.0, expression = 1.0, au = 1.0 }
epochs = 1
batch = 16
stride = 4
augment = false
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    synthetic.write(root, videos=1, seconds=1, validation=1)
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "r.toml").write_text(RECIPE)
    assert main(["train", str(folder / "r.toml"), "--data", str(data), "--out", str(folder / "run")]) == 0
    return folder / "run" / "best.pt"


@pytest.fixture
def said(capsys):
    """Runs a command that must fail; what it said."""

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        return capsys.readouterr().err

    return run


def weights():
    return models.create("mt-vgg", width=2, fc=16).state_dict()


def without(state, key):
    return {name: x for name, x in state.items() if name != key}


class Command:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "fc1.bias"), "of its keys, 1 missing (fc1.bias)"),
        (lambda s: s | {"extra": torch.zeros(1)}, "1 unexpected (extra)"),
        (lambda s: s | {"fc1.bias": torch.zeros(3)}, "1 of another shape (fc1.bias is (3,), not (16,))"),
        (lambda s: s | {"fc1.bias": torch.full((16,), torch.nan)}, "holds NaN or infinite weights in fc1.bias"),
    ],
    ids=["missing", "unexpected", "shape", "nan"],
)
def test_wrong_checkpoints(tmp_path, data, trained, said, change, message):
    path, content = tmp_path / "c.pt", checkpoint.read(trained)
    torch.save(content | {"state_dict": change(content["state_dict"])}, path)
    assert message in said("evaluate", path, data, "--out", tmp_path / "out")
    torch.save(change(weights()), path)
    assert message in said("weights", "import", "mt-vgg", path, "--set", "width=2", "--set", "fc=16")
    assert not (tmp_path / "out").exists()


def test_checkpoints_that_are_none(tmp_path, data, trained, said):
    path = tmp_path / "c.pt"
    path.write_bytes(trained.read_bytes()[:5000])
    for words in (("evaluate", path, data, "--out", tmp_path / "out"), ("weights", "import", "mt-vgg", path)):
        assert "(5000 bytes) is truncated, or no torch checkpoint at all" in said(*words)
    torch.save(weights(), path)
    assert "was not written by a training run; it has no recipe" in said(
        "evaluate", path, data, "--out", tmp_path / "o"
    )
    assert "There is no checkpoint" in said("evaluate", tmp_path / "none.pt", data, "--out", tmp_path / "out")
    assert "name a folder for its predictions with --out" in said("evaluate", trained, data)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, data, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pt"
    for write in (
        lambda: torch.save({"state_dict": Command()}, path),
        lambda: path.write_bytes(pickle.dumps(Command())),
    ):
        write()
        for words in (("evaluate", path, data, "--out", "out"), ("weights", "import", "mt-vgg", path)):
            assert "is refused" in said(*words)
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE + f'initial = {{ "" = "{path}" }}\n')
    assert "is refused" in said("train", recipe, "--data", data, "--out", "run")
    assert not (tmp_path / "pwned").exists()


EXPRESSION, UNITS = affwild2.EXPRESSION_HEADERS[7], affwild2.AU_HEADERS[12]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("VA_Set/Train_Set/t0.txt", "valence\n0.1\n", "t0.txt, line 1: expected 'valence,arousal', not 'valence'"),
        ("VA_Set/Train_Set/t0.txt", "valence,arousal\n0,0\n0,zero\n", "t0.txt, line 3: expected 2 numbers, not"),
        ("EXPR_Set/Train_Set/t0.txt", f"{EXPRESSION}\n1\n9\n", "line 3: expected whole numbers, -1 to 6"),
        ("AU_Set/Validation_Set/v0.txt", "AU1,AU2\n0,1\n", "v0.txt, line 1: expected 'AU1,AU2,AU4"),
        ("AU_Set/Train_Set/t0.txt", UNITS + "\n" + ",".join("0" * 12), "for 12 action units, not for 8"),
        ("VA_Set/Train_Set/t0.txt", "valence,arousal\n" + "-5,-5\n" * 30, None),
    ],
    ids=["header", "value", "class", "units", "other year", "all sentinels"],
)  # fmt: skip
def test_wrong_annotations(tmp_path, data, said, file, text, message):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    (root / "annotations" / file).write_text(text)
    recipe = tmp_path / "r.toml"
    only_va = RECIPE.replace("{ va = 1.0, expression = 1.0, au = 1.0 }", "{ va = 1.0 }").replace("total_2020", "va")
    recipe.write_text(RECIPE if message else only_va)
    found = said("train", recipe, "--data", root, "--out", tmp_path / "run")
    assert (message or "No frame to train on is annotated for va") in found
    assert not (tmp_path / "run").exists()


def test_empty_and_unprepared_data_sets(tmp_path, data, said):
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE)
    assert "There are no train annotations in" in said("train", recipe, "--data", tmp_path, "--out", tmp_path / "run")
    shutil.copytree(data / "annotations", tmp_path / "bare" / "annotations")
    words = ("train", recipe, "--data", tmp_path / "bare", "--out", tmp_path / "run")
    assert "pictures of 0 recordings to train on and of 0 to validate on; `affectstream prepare" in said(*words)
    assert "has none of the folders VA_Set, EXPR_Set, AU_Set" in said("evaluate", tmp_path, data)
    assert "There is no recipe 'none'" in said("train", "none", "--data", data, "--out", tmp_path / "run")
    assert "name the prepared data with --data" in said("train", "tsav")


def test_a_run_whose_loss_explodes_keeps_its_last_checkpoint(tmp_path, data, said):
    recipe, words = tmp_path / "r.toml", ("train", tmp_path / "r.toml", "--data", data, "--out", tmp_path / "run")
    recipe.write_text(RECIPE.replace("epochs = 1", "epochs = 3\nmilestones = []\nlearning_rate = 1e30"))
    found = said(*words)
    assert re.search(
        r"The (loss is \w+ in|weights are no numbers after) epoch \d, batch \d; (the last good|no epoch)", found
    )


def test_a_trained_network_is_submitted_checked_and_scored(tmp_path, data, trained, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(trained), str(data), "--out", str(out), "--plots", str(tmp_path / "plots")]) == 0
    table = capsys.readouterr().out
    assert "expression_2020" in table
    assert "calibration_error" in table
    assert {path.name for path in out.iterdir()} == {"VA_Set", "EXPR_Set", "AU_Set", "probabilities"}
    assert len(list((tmp_path / "plots").iterdir())) == 4
    assert main(["evaluate", str(trained), str(data), "--out", str(out), "--split", "test"]) == 0
    assert "VA_Set/t0.txt" in capsys.readouterr().out
    assert np.isfinite(affwild2.read_va(out / "VA_Set" / "v0.txt")).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("recipe", ["face-mt", "mt-vgg-small"])
def test_a_device_that_is_not_there(recipe, data, tmp_path, said):
    assert "no CUDA device" in said("train", recipe, "--data", data, "--out", tmp_path, "--device", "cuda")
