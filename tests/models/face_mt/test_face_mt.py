"""The default face network: targets out of votes, training that resumes, and a file that serves what was trained."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.errors import WeightsError  # noqa: E402
from engines.openvino import OpenVinoEngine  # noqa: E402
from models.errors import ModelError  # noqa: E402
from models.face_mt import (  # noqa: E402
    augment,
    calibration,
    drawings,
    evidence,
    heads,
    losses,
    occluders,
    scores,
    start,
    teacher,
    votes,
)
from models.face_mt.action_units import SHAPES, UNITS  # noqa: E402
from models.face_mt.data import TEST, TRAIN, held_out, sets, webva_split  # noqa: E402
from models.face_mt.export import OUTPUTS, VERSION, Served, export, load  # noqa: E402
from models.face_mt.network import Config, FaceNetwork, UnitHead, View  # noqa: E402
from models.face_mt.points import POINTS  # noqa: E402
from models.face_mt.train import Options, train  # noqa: E402
from models.labels import EXPRESSIONS  # noqa: E402
from service.adapters.face_mt import FaceMT, read_facts  # noqa: E402
from service.datasets.blendshapes import NAMES  # noqa: E402

WIDTHS, BLOCKS = (8, 8, 16, 16), (1, 1, 1, 1)
SMALL = Config(UNITS, widths=WIDTHS, blocks=BLOCKS)
PLAIN = calibration.plain(len(UNITS))


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "EPOCHS", 2)


def _votes(**counts: int) -> np.ndarray:
    row = np.zeros((1, 10), np.uint8)
    for name, count in counts.items():
        row[0, votes.FERPLUS_COLUMNS.index(name)] = count
    return row


def _prepared(folder: Path, rows: int = 48) -> Path:
    """Write three tiny prepared sets with a face-like pattern for two classes."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (rows, 112, 112), np.uint8)
    count = np.zeros((rows, 10), np.uint8)
    count[::2, 0], count[1::2, 1] = 10, 10
    crops[1::2, 60:90, 30:80] = 255
    common = {
        "crops": crops,
        "found": np.ones(rows, bool),
        "mesh": rng.normal(56, 20, (rows, POINTS, 2)).astype(np.float32),
        "blendshapes": rng.random((rows, 52)).astype(np.float32),
        "blendshape_names": np.array(NAMES),
        "openface": rng.normal(1, 1, (rows, 3)).astype(np.float32),
        "openface_names": np.array(["AU04", "AU06", "AU12"]),
        "yaw": np.zeros(rows, np.float32),
    }
    label = np.array(["neutral", "happiness"] * (rows // 2))
    names = np.array([f"Person{chr(65 + i % 26)}_{i}.jpg" for i in range(rows)])
    for name, columns in (
        ("ferplus", {"votes": count, "split": np.arange(rows) % 3}),
        ("faces", {"label": label, "name": names}),
        ("webva", {"label": label, "va": rng.uniform(-1, 1, (rows, 2))}),
    ):
        (folder / name).mkdir(parents=True)
        np.savez(folder / name / "0.npz", **common, **columns)  # type: ignore[arg-type]
    return folder


def _options(data: Path, out: Path, **changes: object) -> Options:
    base = {
        "start": None, "widths": WIDTHS, "blocks": BLOCKS, "first_steps": 2, "units_steps": 1, "fold_steps": 2,
        "first_mix": (4, 0, 0, 2), "units_mix": (2, 0, 2, 2), "fold_mix": (4, 4, 2),
    }  # fmt: skip
    return Options(str(data), str(out), **(base | changes))  # type: ignore[arg-type]


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


def test_pictures_of_one_person_fall_on_the_same_side() -> None:
    assert held_out("Tony_Blair_0110.jpg") == held_out("Tony_Blair_0047.jpg")


def test_the_last_rows_of_webva_are_its_test() -> None:
    split = webva_split(2600)
    assert (split[:2200] == TRAIN).all()
    assert (split[2200:] == TEST).all()
    assert (webva_split(20) == TEST).sum() == 4


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
    first, again = (augment.view(grey, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (4, 1, 64, 64)


def test_what_is_drawn_over_a_face_changes_it_where_it_says_so() -> None:
    grey = 255 * torch.rand(64, 112, 112, generator=torch.Generator().manual_seed(0))
    bank = occluders.bank(40)
    pictures, covered = occluders.cover(grey, bank, torch.Generator().manual_seed(1))
    x, y = (int(v) for v in occluders.NOSE_MOUTH)
    changed = (pictures - grey).abs()[:, y - 10 : y + 10, x - 10 : x + 10].mean((1, 2))
    assert (covered == 0).any()
    assert (covered > 0.9).any()
    assert changed[covered > 0.9].min() > changed[covered == 0].max()
    again, _ = occluders.cover(grey, bank, torch.Generator().manual_seed(1))
    assert torch.equal(pictures, again)


def test_only_a_share_of_the_pictures_is_covered() -> None:
    grey = torch.randint(0, 256, (50, 112, 112), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pictures, _ = augment.occluded(grey, occluders.bank(20), 0.2, torch.Generator().manual_seed(2))
    assert int(((pictures - grey.float()).abs().amax((1, 2)) > 0).sum()) == 10


def test_drawn_faces_differ_and_repeat_with_their_generator() -> None:
    first, again, other = (drawings.drawings(6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 112, 112)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({picture.numpy().tobytes() for picture in first}) == 6


def test_unknown_targets_take_no_part() -> None:
    va = torch.zeros(3, 2, requires_grad=True)
    unknown = torch.full((3, 2), torch.nan)
    assert losses.affect_loss(va, unknown, torch.ones(3, dtype=torch.bool)) == 0
    assert losses.likelihood_loss(va, torch.zeros(3, 2), unknown) == 0
    units, seen = torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)
    target = torch.tensor([[3.0, torch.nan], [torch.nan, torch.nan]])
    assert losses.unit_loss(units, target, seen, torch.tensor([3.0, 1.0])) == pytest.approx(1.0)
    assert losses.unit_loss(units, target, ~seen, torch.ones(2)) == 0


def test_covered_faces_take_no_part_in_the_concordance() -> None:
    truth = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    va = truth.clone()
    va[4:] = -truth[4:]
    free = torch.arange(8) < 4
    assert losses.affect_loss(va, truth, free) < 1e-3
    assert losses.affect_loss(va, truth, torch.ones(8, dtype=torch.bool)) > 0.5


def test_the_deviation_that_fits_the_errors_costs_least() -> None:
    error = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)) * 0.3
    cost = {
        std: float(losses.likelihood_loss(error, torch.full((4000, 1), std).log(), error * 0))
        for std in (0.1, 0.3, 0.9)
    }
    assert min(cost, key=lambda std: cost[std]) == 0.3


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


def test_presence_is_as_likely_as_it_was() -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=6000)
    present = rng.random(6000) < 1 / (1 + np.exp(-(2 * value - 1)))
    assert calibration.fit_logistic(value, present) == pytest.approx((2.0, -1.0), abs=0.2)
    slope, offset = calibration.fit_logistic(value, np.zeros(6000, bool))
    assert 1 / (1 + np.exp(-offset)) < 0.05
    assert slope >= 0


def test_a_prior_is_found_that_explains_the_faces() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6000, 3))
    p = scores.softmax(logits + np.log([0.7, 0.2, 0.1]))
    truth = np.array([rng.choice(3, p=row) for row in p])
    assert calibration.fit_prior(logits, truth, np.full(3, 1 / 3)) == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_few_photographs_count_as_covered() -> None:
    logits = np.random.default_rng(0).normal(-5, 1, 5000)
    assert (logits + calibration.fit_cover(logits) > 0).mean() == pytest.approx(0.03, abs=0.002)


