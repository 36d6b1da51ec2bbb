"""The default face network: targets out of votes, training that resumes, and a file that serves what was trained."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.errors import WeightsError  # noqa: E402
from engines.openvino import OpenVinoEngine  # noqa: E402
from models.errors import ModelError  # noqa: E402
from models.face_mt import augment, calibration, drawings, losses, scores, votes  # noqa: E402
from models.face_mt.action_units import live, targets, units  # noqa: E402
from models.face_mt.data import held_out  # noqa: E402
from models.face_mt.export import Served, export, load  # noqa: E402
from models.face_mt.network import Config, FaceNetwork, View, resampling  # noqa: E402
from models.face_mt.train import Options, train  # noqa: E402
from models.labels import EXPRESSIONS  # noqa: E402
from service.adapters.face_mt import FaceMT, read_names  # noqa: E402
from service.datasets.blendshapes import NAMES  # noqa: E402

SMALL = Config(widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1), aus=("AU01", "AU12"))


def _votes(**counts: int) -> np.ndarray:
    row = np.zeros((1, 10), np.uint8)
    for name, count in counts.items():
        row[0, votes.FERPLUS_COLUMNS.index(name)] = count
    return row


def _prepared(folder: Path, rows: int = 48) -> Path:
    """Two tiny prepared sets with a face-like pattern for two classes."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (rows, 112, 112), np.uint8)
    count = np.zeros((rows, 10), np.uint8)
    count[::2, 0], count[1::2, 1] = 10, 10
    crops[1::2, 60:90, 30:80] = 255
    shapes = rng.random((rows, 52)).astype(np.float32)
    common = {"crops": crops, "found": np.ones(rows, bool), "blendshapes": shapes, "blendshape_names": np.array(NAMES)}
    (folder / "ferplus").mkdir(parents=True)
    (folder / "faces").mkdir()
    np.savez(folder / "ferplus" / "0.npz", votes=count, split=np.arange(rows) % 3, **common)
    names = np.array([f"Person{chr(65 + i % 26)}_{i}.jpg" for i in range(rows)])
    np.savez(folder / "faces" / "0.npz", label=np.array(["happiness", "neutral"] * (rows // 2)), name=names, **common)
    return folder


def _options(data: Path, out: Path, **changes: object) -> Options:
    base = {"epochs": 2, "batch": 8, "widths": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)}
    return Options(str(data / "ferplus"), str(data / "faces"), str(out), **(base | changes))  # type: ignore[arg-type]


def test_single_votes_are_noise_and_unknown_lowers_the_weight() -> None:
    soft, weight = votes.distributions(_votes(happiness=6, surprise=2, fear=1, unknown=2))
    assert soft[0, EXPRESSIONS.index("happiness")] == pytest.approx(0.75)
    assert soft[0, EXPRESSIONS.index("fear")] == 0
    assert weight[0] == pytest.approx(0.8)
    assert votes.distributions(_votes(NF=9))[1][0] == 0


def test_majority_needs_more_than_half_of_what_is_left() -> None:
    assert votes.majority(_votes(happiness=6, surprise=4))[0] == EXPRESSIONS.index("happiness")
    assert votes.majority(_votes(happiness=5, surprise=5))[0] == -1
    assert votes.majority(_votes(unknown=8, sadness=2))[0] == -1


def test_a_split_vote_lies_between_its_norms_and_spreads() -> None:
    soft, _ = votes.distributions(_votes(happiness=5, sadness=5))
    mean, variance = votes.circumplex(soft)
    happy, sad = votes.CIRCUMPLEX["happiness"], votes.CIRCUMPLEX["sadness"]
    assert mean[0] == pytest.approx([(happy[0] + sad[0]) / 2, (happy[1] + sad[1]) / 2])
    assert variance[0, 0] == pytest.approx(((happy[0] - sad[0]) / 2) ** 2)


def test_units_that_the_teacher_never_moves_are_left_out() -> None:
    shapes = np.zeros((100, 52), np.float32)
    shapes[:, NAMES.index("mouthSmileLeft")] = shapes[:, NAMES.index("mouthSmileRight")] = np.linspace(0, 1, 100)
    values = units(shapes, NAMES)
    scales = live(values)
    assert list(scales) == ["AU12"]
    assert targets(values, scales).min() == 0
    assert targets(values, scales).max() == 1


def test_pictures_of_one_person_fall_on_the_same_side() -> None:
    assert held_out("Tony_Blair_0110.jpg") == held_out("Tony_Blair_0047.jpg")


def test_resampling_keeps_the_mean() -> None:
    weights = resampling(112, 12.0, 100.0, 64)
    assert weights.sum(1) == pytest.approx(np.ones(64))
    assert (weights @ np.full(112, 7.0)) == pytest.approx(np.full(64, 7.0))


def test_training_sees_what_the_graph_computes() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 112, 112), np.uint8)
    rgb = torch.from_numpy(np.repeat(grey[..., None], 3, axis=3))
    seen = augment.exact_view(torch.from_numpy(grey))
    assert torch.allclose(View()(rgb), seen, atol=1e-3)


def test_gain_hardly_changes_what_the_network_sees() -> None:
    grey = torch.from_numpy(np.random.default_rng(0).integers(40, 200, (1, 112, 112), np.uint8))
    dark = (grey.float() * 0.4).round().to(torch.uint8)
    assert torch.corrcoef(torch.stack([augment.exact_view(g).flatten() for g in (grey, dark)]))[0, 1] > 0.99


