"""The head of the units reads the mesh beside the picture, and says how far it is off for faces that it never saw."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.face_mt import unit_head  # noqa: E402
from models.face_mt.action_units import LOWER, UNITS  # noqa: E402
from models.face_mt.data import FOLDS, TRAIN, Basis, Faces, Sets  # noqa: E402
from models.face_mt.network import Config, FaceNetwork  # noqa: E402
from models.face_mt.points import POINTS, UNIT, at_rest, mirrored, points_of  # noqa: E402
from models.face_mt.unit_head import Views  # noqa: E402

ROWS = 120


@pytest.fixture
def rest() -> np.ndarray:
    """A face that is its own mirror image about x = 56; the partner of each odd point is the point before it."""
    right = np.stack(np.meshgrid(np.linspace(60, 112, 13), np.linspace(0, 112, 18)), -1).reshape(-1, 2)
    return np.stack([right, right * (-1, 1) + (112, 0)], 1).reshape(POINTS, 2).astype(np.float32)


def test_faces_at_rest_are_the_mean_of_faces_and_their_mirror_images(rest: np.ndarray) -> None:
    moved = rest[None].repeat(3, 0)
    moved[0, 0, 0] += 2  # of one face one point, by 2 pixels; so the mean of two by 1, and that of both sides by 0.5
    moved[2] = np.nan  # no mesh was found there
    found, partner = at_rest(moved[:2])
    assert (partner == np.arange(POINTS) ^ 1).all()
    assert found[0] == pytest.approx(rest[0] + (0.5, 0), abs=0.05)
    assert found[1] == pytest.approx(rest[1] - (0.5, 0), abs=0.05)
    assert np.array_equal(at_rest(moved)[0], found)
    assert not at_rest(moved[2:])[0].any()


def test_points_are_displacements_that_change_sides_in_the_mirror(rest: np.ndarray) -> None:
    mesh = rest[None].repeat(2, 0)
    mesh[0, 4] += (UNIT, 2 * UNIT)
    mesh[1] = np.nan
    points = points_of(mesh, rest)
    assert points[0, 4] == pytest.approx((1, 2))
    assert not points[1].any()  # a face without a mesh is one at rest
    turned = mirrored(points, np.arange(POINTS) ^ 1)
    assert turned[0, 5] == pytest.approx((-1, 2))
    assert np.array_equal(mirrored(turned, np.arange(POINTS) ^ 1), points)


def _views(seen: np.ndarray, points: np.ndarray, units: np.ndarray, free: np.ndarray) -> Views:
    return Views(*(torch.from_numpy(a) for a in (seen, points, units, free)))


def test_what_only_the_mesh_tells_is_learned_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_head, "EPOCHS", 60)
    rng = np.random.default_rng(0)
    n = 2000
    seen, points = rng.standard_normal((n, 16)).astype(np.float16), rng.standard_normal((n, POINTS, 2)) * 0.3
    units = np.full((n, len(UNITS)), np.nan, np.float32)
    units[:, 0] = seen[:, 0]
    units[:, 1] = points[:, :40, 1].mean(1) * 5
    head = unit_head.fit(
        _views(seen, points.astype(np.float16), units, np.ones(n, bool)), torch.ones(len(UNITS)), seed=1
    )
    with torch.no_grad():
        said, log_std = head(torch.from_numpy(seen).float(), torch.from_numpy(points).float())
    for unit in (0, 1):
        assert np.corrcoef(said[:, unit], units[:, unit])[0, 1] > 0.9
    assert torch.isfinite(log_std).all()


def test_under_a_hand_lower_units_teach_their_deviation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_head, "EPOCHS", 60)
    rng = np.random.default_rng(0)
    n, lower, upper = 600, UNITS.index("AU12"), UNITS.index("AU01")
    assert "AU12" in LOWER
    seen = rng.standard_normal((n, 8)).astype(np.float16)
    covered = np.arange(n) % 2 == 1
    seen[covered, 7] = 5
    units = np.full((n, len(UNITS)), np.nan, np.float32)
    units[:, lower] = units[:, upper] = np.where(covered, rng.choice([-1, 5], n), 0)
    head = unit_head.fit(
        _views(seen, np.zeros((n, POINTS, 2), np.float16), units, ~covered), torch.ones(len(UNITS)), seed=1
    )
    with torch.no_grad():
        said, log_std = head(torch.from_numpy(seen).float(), torch.zeros(n, POINTS, 2))
    assert abs(float(said[covered, lower].mean())) < 0.7  # what lies under the hand is not learned
    assert float(said[covered, upper].mean()) > 1.2
    assert float(log_std[covered, lower].mean()) > float(log_std[~covered, lower].mean()) + 0.5


def test_every_rated_face_is_answered_by_a_head_that_never_saw_it(
    rest: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    n = ROWS
    faces = Faces(
        grey=rng.integers(0, 256, (n, 112, 112), np.uint8), found=np.ones(n, bool),
        split=np.where(np.arange(n) < 100, TRAIN, 2), expression=np.full((n, 8), 1 / 8, np.float32),
        weight=np.ones(n, np.float32), majority=np.zeros(n, np.int64), affect=np.zeros((n, 2), np.float32),
        units=np.arange(n, dtype=np.float32)[:, None].repeat(len(UNITS), 1), yaw=np.zeros(n, np.float32),
        points=rng.standard_normal((n, POINTS, 2)).astype(np.float32),
    )  # fmt: skip
    others = replace(faces, units=np.full_like(faces.units, np.nan))
    trained_on = []
    fit = unit_head.fit

    def fitted(views: Views, spread: object, seed: int) -> object:
        known = views.units[:, 0]
        trained_on.append(set(known[torch.isfinite(known)].int().tolist()))
        return fit(views, spread, seed)  # type: ignore[arg-type]

    monkeypatch.setattr(unit_head, "fit", fitted)
    monkeypatch.setattr(unit_head, "EPOCHS", 1)
    torch.manual_seed(0)
    network = FaceNetwork(Config(UNITS, widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1)))
    data = Sets(others, faces, others, Basis(None, rest, np.arange(POINTS) ^ 1))  # type: ignore[arg-type]
    head, rows, units, deviations = unit_head.train(network, data, 1)
    assert sorted(rows) == list(range(100))
    assert units.shape == deviations.shape == (100, len(UNITS))
    assert len(trained_on) == FOLDS + 1
    for fold in range(FOLDS):
        assert trained_on[fold] == {row for row in range(100) if row % FOLDS != fold}
    assert trained_on[-1] == set(range(100))  # the head that is served
    again = unit_head.predict(network, head, faces, np.arange(5))
    assert all(np.isfinite(values).all() for values in again)
