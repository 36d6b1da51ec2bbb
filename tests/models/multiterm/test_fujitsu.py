"""Fujitsu 2020, line by line: the 3 s window, half of the features, the grid, balancing by task, Table I, its files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import metrics
from models.errors import AnnotationError, ModelError
from models.multiterm import boosting, train
from models.multiterm import system as multiterm
from models.multiterm.boosting import Boosting
from models.training import affwild2, synthetic
from service.adapters.frame_features import NAMES
from service.datasets.feature_files import read_openface
from service.datasets.prepare import prepare

lightgbm = pytest.importorskip("lightgbm", reason="needs LightGBM")
FAST = Boosting({"num_leaves": 4, "learning_rate": 0.3, "min_child_samples": 5}, rounds=5, patience=3, folds=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deep features that follow drawn motion with noise, annotated in Aff-Wild2's layout."""
    root = tmp_path_factory.mktemp("data")
    (root / "multiterm").mkdir()
    for split, count in (("Train_Set", 4), ("Validation_Set", 2)):
        for i in range(count):
            rng = np.random.default_rng((split == "Train_Set", i))
            motion = synthetic.motion(240, rng, pace=0.2)
            va, expression, _ = synthetic.labels(motion)
            expression[:7] = range(7)
            name = f"{split[0].lower()}{i}"
            affwild2.write_va(root / "annotations" / "VA_Set" / split / f"{name}.txt", va)
            affwild2.write_expression(root / "annotations" / "EXPR_Set" / split / f"{name}.txt", expression)
            moves = np.stack((motion.smile, motion.opening, motion.brow), axis=1)
            deep = moves @ np.random.default_rng(0).normal(size=(3, 8)) + rng.normal(0, 0.1, (240, 8))
            np.savez(root / "multiterm" / f"{name}.npz", extractor=np.array("face-mt-1"), deep=deep)
    return root


def test_a_window_of_three_seconds_is_an_option_and_table_i_has_a_row_for_each_level(
    data: Path, tmp_path: Path
) -> None:
    train.train(replace(FAST, terms=(1, 3, 6, 12)), data, tmp_path, progress=False)
    system = multiterm.MultiTerm.load(tmp_path / "multiterm.json")
    assert system.terms == (1, 3, 6, 12)
    assert "deep/3/valence" in system.boosters
    assert len(system.boosters) == 3 * ((1 + 1) * 4 + 2)
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert list(scores["levels"]) == ["1 s", "3 s", "6 s", "12 s", "multi-term", "multi-task"]
    assert scores["levels"]["multi-task"]["score"] == pytest.approx(scores["score"])
    for row in scores["levels"].values():
        assert {"ccc_valence", "ccc_arousal", "va", "expression_2020"} <= row.keys()
    (wrong := tmp_path / "r.toml").write_text('network = "multiterm"\nterms = [1, 2, 12]\n')
    with pytest.raises(ModelError, match=r"terms are \[1, 6, 12\] or \[1, 3, 6, 12\] seconds, not \[1, 2, 12\]"):
        train.find(str(wrong))


def test_half_of_the_features_by_importance_are_read_and_the_others_change_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6))
    y = x[:, 1] + 0.5 * x[:, 4] + 0.3 * x[:, 5] + 0.05 * rng.normal(size=300)
    fold, common = np.arange(300) % 3, np.zeros(300, bool)
    half = boosting.boost(x, y, fold, replace(FAST, keep=0.5), classes=False, common=common, select=True)
    booster = lightgbm.Booster(model_str=half.text)
    assert booster.num_feature() == 6
    assert set(np.flatnonzero(booster.feature_importance())) <= {1, 4, 5}
    noise = x.copy()
    noise[:, [0, 2, 3]] = rng.normal(size=(300, 3)) * 100
    np.testing.assert_array_equal(booster.predict(noise), booster.predict(x))
    assert np.corrcoef(half.unseen[:, 0], y)[0, 1] > 0.7
    whole = boosting.boost(x, y, fold, replace(FAST, keep=0.5), classes=False, common=common)
    assert whole.text != half.text  # upper levels read the outputs of all models below them


def test_the_grid_of_the_recipe_is_over_all_four_parameters() -> None:
    how = train.find("multiterm")
    assert how is not None
    assert how.grid.keys() == {"num_leaves", "learning_rate", "max_depth", "min_child_samples"}
    assert all(len(values) > 1 for values in how.grid.values())


def test_balancing_is_by_neutral_for_expressions_and_by_the_centre_for_valence_and_arousal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, set[int]] = {"classes": set(), "values": set()}

    def boost(x, y, fold, how, *, classes, common, select=False):  # type: ignore[no-untyped-def]
        seen["classes" if classes else "values"].add(int(common.sum()))
        return boosting.Boosted("", np.zeros((len(x), 7 if classes else 1)), 1)

    monkeypatch.setattr(multiterm, "boost", boost)
    expression = np.repeat([0, 1, 2, 3, 4, 5, 6], 30)
    va = np.full((210, 2), 0.9)
    va[:60] = 0.1  # central, of which half are neutral
    frames = {"au": np.random.default_rng(0).normal(size=(210, 3))}
    videos = [multiterm.Video(name, frames, va, expression) for name in ("a", "b")]
    multiterm.MultiTerm().fit(videos, replace(FAST, balance=True, terms=(1, 6, 12)))
    _, mode = multiterm.labels(va, expression, 1, np.arange(5, 210, 6))
    assert 2 * int((mode == 0).sum()) in seen["classes"]
    assert seen["classes"].isdisjoint(seen["values"])


