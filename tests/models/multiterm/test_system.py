"""Trailing statistics equal the reference; the hierarchy of boosters learns, and leaks nothing between its levels."""

import numpy as np
import pytest
from golden import networks

from models import metrics
from models.errors import CheckpointError, ModelError
from models.multiterm import boosting
from models.multiterm import system as multiterm
from models.multiterm import windows as window_statistics
from models.multiterm.boosting import Boosting


@pytest.fixture(scope="module")
def arrays():
    return networks.load("fujitsu_windows")


def test_statistics_of_trailing_windows_are_the_reference(arrays):
    for w, seconds in enumerate(arrays["window_seconds"]):
        found = window_statistics.statistics(arrays["signal"], seconds, arrays["eval_frames"])
        for i, name in enumerate(window_statistics.STATISTICS):
            np.testing.assert_allclose(found[:, i], arrays[name][:, w], atol=1e-6, rtol=0, err_msg=f"{name} {seconds}")


def test_windows_without_a_frame_are_unknown_and_those_with_one_are_flat(arrays):
    found = window_statistics.statistics(arrays["signal"], 1, np.arange(400))
    for i, name in enumerate(window_statistics.STATISTICS):
        np.testing.assert_allclose(found[:, i], arrays[f"{name}_1s_every_frame"], atol=1e-6, rtol=0, err_msg=name)


def test_labels_of_windows_are_means_and_modes_of_what_is_annotated():
    va = np.full((60, 2), -5.0)
    va[20:30] = (0.5, -0.5)
    expression = np.repeat([-1, 3, 4, 7], (20, 6, 14, 20))
    mean, mode = window_statistics.labels(va, expression, 1, np.array([10, 29, 35, 59]))
    np.testing.assert_allclose(mean, [(np.nan, np.nan), (0.5, -0.5), (0.5, -0.5), (np.nan, np.nan)])
    assert mode.tolist() == [-1, 3, 4, 4]


def video(name, rng, frames=240):
    """Action units, head and gaze that follow a random affect with noise; some frames failed."""
    t = np.arange(frames) / 30
    va = np.clip(np.sin(rng.uniform(1, 3, 2) * t[:, None] + rng.uniform(0, 6, 2)), -1, 1)
    expression = np.clip(((va[:, 0] + 1) * 3.5).astype(int), 0, 6)
    features = {}
    for modality, columns in (("au", 4), ("head", 3)):
        weights = np.random.default_rng(columns).normal(size=(2, columns))
        x = va @ weights + rng.normal(0, 0.3, (frames, columns))
        x[rng.random(frames) < 0.05] = np.nan
        features[modality] = x
    return multiterm.Video(name, features, va, expression)


@pytest.fixture(scope="module")
def system():
    pytest.importorskip("lightgbm", reason="needs LightGBM")
    system = multiterm.MultiTerm()
    rng = np.random.default_rng(0)
    system.fit([video(f"v{i}", rng) for i in range(6)], Boosting(rounds=25, folds=3))
    return system


def predicted(system, v):
    ends = np.arange(5, len(v.va), 6)
    out = system.predict(system.windows(v.frames, ends))
    va, expression = window_statistics.labels(v.va, v.expression, 1, ends)
    return out, va, expression


def test_there_is_a_model_for_each_box_of_the_hierarchy(system):
    assert len(system.boosters) == 2 * 9 + 9 + 3 + 3  # 5 modalities would make the paper's 60


def test_the_hierarchy_predicts_videos_it_has_not_seen(system):
    out, va, expression = predicted(system, video("new", np.random.default_rng(99)))
    assert min(metrics.ccc(va[:, i], out["va"][:, i]) for i in (0, 1)) > 0.5
    assert (out["expression"].argmax(1) == expression).mean() > 0.35
    np.testing.assert_allclose(out["expression"].sum(1), 1, atol=1e-6)


def test_a_missing_modality_is_unknown_not_zero(system):
    v = video("new", np.random.default_rng(99))
    windows = system.windows({"au": v.frames["au"]}, np.array([100]))
    assert np.isnan(windows["head", 1]).all()
    assert np.isfinite(system.predict(windows)["va"]).all()


def test_what_is_saved_is_loaded(system, tmp_path):
    system.save(tmp_path / "multiterm.json")
    again = multiterm.MultiTerm.load(tmp_path / "multiterm.json")
    v = video("new", np.random.default_rng(99))
    for key, value in predicted(system, v)[0].items():
        np.testing.assert_array_equal(value, predicted(again, v)[0][key])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a multi-term model"):
        multiterm.MultiTerm.load(tmp_path / "other.json")


def test_too_few_videos_and_absent_classes_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ModelError, match="1 videos cannot be dealt into 5 folds"):
        multiterm.MultiTerm().fit([video("a_left", rng), video("a_right", rng)])
    happy = [multiterm.Video(v.name, v.frames, v.va, np.full(240, 4)) for v in (video("a", rng), video("b", rng))]
    with pytest.raises(ModelError, match="No frame is annotated as neutral, anger"):
        multiterm.MultiTerm().fit(happy, Boosting(folds=2))


def test_common_rows_are_halved_and_rare_ones_doubled():
    va = np.array([(0.9, 0.9), (0.1, 0.1), (0.2, -0.2), (0.9, 0.0), (0.8, 0.8)])
    central, neutral = boosting.central_rows(va), boosting.neutral_rows(np.array([4, 4, 4, 0, 6]))
    assert central.tolist() == [False, True, True, False, False]
    assert neutral.tolist() == [False, False, False, True, False]
    rows = boosting.balanced(np.ones(5, bool), central | neutral, np.random.default_rng(0))
    assert (np.bincount(rows, minlength=5)[[0, 4]] == 2).all()
    assert np.bincount(rows, minlength=5)[1:4].sum() == 2


def test_principal_components_keep_the_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 10)) + 5
    mean, directions = multiterm.principal_components(x, 2)
    np.testing.assert_allclose((x - mean) @ directions.T @ directions + mean, x, atol=1e-9)