def test_a_unit_is_present_beyond_what_neutral_faces_show() -> None:
    teacher = np.stack([np.linspace(-1, 1, 201), np.linspace(0, 9, 201)], 1)
    limits = calibration.present_above(teacher, np.ones(201, bool))
    assert limits == pytest.approx([0.9, calibration.HIGHEST_PRESENT], abs=0.01)


def test_the_teacher_says_of_new_faces_what_people_said_of_faces_like_them() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(400, 6))
    label = (seen[:, 0] > 0).astype(int)
    affect = np.stack([np.tanh(seen[:, 0]), 0.3 * np.tanh(seen[:, 1])], 1)
    learned = slice(0, 300)
    inputs = [seen[:, :3], seen[:, 3:] + seen[:, :3]]  # of two networks
    taught = teacher.Teacher([x[learned] for x in inputs], np.eye(2)[label[learned]], affect[learned])
    lesson = taught([x[300:] for x in inputs])
    assert (lesson.expression.argmax(1) == label[300:]).mean() > 0.9
    assert lesson.expression.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert scores.concordance(lesson.affect[:, 0], affect[300:, 0]) > 0.9
    assert lesson.affect[:, 1].std() == pytest.approx(affect[300:, 1].std(), rel=0.25)  # not drawn to the middle


