"""What other programs read: the formats of OpenFace, py-feat, BIDS and ELAN, read back as those programs read them."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from math import pi
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from helpers.clips import write_clip
from helpers.film import BLINK_AT, PICTURES, SMILE_FROM, STEP, film

from models.errors import UserError
from service.cli import main
from service.events import Event
from service.publish.export import open_export
from service.publish.formats.bids import grid
from service.publish.formats.format import Making
from service.publish.formats.registry import FORMATS

FACTS = {"input": {"name": "films/a.mp4"}}
NAMES = {"openface": "a.csv", "pyfeat": "b.csv", "bids": "sub-01_task-film_physio.tsv.gz", "elan": "a.eaf"}


def written(folder: Path, form: str) -> Path:
    """The film in a format."""
    path = folder / NAMES[form]
    with open_export(path, Making(lambda: FACTS), form) as export:
        for event in film():
            export.write(event.data_with_landmarks if export.landmarks else event.data)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_openface_has_its_columns_in_its_units_and_leaves_empty_what_is_not_measured(tmp_path: Path) -> None:
    rows = table(written(tmp_path, "openface"))
    assert len(rows) == PICTURES + 1
    names = list(rows[0])
    assert names[:5] == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert names[5:13] == [*(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"), "gaze_angle_x", "gaze_angle_y"]
    assert names[13:19] == ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
    assert sum(name.endswith("_r") for name in names) == 17
    assert sum(name.endswith("_c") for name in names) == 18
    smiling = rows[-1]
    assert (smiling["frame"], smiling["face_id"], smiling["success"]) == ("30", "1", "1")
    assert float(smiling["gaze_angle_x"]) == pytest.approx(pi / 2, abs=1e-4)  # to the picture's right
    assert float(smiling["gaze_angle_y"]) == pytest.approx(-pi / 4, abs=1e-4)  # up is negative
    assert (smiling["AU12_r"], smiling["AU12_c"], smiling["AU04_c"], smiling["AU04_r"]) == ("3.5", "1", "0", "")
    assert (smiling["x_0"], smiling["y_0"], smiling["x_67"], smiling["y_67"]) == ("0.0", "1.0", "134.0", "135.0")
    empty = {smiling[name] for name in ("gaze_0_x", "gaze_1_z", "pose_Tz")}
    assert empty == {""}
    nobody = rows[5]
    assert (nobody["frame"], nobody["success"], nobody["face_id"], nobody["x_0"]) == ("6", "0", "", "")


def test_pyfeat_has_the_columns_by_which_fex_finds_its_parts(tmp_path: Path) -> None:
    rows = table(written(tmp_path, "pyfeat"))
    assert len(rows) == PICTURES + 1
    names = list(rows[0])
    assert names[:5] == ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    assert [name for name in names if name.startswith("AU")][-1] == "AU43"
    emotions = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    at = names.index("anger")
    assert names[at : at + 7] == emotions
    smiling = rows[-1]
    assert sum(float(smiling[name]) for name in emotions) == pytest.approx(1.0)
    assert (smiling["AU12"], smiling["AU43"], smiling["AU01"], smiling["Identity"]) == ("0.9", "", "", "")
    assert float(smiling["Yaw"]) == pytest.approx(-2 * pi / 180, abs=1e-4)
    assert (smiling["input"], smiling["frame"], smiling["approx_time"]) == ("films/a.mp4", "29", "00:00")
    assert {row["track"] for row in rows if row["frame"] == "25"} == {"1", "7"}
    assert (rows[5]["FaceScore"], rows[5]["frame"], rows[5]["input"]) == ("", "5", "films/a.mp4")


# Columns that py-feat 2.1.5 asks for where it reads a table (`feat.utils`; `read_feat` in `feat.utils.io`), by the
# property of `Fex` that raises a KeyError or AttributeError if one of them is missing.
FEX = {
    "faceboxes": ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"],
    "landmarks": [f"{axis}_{n}" for axis in "xy" for n in range(68)],
    "poses": ["Pitch", "Roll", "Yaw", "X", "Y", "Z"],
    "emotions": ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"],
    "time": ["frame"],
    "inputs": ["input"],
    "identities": ["Identity"],
}
# `feat.pretrained.AU_LANDMARK_MAP["Feat"]`: the units of its own detectors and of its drawings.
FEAT_AUS = [f"{unit:02}" for unit in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)]
# By these `read_feat` would take the table for one of py-feat's second detector, whose emotions have other names.
OF_ITS_SECOND_DETECTOR = {"valence", "arousal"}


def test_pyfeat_has_every_column_that_its_reader_asks_for(tmp_path: Path) -> None:
    names = list(table(written(tmp_path, "pyfeat"))[0])
    for part, columns in FEX.items():
        assert [name for name in names if name in columns] == columns, part
    # py-feat takes every column whose name holds these letters for an action unit.
    assert [name for name in names if "AU" in name] == [f"AU{unit}" for unit in FEAT_AUS]
    assert not OF_ITS_SECOND_DETECTOR & {*names}
    assert not [name for name in names if name.startswith(("mesh_", "Identity_"))]
    assert len({*names}) == len(names)


def test_points_of_faces_are_written_with_the_one_decimal_that_they_have() -> None:
    points = np.array([[0.1, 334.7], [2.0, 3.3]], np.float32)
    event = Event.of({"session": "desk", "seq": 1, "state": "live", "faces": [{"track": 1}]}, {1: points})
    assert event.data_with_landmarks["faces"][0]["landmarks"] == [[0.1, 334.7], [2.0, 3.3]]


def test_bids_has_samples_in_equal_steps_a_sidecar_and_events(tmp_path: Path) -> None:
    path = written(tmp_path, "bids")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "sub-01_task-film_events.json",
        "sub-01_task-film_events.tsv",
        "sub-01_task-film_physio.json",
        path.name,
        "sub-01_task-film_recording-face7_physio.json",
        "sub-01_task-film_recording-face7_physio.tsv.gz",
    ]
    sidecar = json.loads((tmp_path / "sub-01_task-film_physio.json").read_text("utf-8"))
    assert sidecar["SamplingFrequency"] == pytest.approx(30, abs=0.05)
    assert sidecar["StartTime"] == 0.0
    assert sidecar["Affectstream"] == FACTS
    rows = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    assert len(rows) == PICTURES  # no header
    columns = sidecar["Columns"]
    assert {len(row) for row in rows} == {len(columns)}
    assert all(sidecar[name]["Description"] for name in columns)
    assert sidecar["pose_Rx"]["Units"] == "rad"
    first, nobody, last = (dict(zip(columns, rows[n], strict=True)) for n in (0, 5, -1))
    assert (first["valence"], first["arousal"], first["AU12_p"]) == ("0.5", "n/a", "0.2")
    assert (last["timestamp"], last["happiness"], last["success"]) == ("0.967", "1.0", "1")
    assert set(nobody.values()) == {"n/a"}
    other = gzip.decompress((tmp_path / "sub-01_task-film_recording-face7_physio.tsv.gz").read_bytes()).decode()
    assert [line.startswith("0.833\t") for line in other.splitlines()].count(True) == 1
    events = (tmp_path / "sub-01_task-film_events.tsv").read_text("utf-8").splitlines()
    assert events == [
        "onset\tduration\ttrial_type\tface",
        "0.090\t0.000\tcue, <A> & B\tn/a",
        "0.400\t0.000\tfilm\tn/a",
        "0.534\t0.133\tblink\t1",
    ]
    assert set(json.loads((tmp_path / "sub-01_task-film_events.json").read_text("utf-8"))) == {"trial_type", "face"}


def test_pictures_in_unequal_steps_are_laid_on_equal_ones_without_inventing_any() -> None:
    even = np.arange(10) / 30
    assert grid(np.round(even, 3))[0].tolist() == list(range(10))
    gap = np.concatenate([even, even + 2.0])
    samples, rate = grid(gap)
    assert rate == pytest.approx(30)
    assert len(samples) == 70
    assert set(samples[10:60].tolist()) == {-1}
    assert samples[:10].tolist() == list(range(10))
    assert samples[60:].tolist() == list(range(10, 20))
    assert grid(np.array([0.5]))[1] is None


def eaf(path: Path) -> ElementTree.Element:
    """A document whose references and order are those that EAF 3.0 asks for."""
    root = ElementTree.parse(path).getroot()
    assert root.get("FORMAT") == "3.0"
    order = [child.tag for child in root]
    expected = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"]
    assert sorted(order, key=expected.index) == order
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    types = {one.get("LINGUISTIC_TYPE_ID") for one in root.iter("LINGUISTIC_TYPE")}
    seen: set[Any] = set()
    for tier in root.iter("TIER"):
        assert tier.get("LINGUISTIC_TYPE_REF") in types
        times = []
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            assert one.get("ANNOTATION_ID") not in seen
            seen.add(one.get("ANNOTATION_ID"))
            start, end = slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")]
            assert start < end
            times.append((start, end))
        assert all(before[1] <= after[0] for before, after in pairwise(times)), "annotations of a tier overlap"
    return root


def annotations(root: ElementTree.Element) -> dict[str, list[tuple[int, int, str]]]:
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    return {
        str(tier.get("TIER_ID")): [
            (slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")], one[0].text or "")
            for one in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }


def test_elan_has_a_tier_for_markers_and_for_what_each_face_shows(tmp_path: Path) -> None:
    root = eaf(written(tmp_path, "elan"))
    tiers = annotations(root)
    assert tiers["markers"] == [(90, 130, "cue, <A> & B"), (400, 440, "film")]
    smile = round(SMILE_FROM * STEP * 1000)
    assert tiers["expression@face 1"] == [(0, 167, "neutral"), (200, smile, "neutral"), (smile, 1001, "happiness")]
    assert tiers["AU12 lip corner puller@face 1"] == [
        (smile, 1001, "AU12")
    ]  # the last picture lasts as long as its step
    assert tiers["blink@face 1"] == [(round(BLINK_AT * STEP * 1000) - 133, round(BLINK_AT * STEP * 1000), "blink")]
    assert tiers["expression@face 7"] == [(833, 867, "happiness")]
    assert not any("AU04" in name for name in tiers)
    (media,) = root.iter("MEDIA_DESCRIPTOR")
    assert (media.get("MIME_TYPE"), media.get("RELATIVE_MEDIA_URL")) == ("video/mp4", "./a.mp4")


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from helpers.film import film
from service.publish.export import open_export
export = open_export(Path(sys.argv[1]), form=sys.argv[2])
for event in film():
    export.write(event.data_with_landmarks if export.landmarks else event.data)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("form", NAMES)
def test_what_a_killed_run_had_done_is_finished_by_the_next_one(tmp_path: Path, form: str) -> None:
    path = tmp_path / NAMES[form]
    command = [sys.executable, "-c", KILLED, str(path), form, str(Path(__file__).parents[3])]
    assert subprocess.run(command, check=False, env={**os.environ}).returncode == -signal.SIGKILL
    assert not path.exists()
    open_export(tmp_path / "other.csv").close()
    assert path.stat().st_size > 0
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("form", NAMES)
def test_a_film_without_a_picture_gives_a_file_without_rows(tmp_path: Path, form: str) -> None:
    path = tmp_path / NAMES[form]
    open_export(path, form=form).close()
    assert path.exists()


def test_a_format_and_a_name_that_do_not_go_together_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--format elan writes files that end with \.eaf"):
        open_export(tmp_path / "a.csv", form="elan")
    with pytest.raises(UserError, match="BIDS names a recording by its subject and task, such as sub-01_task-film_phy"):
        open_export(tmp_path / "film_physio.tsv.gz", form="bids")
    with pytest.raises(UserError, match="there is no format 'openfce'; known are openface, pyfeat, bids, elan"):
        open_export(tmp_path / "a.csv", form="openfce")
    assert len({one.name for one in FORMATS}) == len(FORMATS)


def test_analyze_writes_a_format_for_one_recording_and_beside_the_results_of_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "a.mp4"
    write_clip(clip, seconds=0.4)
    path = tmp_path / "a.eaf"
    assert main(["analyze", str(clip), "--out", str(path), "--format", "elan", "--fps", "10"]) == 0
    (media,) = eaf(path).iter("MEDIA_DESCRIPTOR")
    assert media.get("MEDIA_URL") == clip.as_uri()
    assert json.loads((tmp_path / "a.eaf.meta.json").read_text("utf-8"))["options"]["form"] == "elan"

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((90, 160, 3), np.uint8))
    assert main(["analyze", str(tmp_path / "a.png"), "--out", str(path), "--format", "elan"]) == 2
    assert "pictures have no clock; --format elan is for recordings" in capsys.readouterr().err

    out = tmp_path / "out"
    several = ["analyze", str(clip), "--out", f"{out}/", "--jobs", "1", "--fps", "10", "--format"]
    assert main([*several, "openface"]) == 0
    assert len(table(out / "a.csv")) == 4
    assert json.loads((out / "a.parquet.meta.json").read_text("utf-8"))["also"] == ["a.csv"]
    (out / "a.csv").unlink()
    assert main([*several, "openface"]) == 0
    assert (out / "a.csv").exists()  # its absence had it read again
    capsys.readouterr()
    assert main([*several, "bids"]) == 2
    assert "BIDS names a recording by its subject and task" in capsys.readouterr().err