def test_principal_components_of_the_deep_features_are_as_many_as_the_recipe_says(data: Path, tmp_path: Path) -> None:
    train.train(replace(FAST, components=3), data, tmp_path, progress=False)
    system = multiterm.MultiTerm.load(tmp_path / "multiterm.json")
    assert system.deep is not None
    assert system.deep[1].shape == (3, 8)
    assert len(system.standard["deep"][0]) == 3


def openface(path: Path, frames: int = 20, fps: float = 30) -> np.ndarray:
    """An OpenFace 2.2 file with drawn numbers, and another face in its first rows."""
    columns = [column for modality in ("au", "head", "gaze") for column in NAMES[modality]]
    values = np.random.default_rng(0).normal(size=(frames, len(columns))).round(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(", ".join(("frame", "face_id", "timestamp", "confidence", "success", *columns)) + "\n")
        for i, row in enumerate(values):
            file.write(", ".join(map(str, (i + 1, 0, i / fps, 0.98, int(i != 3), *row))) + "\n")
            if i < 5:
                file.write(", ".join(map(str, (i + 1, 1, i / fps, 0.98, 1, *[9.0] * len(columns)))) + "\n")
    return values


def test_files_of_openface_openpose_and_a_deep_network_stand_in_for_our_features(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    for name in ("a", "b"):
        affwild2.write_va(root / "annotations" / "VA_Set" / "Train_Set" / f"{name}.txt", np.zeros((20, 2)))
    values = openface(root / "openface" / "a.csv")
    pose = np.random.default_rng(1).normal(size=(20, 75)).round(3)
    (root / "openpose").mkdir()
    (root / "openpose" / "a.csv").write_text("\n".join(",".join(map(str, row)) for row in pose) + "\n")
    (root / "deep").mkdir()
    for name in ("a", "b"):
        np.save(root / "deep" / f"{name}.npy", np.random.default_rng(2).normal(size=(20, 40)))
    prepare("multiterm-files", root, out)
    with np.load(out / "multiterm" / "a.npz", allow_pickle=False) as file:
        assert str(file["extractor"]) == "files"
        assert [file[name].shape[1] for name in ("au", "head", "gaze", "pose", "deep")] == [35, 6, 8, 75, 40]
        np.testing.assert_allclose(file["au"][5], values[5, :35], rtol=1e-6)
        np.testing.assert_allclose(file["gaze"][19], values[19, 41:], rtol=1e-6)
        assert np.isnan(file["head"][3]).all()  # success 0
        np.testing.assert_allclose(file["pose"], pose, rtol=1e-6)
    with np.load(out / "multiterm" / "b.npz", allow_pickle=False) as file:
        assert np.isnan(file["au"]).all()
        assert np.isfinite(file["deep"]).all()
    assert (out / "annotations" / "VA_Set" / "Train_Set" / "a.txt").is_file()


def test_files_at_another_rate_are_placed_by_their_timestamps_and_wrong_ones_are_named(tmp_path: Path) -> None:
    values = openface(tmp_path / "a.csv", frames=10, fps=15)
    found = read_openface(tmp_path / "a.csv")
    assert len(found["au"]) == 19
    np.testing.assert_allclose(found["au"][8], values[4, :35])
    assert np.isnan(found["au"][7]).all()
    text = (tmp_path / "a.csv").read_text("utf-8")
    (tmp_path / "a.csv").write_text(text.replace("AU12_r", "AU12"))
    with pytest.raises(AnnotationError, match=r"a\.csv, line 1: expected OpenFace's columns; AU12_r lack"):
        read_openface(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(text.replace("0.98", "x", 1).replace(f"{values[1, 0]}", "much", 1))
    with pytest.raises(AnnotationError, match=r"a\.csv, line \d+: expected numbers"):
        read_openface(tmp_path / "a.csv")


def test_early_stopping_goes_by_the_papers_metrics() -> None:
    rng = np.random.default_rng(0)
    label, pred = rng.normal(size=50), rng.normal(size=50)

    class Data:
        def get_label(self) -> np.ndarray:
            return label

    name, value, higher = boosting._regression(pred, Data())
    assert (name, higher) == ("2ccc-mse", True)
    assert value == pytest.approx(2 * metrics.ccc(label, pred) - ((label - pred) ** 2).mean())
    label = np.array([0, 0, 1, 3])
    likely = np.eye(7)[[0, 2, 1, 3]]
    name, value, higher = boosting._classes(likely, Data())
    assert (name, higher) == ("f1-accuracy", True)
    f1 = (2 / 3 + 1 + 1) / 7  # of neutral, anger and fear; a class that is only predicted, or neither, has 0
    assert value == pytest.approx(0.67 * f1 + 0.33 * 3 / 4)