def test_heads_are_fitted_to_what_the_trunk_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "EPOCHS", 12)
    monkeypatch.setattr(heads, "RATE", 0.02)
    rng = np.random.default_rng(0)
    network = FaceNetwork(SMALL)
    seen = rng.normal(2, 3, (800, WIDTHS[-1]))
    label, affect = (seen[:, 0] > 2).astype(int), np.clip((seen[:, :2] - 2) / 6, -1, 1).astype(np.float32)
    votes_before = network.votes.weight.clone()
    heads.fit_heads(network, seen, np.eye(8, dtype=np.float32)[label], affect, seed=1)
    with torch.no_grad():
        x = torch.from_numpy(seen).float()
        guess, va = network.expression(x).argmax(1).numpy(), torch.tanh(network.affect(x)[:, :2]).numpy()
    assert (guess == label).mean() > 0.9
    assert scores.concordance(va[:, 0], affect[:, 0]) > 0.85
    assert torch.equal(network.votes.weight, votes_before)


def test_few_faces_measure_a_calibration_error_where_there_is_none() -> None:
    p = scores.softmax(np.random.default_rng(0).normal(size=(200, 8)))
    even = np.full(8, 1 / 8)
    few, many = (evidence.perfect_calibration_error(faces, even) for faces in (p, np.tile(p, (20, 1))))
    assert many < 0.03 < few


def test_a_killed_training_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import models.face_mt.train as module

    monkeypatch.setattr(module, "PART", 1)
    data = _prepared(tmp_path / "data")
    prepared = sets(data)
    whole = train(_options(data, tmp_path / "whole"), prepared)
    real, calls = module._Run.save, []

    def stop_after_third(self: module._Run, path: Path) -> None:
        real(self, path)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module._Run, "save", stop_after_third)
    with pytest.raises(KeyboardInterrupt):
        train(_options(data, tmp_path / "killed"), prepared)
    monkeypatch.setattr(module._Run, "save", real)
    killed = train(replace(_options(data, tmp_path / "killed")), prepared)
    a, b = (torch.load(path, weights_only=True)["network"] for path in (whole, killed))
    assert all(torch.allclose(a[key].float(), b[key].float(), atol=1e-5) for key in a)


def test_a_run_of_other_options_is_not_overwritten(tmp_path: Path) -> None:
    data = _prepared(tmp_path / "data")
    prepared = sets(data)
    train(_options(data, tmp_path / "run"), prepared)
    with pytest.raises(ModelError, match="other options"):
        train(_options(data, tmp_path / "run", seed=2), prepared)


def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path: Path) -> None:
    data = _prepared(tmp_path / "data")
    with pytest.raises(ModelError, match="nan"):
        train(_options(data, tmp_path / "run", first_rate=float("inf")), sets(data))


def test_one_command_trains_calibrates_exports_and_writes_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import models.face_mt.train as module
    from models.face_mt import evaluate

    # Making the 8-bit version and measuring take minutes: what measuring is asked for is looked at here.
    asked: list[tuple[Path | None, ...]] = []
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(evaluate, "evaluate", lambda *paths: asked.append(paths))
    data, out = _prepared(tmp_path / "data"), tmp_path / "run"
    plain = asdict(_options(data, out))
    figures = module.main(data, out, **{k: plain[k] for k in plain.keys() - {"data", "out", "start", "seed"}})
    assert figures.keys() >= {"temperature", "accuracy7", "units_r"}
    assert asked == [(out / "face-mt.onnx", data, out / f"{VERSION}.md", None)]
    network, head, state = load(out / "best.pt")
    assert network.config.aus == UNITS
    assert head.units.out_features == 2 * len(UNITS)
    assert state["prior"].sum() == pytest.approx(1.0)
    assert read_facts(out / "face-mt.onnx").aus == UNITS
    with np.load(out / "held_out.npz", allow_pickle=False) as said:
        training = np.flatnonzero(sets(data).webva.split == TRAIN)
        assert sorted(said["rows"]) == list(training)  # each once, by the fold that never saw it


def test_units_of_a_teacher_that_is_silent_are_unknown(tmp_path: Path) -> None:
    prepared = sets(_prepared(tmp_path / "data"))
    known = dict(zip(UNITS, np.isfinite(prepared.webva.units).all(0), strict=True))
    assert known["AU12"]
    assert known["AU26"]
    assert not known["AU09"]  # OpenFace's alone, whose value is not among the columns
    assert all(known[unit] for unit in SHAPES if unit not in ("AU01", "AU02", "AU10", "AU20"))


