"""Scores by group of a user's own labels: values, intervals by person, small groups, and every wrong file."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import AnnotationError
from models.labels import EXPRESSIONS
from models.training.groups import EVERYBODY, UNKNOWN, evaluate_groups
from service.cli import main
from service.publish.export_csv import CsvTable
from service.publish.table import COLUMNS

MODEL = {"weights": "face-mt-3", "trained": True}


def written(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    rows = [*rows]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [*dict.fromkeys(name for row in rows for name in row)])
        table.writeheader()
        table.writerows(rows)
    return path


def face(valence: float, expression: str = "neutral", *, smile: float = 0.1, track: int = 1) -> dict[str, Any]:
    none = {"valence": None, "arousal": None}
    shares = {name: 0.7 if name == expression else 0.05 for name in EXPRESSIONS}
    return {
        "track": track, "status": "ok", "reasons": [], "age_ms": 0, "box": [0.0, 0.0, 64.0, 64.0],
        "confidence": 1.0 / track,
        "head_pose": {"pitch": 0.0, "yaw": 0.0, "roll": 0.0}, "valence": valence, "arousal": 0.0, "raw": none,
        "std": none, "from_baseline": none, "expression": {"label": expression, "probabilities": shares},
        "aus": {"AU12": smile}, "windows": {"1s": None, "6s": None, "12s": None},
    }  # fmt: skip


def event(file: str | None, *faces: dict[str, Any], t: float = 0.0) -> dict[str, Any]:
    audio = {"status": "no_sound", "age_ms": None, "level_db": None}
    event = {
        "t": t, "model": MODEL, "faces": [*faces], "reasons": ["no_face"], "image_size": [64, 64], "audio": audio,
    }  # fmt: skip
    return event if file is None else event | {"file": file}


def exported(path: Path, events: Iterable[dict[str, Any]]) -> Path:
    """A .csv as `analyze` writes it."""
    table = CsvTable(path)
    for one in events:
        table.write(one)
    return table.close()


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """Sixty pictures of twenty people; the model is off by 0.1 for the older ones and by 0.5 for the younger ones."""
    rng = np.random.default_rng(0)
    labels, events = [], []
    for n in range(60):
        person, name = n // 3, f"{n:02}.jpg"
        young, truth = person % 2, float(rng.uniform(-0.4, 0.4))
        smiles = bool(n % 2)
        off = (0.5 if young else 0.1) + float(rng.normal(0, 0.02))
        labels.append(
            {"file": name, "subject": f"p{person}", "age": "young" if young else "old", "valence": f"{truth:.4f}",
             "expression": "Happiness" if smiles else "neutral", "AU12": int(smiles)}
        )  # fmt: skip
        shown = "happiness" if smiles and not young else "neutral"
        unread = young and n % 3 == 0 and person < 10
        others = [face(0.9, "anger", track=2)]  # somebody behind, less sure
        events.append(event(name) if unread else event(name, face(truth + off, shown, smile=0.9 * smiles), *others))
    return exported(tmp_path / "out.csv", events), written(tmp_path / "labels.csv", labels)


def by_score(rows: list[dict[str, Any]], group: str) -> dict[str, dict[str, Any]]:
    return {str(row["score"]): row for row in rows if row["group"] == group}


def test_each_group_has_its_own_scores_with_intervals(study: tuple[Path, Path]) -> None:
    rows = evaluate_groups(*study, "age", rounds=200)
    assert [*dict.fromkeys(row["group"] for row in rows)] == [EVERYBODY, "old", "young"]
    old, young, all_ = by_score(rows, "old"), by_score(rows, "young"), by_score(rows, EVERYBODY)
    assert old["valence_error"]["value"] == pytest.approx(0.1, abs=0.02)
    assert young["valence_bias"]["value"] == pytest.approx(0.5, abs=0.02)
    assert old["valence_error"]["high"] < young["valence_error"]["low"]
    assert old["valence_error"]["value"] < all_["valence_error"]["value"] < young["valence_error"]["value"]
    assert (old["read"]["value"], young["read"]["value"]) == (1.0, pytest.approx(25 / 30, abs=1e-4))
    assert (young["read"]["items"], young["valence_error"]["items"], young["read"]["people"]) == (30, 25, 10)
    assert old["expression_accuracy"]["value"] == 1.0
    assert young["expression_accuracy"]["value"] == pytest.approx(0.5, abs=0.1)
    assert old["au_f1"]["value"] == 1.0
    assert "arousal_error" not in old  # nobody labelled it
    alike = [row for row in rows if row["low"] is None]
    assert {row["note"] for row in alike} == {"all alike: no interval"}
    assert [row["score"] for row in alike if row["group"] == "old"] == ["read", "expression_accuracy", "au_f1"]
    assert {row["score"] for row in alike if row["group"] != "old"} == {"au_f1"}
    for row in rows:
        assert row in alike or row["low"] <= row["value"] <= row["high"]
    assert all_["read"]["note"] == ""


def test_small_groups_are_said_to_be_small(study: tuple[Path, Path], tmp_path: Path) -> None:
    with study[1].open() as file:
        rows = [*csv.DictReader(file)]
    for n, row in enumerate(rows):
        row["age"] = "" if n < 3 else "few" if n < 12 else row["age"]
    found = evaluate_groups(study[0], written(tmp_path / "small.csv", rows), "age", rounds=50)
    one = by_score(found, UNKNOWN)["valence_error"]
    assert (one["people"], one["low"], one["note"]) == (1, None, "one person: no interval")
    assert by_score(found, "few")["valence_error"]["note"] == "small group: the true interval is wider"


def test_recordings_are_scored_by_frame_or_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    for name, base in (("a", 0.2), ("b", -0.2)):
        exported(folder / f"{name}.csv", (event(None, face(base + 0.1 * (n % 2)), t=n / 30) for n in range(10)))
    whole = written(
        tmp_path / "whole.csv",
        [
            {"file": f"videos/{name}.mp4", "valence": valence, "site": name}
            for name, valence in (("a", 0.2), ("b", 0.2))
        ],
    )
    rows = evaluate_groups(folder, whole, "site", rounds=20)
    assert by_score(rows, "a")["valence_error"]["value"] == pytest.approx(0.05)
    assert by_score(rows, "b")["valence_bias"]["value"] == pytest.approx(-0.35)
    frames = written(
        tmp_path / "frames.csv",
        [{"file": "a.mp4", "frame": frame, "valence": 0.2, "site": "x"} for frame in (1, 2, 99)],
    )
    x = by_score(evaluate_groups(folder, frames, "site", rounds=20), "x")
    assert x["valence_error"]["value"] == pytest.approx(0.05)
    assert x["read"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert x["read"]["people"] == 1  # one recording


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ({"file": "00.jpg", "valence": "2", "age": "x"}, "line 2: valence '2' is no number from -1 to 1"),
        ({"file": "00.jpg", "AU12": "-1", "age": "x"}, "AU12 '-1' is no number from 0 to 1"),
        ({"file": "00.jpg", "valence": "high", "age": "x"}, "'high'"),
        ({"file": "00.jpg", "expression": "joy", "age": "x"}, "'joy' is none of neutral, anger"),
        ({"file": "nobody.jpg", "valence": "0", "age": "x"}, "has nothing about 'nobody.jpg'"),
        ({"file": "00.jpg", "mood": "0", "age": "x"}, "labels nothing"),
        ({"file": "00.jpg", "valence": "0"}, "needs the columns 'file' and 'age'"),
        ({"name": "00.jpg", "valence": "0", "age": "x"}, "needs the columns 'file' and 'age'"),
    ],
)
def test_wrong_labels_are_named(study: tuple[Path, Path], tmp_path: Path, label: dict[str, str], says: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        evaluate_groups(study[0], written(tmp_path / "wrong.csv", [label]), "age")
    assert says in str(caught.value)


def test_wrong_files_are_named(study: tuple[Path, Path], tmp_path: Path) -> None:
    twice = written(tmp_path / "twice.csv", [{"file": "00.jpg", "valence": 0, "age": "x"}] * 2)
    with pytest.raises(AnnotationError, match=r"line 3: '00\.jpg' is labelled twice"):
        evaluate_groups(study[0], twice, "age")
    with pytest.raises(AnnotationError, match="cannot be read"):
        evaluate_groups(tmp_path / "none.csv", study[1], "age")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match=r"holds no \.csv"):
        evaluate_groups(tmp_path / "empty", study[1], "age")
    recording = exported(tmp_path / "recording.csv", [event(None, face(0.1))])
    with pytest.raises(AnnotationError, match="names no pictures"):
        evaluate_groups(recording, study[1], "age")


def test_the_command_prints_the_table(study: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    predictions, labels = map(str, study)
    assert main(["evaluate", predictions, labels, "--groups", "age", "--json"]) == 0
    assert {row["group"] for row in json.loads(capsys.readouterr().out)} == {EVERYBODY, "old", "young"}
    assert main(["evaluate", predictions, labels, "--groups", "skin"]) == 2
    assert "'skin'" in capsys.readouterr().err


def test_the_columns_are_those_that_analyze_writes() -> None:
    names = {column.name for column in COLUMNS}
    assert {"success", "face_id", "confidence", "frame", "valence", "arousal", "AU12_p", *EXPRESSIONS} <= names