def test_augmentation_repeats_with_its_generator() -> None:
    grey = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 112, 112), np.uint8))
    first, again = (augment.view(grey, 48, torch.Generator().manual_seed(3), training=True) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (4, 1, 48, 48)


def test_drawn_faces_differ_and_repeat_with_their_generator() -> None:
    first, again, other = (drawings.drawings(6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 112, 112)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({picture.numpy().tobytes() for picture in first}) == 6


def test_unknown_targets_take_no_part() -> None:
    va = torch.zeros(3, 2, requires_grad=True)
    target = torch.full((3, 4), torch.nan)
    assert losses.affect_loss(va, torch.zeros(3, 2), target) == 0
    logits = torch.zeros(2, 2)
    half = torch.tensor([[0.0, torch.nan], [torch.nan, torch.nan]])
    assert losses.unit_loss(logits, half) == pytest.approx(float(np.log(2)))


def test_the_prior_is_added_in_training_so_that_the_logits_are_balanced() -> None:
    log_prior = torch.log(torch.tensor([0.9, 0.1]))
    balanced, weight = torch.zeros(1, 2), torch.ones(1)
    right = losses.expression_loss(balanced, torch.tensor([[0.9, 0.1]]), weight, log_prior)
    wrong = losses.expression_loss(log_prior[None], torch.tensor([[0.9, 0.1]]), weight, log_prior)
    assert right < wrong


def test_the_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    p = scores.softmax(logits)
    truth = np.array([rng.choice(3, p=row) for row in p])
    found = calibration.fit_temperature(3 * logits, truth, np.zeros(3))
    assert found == pytest.approx(3.0, rel=0.1)
    assert scores.calibration_error(scores.softmax(3 * logits), truth) > 0.1
    assert scores.calibration_error(scores.softmax(3 * logits / found), truth) < 0.03


def test_std_covers_two_thirds_of_the_cases() -> None:
    error = np.random.default_rng(0).normal(size=(5000, 2))
    scale = calibration.fit_std_scale(np.zeros((5000, 2)), np.full((5000, 2), 2.0), error)
    assert scale == pytest.approx((0.5, 0.5), rel=0.05)


def test_a_killed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    data = _prepared(tmp_path / "data")
    train(_options(data, tmp_path / "whole"))
    import models.face_mt.train as module

    real, calls = module.validate, []

    def stop_after_first(*args: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    module.validate = stop_after_first
    try:
        with pytest.raises(KeyboardInterrupt):
            train(_options(data, tmp_path / "killed"))
    finally:
        module.validate = real
    train(_options(data, tmp_path / "killed"))
    a, b = (torch.load(tmp_path / run / "last.pt", weights_only=True)["average"] for run in ("whole", "killed"))
    assert all(torch.allclose(a[key].float(), b[key].float(), atol=1e-5) for key in a)


def test_a_run_of_other_options_is_not_overwritten(tmp_path: Path) -> None:
    data = _prepared(tmp_path / "data")
    train(_options(data, tmp_path / "run", epochs=1))
    with pytest.raises(ModelError, match="other options"):
        train(_options(data, tmp_path / "run", epochs=1, seed=2))


def test_a_loss_that_is_not_a_number_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    data = _prepared(tmp_path / "data")
    with pytest.raises(ModelError, match="nan"):
        train(_options(data, tmp_path / "run", learning_rate=float("nan")))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("onnx") / "face-mt.onnx"
    export(FaceNetwork(SMALL).eval(), calibration.Calibration(0.7, (0.5, 2.0)), "test-0", {"aus": list(SMALL.aus)}, out)
    return out


def test_the_file_computes_what_the_network_computes(shipped: Path) -> None:
    torch.manual_seed(0)
    network = FaceNetwork(SMALL).eval()
    faces = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    expected = Served(network, calibration.Calibration(0.7, (0.5, 2.0)))(torch.from_numpy(faces))
    found = OpenVinoEngine(shipped, caching=False)({"face": faces})
    for name, value in zip(("expression", "valence_arousal", "std", "aus"), expected, strict=True):
        assert np.allclose(found[name], value.detach().numpy(), atol=2e-3), name


def test_the_adapter_batches_faces_and_names_what_comes_back(shipped: Path) -> None:
    loaded = SimpleNamespace(weights=SimpleNamespace(location=shipped))
    adapter = FaceMT(loaded)  # type: ignore[arg-type]
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    faces = [SimpleNamespace(track=10 + i, crop=crop) for i, crop in enumerate(crops)]
    inputs = adapter.inputs(1.5, faces, None)  # type: ignore[arg-type]
    assert inputs is not None
    estimates = adapter.estimates(1.5, faces, OpenVinoEngine(shipped, caching=False)(inputs))  # type: ignore[arg-type]
    assert sorted(estimates) == [10, 11, 12]
    one = estimates[11]
    assert one.expression is not None
    assert one.expression.sum() == pytest.approx(1.0, abs=1e-5)
    assert list(one.aus) == ["AU01", "AU12"]
    assert all(0 <= p <= 1 for p in one.aus.values())
    assert one.valence is not None
    assert -1 <= one.valence <= 1
    assert one.t == 1.5
    assert adapter.inputs(1.5, [], None) is None  # type: ignore[arg-type]


def test_a_file_that_does_not_name_its_outputs_is_refused(tmp_path: Path, shipped: Path) -> None:
    import onnx

    model = onnx.load(str(shipped))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "nameless.onnx"))
    with pytest.raises(WeightsError, match="nameless"):
        read_names(tmp_path / "nameless.onnx")


def test_checkpoints_load_without_running_anything(tmp_path: Path) -> None:
    data = _prepared(tmp_path / "data")
    train(_options(data, tmp_path / "run", epochs=1))
    network, state = load(tmp_path / "run" / "best.pt")
    assert network.config.aus == tuple(state["scales"])
    assert json.dumps(state["scales"])