def test_a_folder_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    data = _prepared(tmp_path)
    shard = data / "faces" / "0.npz"
    with np.load(shard) as columns:
        kept = {name: columns[name] for name in columns.files if name != "mesh"}
    np.savez(shard, **kept)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"faces was prepared by an earlier version, without `mesh`"):
        sets(data)


def _networks() -> tuple[FaceNetwork, UnitHead]:
    torch.manual_seed(0)
    network = FaceNetwork(SMALL).eval()
    return network, UnitHead(network.width, len(UNITS)).eval()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "face-mt.onnx"
    export(*_networks(), PLAIN, "test-0", {"aus": list(UNITS), "rest": np.full((POINTS, 2), 56.0).tolist()}, out)
    return out


def test_the_file_computes_what_the_network_computes(shipped: Path) -> None:
    rng = np.random.default_rng(0)
    faces, points = rng.integers(0, 256, (5, 112, 112, 3), np.uint8), rng.standard_normal((5, POINTS, 2), np.float32)
    with torch.no_grad():
        expected = Served(*_networks(), PLAIN)(torch.from_numpy(faces), torch.from_numpy(points))
    found = OpenVinoEngine(shipped, caching=False)({"face": faces, "points": points})
    for name, value in zip(OUTPUTS, expected, strict=True):
        assert np.allclose(found[name], value.numpy(), atol=2e-3), name


def test_training_goes_on_from_a_release(tmp_path: Path) -> None:
    network = FaceNetwork(SMALL)
    arrays = {}
    for name, part in network.named_modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            arrays[f"{start._convolution(name)}.weight_bias"] = np.full(part.num_features, 0.25, np.float32)
    for name, parameter in network.named_parameters():
        if name.startswith("votes"):
            continue
        arrays[name.replace("hidden", "units.0")] = np.full(tuple(parameter.shape), 0.5, np.float32)
    start.load(network, arrays)
    network.train()
    assert not network.stem[1].training
    assert torch.equal(network.votes.weight, network.expression.weight)  # it knew FER+'s names only
    x = torch.randn(1, 32, 4, 4)[:, :8]
    assert torch.allclose(network.stem[1](x), x + 0.25, atol=1e-5)  # a norm that only adds what was folded
    assert (network.expression.weight == 0.5).all()
    with pytest.raises(ModelError, match="expected 8x1x5x5"):
        start.load(network, arrays | {"stem.0.weight": np.zeros((2, 2), np.float32)})
    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"other\.onnx"):
        start.read(tmp_path / "other.onnx")


def test_the_adapter_batches_faces_and_names_what_comes_back(shipped: Path) -> None:
    loaded = SimpleNamespace(weights=SimpleNamespace(location=shipped))
    adapter = FaceMT(loaded)  # type: ignore[arg-type]
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    placed = {"mesh": np.full((POINTS, 3), 28.0, np.float32), "matrix": np.array([[2.0, 0, 0], [0, 2.0, 2.0]])}
    faces = [SimpleNamespace(track=10 + i, crop=crop, **placed) for i, crop in enumerate(crops)]
    inputs = adapter.inputs(1.5, faces, None)  # type: ignore[arg-type]
    assert inputs is not None
    assert (inputs["points"] == [0, 1]).all()  # two pixels below their place at rest
    estimates = adapter.estimates(1.5, faces, OpenVinoEngine(shipped, caching=False)(inputs))  # type: ignore[arg-type]
    assert sorted(estimates) == [10, 11, 12]
    one = estimates[11]
    assert one.expression is not None
    assert one.expression.sum() == pytest.approx(1.0, abs=1e-5)
    assert tuple(one.aus) == tuple(one.intensities) == tuple(one.intensity_std) == UNITS
    assert all(0 <= p <= 1 for p in one.aus.values())
    assert all(0 <= x <= 5 for x in one.intensities.values())
    assert one.valence is not None
    assert -1 <= one.valence <= 1
    assert one.occluded is not None
    assert 0 <= one.occluded <= 1
    assert one.t == 1.5
    assert adapter.inputs(1.5, [], None) is None  # type: ignore[arg-type]


def test_a_file_that_does_not_name_its_outputs_is_refused(tmp_path: Path, shipped: Path) -> None:
    import onnx

    model = onnx.load(str(shipped))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "nameless.onnx"))
    with pytest.raises(WeightsError, match="nameless"):
        read_facts(tmp_path / "nameless.onnx")
