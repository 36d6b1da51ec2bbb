"""OpenFace's predictors imported from a folder in their format, and their intensities in a session's events."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import openface_folder
from helpers.estimates import check, estimate, face

from engines.papers import openface_au
from service.adapters import openface
from service.aggregation.aggregate import Aggregator
from service.cli import main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _faces(count: int) -> list[SimpleNamespace]:
    image = np.random.default_rng(0).integers(0, 256, (240, 240, 3), np.uint8)
    points = openface_folder.face() * 1.2 + 120
    return [SimpleNamespace(track=k, image=image, landmarks=points + 5 * k) for k in range(count)]


def test_a_folder_is_imported_and_read_beside_the_model(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert openface.imported() is None
    folder = openface_folder.write(tmp_path / "openface")
    assert main(["weights", "import", "openface-au", str(folder)]) == 0
    assert main(["weights", "list"]) == 0
    assert "openface-au" in capsys.readouterr().out
    beside = openface.imported()
    assert beside is not None
    found = beside(0.0, _faces(2))  # type: ignore[arg-type]
    assert sorted(found) == [0, 1]
    assert set(found[0]) == {"AU01", "AU05"}
    assert all(0 <= value <= 5 for value in found[0].values())
    assert beside(1.0, [SimpleNamespace(track=0, image=None, landmarks=None)]) == {}  # type: ignore[list-item]


def test_a_damaged_folder_is_refused_by_name(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = openface_folder.write(tmp_path / "openface")
    path = folder / "AU_predictors/svr_combined/AU05_dynamic.dat"
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["weights", "import", "openface-au", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "AU05_dynamic.dat" in said
    assert "cut off" in said
    assert main(["weights", "import", "openface-au", str(tmp_path / "nowhere")]) == 2
    assert "AU_all_best.txt" in capsys.readouterr().err
    assert openface_au.imported() is None


def test_events_carry_them_only_where_they_were_imported() -> None:
    aggregator = Aggregator()
    (without,) = aggregator.update(0.0, [face(0.0)], {1: estimate(0.0)})
    (beside,) = aggregator.update(0.1, [face(0.1)], {1: estimate(0.1, openface={"AU12": 2.345, "AU45": 0.0})})
    for entry in (without, beside):
        check(entry)
    assert "openface" not in without
    assert beside["openface"] == {"AU12": 2.35, "AU45": 0.0}
    (doubtful,) = aggregator.update(0.2, [face(0.2)], {1: estimate(0.2, openface={"AU12": float("nan")})})
    assert "openface" not in doubtful
    assert doubtful["status"] == "abstained"
