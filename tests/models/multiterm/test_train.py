"""`affectstream train multiterm`: from prepared recordings to boosters that score, resumed where it was stopped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import affwild2_videos

from engines import weights
from models.errors import ModelError
from models.multiterm import train as multiterm_train
from models.multiterm.boosting import Boosting, boost
from models.multiterm.system import MultiTerm
from models.training import affwild2, synthetic
from service.adapters.feature_engine import FACE
from service.cli import main

pytest.importorskip("lightgbm", reason="needs LightGBM")
FAST = Boosting({"num_leaves": 4, "learning_rate": 0.3, "min_child_samples": 5}, rounds=8, patience=4, folds=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations in Aff-Wild2's layout, and features that follow them with noise."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("Train_Set", 6), ("Validation_Set", 2)):
        for i in range(count):
            rng = np.random.default_rng((split == "Train_Set", i))
            motion = synthetic.motion(420, rng, pace=0.2)
            va, expression, _ = synthetic.labels(motion)
            expression[:7] = range(7)
            va[:9] = -5
            name = f"{split[0].lower()}{i}"
            affwild2.write_va(root / "annotations" / "VA_Set" / split / f"{name}.txt", va)
            affwild2.write_expression(root / "annotations" / "EXPR_Set" / split / f"{name}.txt", expression)
            moves = np.stack((motion.smile, motion.opening, motion.brow), axis=1)
            deep = moves @ np.random.default_rng(0).normal(size=(3, 8)) + rng.normal(0, 0.1, (420, 8))
            au = np.full((420, 35), np.nan)
            au[:, 8] = np.clip(5 * motion.smile, 0, 5)
            au[rng.random(420) < 0.1] = np.nan
            write(root, name, deep=deep, au=au, head=np.full((420, 6), np.nan))
    return root


def write(root: Path, name: str, extractor: str = "face-mt-1", **arrays: np.ndarray) -> None:
    (root / "multiterm").mkdir(exist_ok=True)
    np.savez(root / "multiterm" / f"{name}.npz", extractor=np.array(extractor), **arrays)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    out = tmp_path_factory.mktemp("run")
    return out, multiterm_train.train(FAST, data, out, progress=False)


def test_the_score_rises(trained: tuple[Path, dict[str, float]]) -> None:
    out, done = trained
    assert done["score"] > done["before"] + 0.4
    assert done["va"] > 0.5
    assert json.loads((out / "scores.json").read_text("utf-8"))["score"] == done["score"]


def test_what_was_written_is_a_whole_system(trained: tuple[Path, dict[str, float]]) -> None:
    system = MultiTerm.load(trained[0] / "multiterm.json")
    assert system.extractor == "face-mt-1"
    assert list(system.standard) == ["deep", "au"]  # the head was never seen
    assert np.isnan(system.standard["au"][0]).sum() == 34
    assert len(system.boosters) == 3 * (3 * 3 + 2)


def test_a_run_that_was_stopped_comes_to_the_same(
    data: Path, trained: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    for file in sorted((trained[0] / "boosters").glob("*.npz"))[::2]:
        (tmp_path / "boosters").mkdir(exist_ok=True)
        (tmp_path / "boosters" / file.name).write_bytes(file.read_bytes())
    again = multiterm_train.train(FAST, data, tmp_path, progress=False)
    assert again["score"] == trained[1]["score"]
    assert (tmp_path / "multiterm.json").read_bytes() == (trained[0] / "multiterm.json").read_bytes()
    with pytest.raises(ModelError, match="holds a run of another recipe"):
        multiterm_train.train(Boosting(folds=3), data, tmp_path, progress=False)


def test_each_model_takes_the_parameters_that_score_best_on_what_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = x[:, 0] + 0.1 * rng.normal(size=300)
    how = Boosting({"min_child_samples": 5}, {"learning_rate": [1e-6, 0.3]}, rounds=5, folds=3)
    fold, common = np.arange(300) % 3, np.zeros(300, bool)
    tuned = boost(x, y, fold, how, classes=False, common=common)
    fixed = boost(x, y, fold, replace(how, grid={"learning_rate": [0.3]}), classes=False, common=common)
    np.testing.assert_array_equal(tuned.unseen, fixed.unseen)
    assert np.corrcoef(tuned.unseen[:, 0], y)[0, 1] > 0.8


def test_data_that_is_not_prepared_or_of_several_networks_is_named(tmp_path: Path) -> None:
    for split in ("Train_Set", "Validation_Set"):
        for name in ("a", "b"):
            file = tmp_path / "annotations" / "EXPR_Set" / split / f"{split[0]}{name}.txt"
            affwild2.write_expression(file, np.zeros(30, np.int64))
    with pytest.raises(ModelError, match="no multiterm features to train with; run `affectstream prepare multiterm`"):
        multiterm_train.train(FAST, tmp_path, tmp_path / "out", progress=False)
    write(tmp_path, "Ta", deep=np.zeros((30, 4)))
    write(tmp_path, "Tb", "face-mt-2", deep=np.zeros((30, 4)))
    with pytest.raises(ModelError, match="come from face-mt-1 and face-mt-2; prepare them anew"):
        multiterm_train.train(FAST, tmp_path, tmp_path / "out", progress=False)


def test_recipes_are_read_and_wrong_ones_named(tmp_path: Path) -> None:
    for name in multiterm_train.available():
        recipe = multiterm_train.find(name)
        assert recipe is not None
        assert recipe.rounds > 0
    assert multiterm_train.find("tsav") is None
    file = tmp_path / "mine.toml"
    for text, complaint in (
        ("depth = 3", "unknown keys depth; there are parameters, grid, rounds"),
        ("rounds = 0", "rounds cannot be 0"),
        ('folds = "many"', "folds cannot be 'many'"),
        ("grid = { num_leaves = 31 }", "grid.num_leaves is a list of values to try, not 31"),
        ("rounds =", "is not TOML"),
    ):
        file.write_text(f'network = "multiterm"\n{text}\n')
        with pytest.raises(ModelError, match=complaint):
            multiterm_train.find(str(file))
    file.write_text('network = "tsav"\n')
    assert multiterm_train.find(str(file)) is None


def test_recordings_are_prepared_by_the_code_that_serves(tmp_path: Path) -> None:
    drawn, root = tmp_path / "drawn", tmp_path / "data"
    affwild2_videos.write(root, videos=1, seconds=0.5, validation=1)
    synthetic.write(drawn, videos=1, seconds=0.5, validation=1)
    (root / "videos" / "v0.mp4").unlink()  # pictures stand in for it
    (root / "cropped_aligned").mkdir()
    (drawn / "cropped_aligned" / "v0").rename(root / "cropped_aligned" / "v0")
    assert main(["prepare", "multiterm", str(root), "--out", str(tmp_path / "out")]) == 0
    found = {}
    for name in ("t0", "v0"):
        with np.load(tmp_path / "out" / "multiterm" / f"{name}.npz", allow_pickle=False) as file:
            found[name] = dict(file)
        assert str(found[name]["extractor"]) == weights.entry(FACE).version
        assert found[name]["au"].shape == (15, 35)
        assert np.isfinite(found[name]["deep"]).all()
        assert np.isfinite(found[name]["au"][:, 8]).all()  # AU12_r
    assert np.isfinite(found["t0"]["head"]).all()
    assert np.isfinite(found["t0"]["gaze"]).all(1).sum() == 5
    assert np.isnan(found["v0"]["head"]).all()  # a crop tells nothing of it
    assert (tmp_path / "out" / "annotations" / "VA_Set" / "Train_Set" / "t0.txt").is_file()
    file = tmp_path / "out" / "multiterm" / "t0.npz"
    kept = file.stat().st_mtime_ns
    assert main(["prepare", "multiterm", str(root), "--out", str(tmp_path / "out")]) == 0
    assert file.stat().st_mtime_ns == kept


def test_without_lightgbm_training_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiterm_train, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs LightGBM; install it: pip install 'affectstream\[multiterm\]'"):
        multiterm_train.train(FAST, data, tmp_path, progress=False)
