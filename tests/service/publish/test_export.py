"""Files of `analyze`: what goes in comes out, whole or kept as far as it went, under OpenFace's names."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from math import radians
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engines.errors import UserError
from models.labels import ACTION_UNITS, EXPRESSIONS
from service.cli import main
from service.publish import export_parquet
from service.publish.export import Export, open_export
from service.publish.formats.format import Making
from service.publish.formats.json_lines import JsonLines
from service.publish.table import AU_THRESHOLD, COLUMNS, EVERY_COLUMN, FILE, GROUPS, columns, read_groups

NAMES = [column.name for column in COLUMNS]
KINDS = {column.name: column.kind for column in (FILE, *COLUMNS)}


def a_face(track=3, **more):
    return {
        "track": track,
        "status": "ok",
        "reasons": [],
        "age_ms": 0,
        "box": [212.0, 80.0, 140.0, 140.0],
        "confidence": 0.981,
        "head_pose": {"pitch": -3.1, "yaw": 8.0, "roll": 0.4},
        "valence": 0.2812,
        "arousal": -0.12,
        "raw": {"valence": 0.31, "arousal": -0.1},
        "std": {"valence": 0.11, "arousal": None},
        "from_baseline": {"valence": None, "arousal": None},
        "expression": {
            "label": "happiness",
            "probabilities": dict(zip(EXPRESSIONS, (0.1, 0.0, 0.0, 0.0, 0.88, 0.01, 0.01), strict=True)),
        },
        "aus": {"AU01": 0.02, "AU12": 0.91, "AU25": AU_THRESHOLD},
        "windows": {"1s": None, "6s": None, "12s": None},
        **more,
    }


ABSTAINED = {
    "status": "abstained",
    "reasons": ["turned_away", "blurred"],
    "valence": None,
    "arousal": None,
    "raw": {"valence": None, "arousal": None},
    "std": {"valence": None, "arousal": None},
    "expression": None,
    "aus": {},
}


def an_event(t, *faces, **more):
    return {
        "schema": "affect/1",
        "session": "analyze",
        "seq": 1,
        "state": "live",
        "reasons": [] if faces else ["no_face"],
        "t": t,
        "captured_at": None,
        "timing_ms": None,
        "model": {
            "name": "face-mt",
            "weights": "face-mt-2",
            "engine": "openvino",
            "precision": "fp32",
            "trained": True,
        },
        "image_size": [640, 360],
        "audio": {"status": "no_sound", "age_ms": None},
        "faces": list(faces),
        **more,
    }


STATE_CHANGE = an_event(0.0, image_size=None, detail="playing")
EVENTS = [
    STATE_CHANGE,
    an_event(0.0),
    an_event(0.033, a_face()),
    an_event(0.067, a_face(), a_face(4, **ABSTAINED)),
    an_event(0.1, a_face(status="held", age_ms=33)),
]


def write(path, events=EVENTS):
    with open_export(path) as export:
        for event in events:
            export.write(event)
    return export


def read(path):
    """Rows as dictionaries with the columns' types; None where empty."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    types = {"int": int, "float": float, "text": str}
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: types[KINDS[k]](v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(params=[".csv", ".parquet"])
def table_path(request, tmp_path) -> Path:
    return tmp_path / f"out{request.param}"


def test_values_come_back_as_they_went_in(table_path):
    write(table_path)
    table = read(table_path)
    assert [(row["frame"], row["face_id"], row["timestamp"], row["success"]) for row in table] == [
        (1, None, 0.0, 0), (2, 3, 0.033, 1), (3, 3, 0.067, 1), (3, 4, 0.067, 0), (4, 3, 0.1, 0),
    ]  # fmt: skip
    row = table[1]
    assert list(row) == NAMES
    assert (row["valence"], row["arousal"]) == (0.2812, -0.12)
    assert (row["valence_raw"], row["valence_std"], row["arousal_std"]) == (0.31, 0.11, None)
    assert row["valence_from_baseline"] is None
    assert row["expression"] == "happiness"
    assert [row[name] for name in EXPRESSIONS] == [0.1, 0.0, 0.0, 0.0, 0.88, 0.01, 0.01]
    assert (row["weights"], row["trained"]) == ("face-mt-2", 1)
    assert table[4]["age_ms"] == 33


def test_both_tables_say_the_same(tmp_path):
    write(tmp_path / "a.csv")
    write(tmp_path / "a.parquet")
    comparable = [{k: v or None for k, v in row.items()} for row in read(tmp_path / "a.parquet")]
    assert [{k: v or None for k, v in row.items()} for row in read(tmp_path / "a.csv")] == comparable


def test_markers_stand_in_the_rows_of_the_next_picture(table_path):
    def marked(label):
        return an_event(0.05, image_size=None, marker={"label": label, "t": 0.05, "at": None})

    write(table_path, [*EVENTS[:3], marked("go"), marked("sound"), *EVENTS[3:]])
    assert [row["marker"] for row in read(table_path)] == [None, None, "go;sound", "go;sound", None]


def test_action_units_are_probabilities_occurrences_and_where_the_model_gives_them_intensities(table_path):
    write(table_path, [an_event(0.0), an_event(0.1, a_face(intensities={"AU12": 3.4}))])
    row = read(table_path)[1]
    assert (row["AU12_p"], row["AU12_c"]) == (0.91, 1)
    assert (row["AU01_p"], row["AU01_c"]) == (0.02, 0)
    assert row["AU25_c"] == 1
    assert (row["AU45_p"], row["AU45_c"]) == (None, None)
    assert (row["AU12_r"], row["AU01_r"]) == (3.4, None)
    assert {name[:4] for name in NAMES if name.startswith("AU")} == set(ACTION_UNITS)


def test_head_pose_is_in_radians_with_openface_signs(table_path):
    write(table_path)
    row = read(table_path)[1]
    assert row["pose_Rx"] == pytest.approx(radians(3.1), abs=1e-4)  # looking down is positive
    assert row["pose_Ry"] == pytest.approx(-radians(8.0), abs=1e-4)  # to the image's left is positive
    assert row["pose_Rz"] == pytest.approx(radians(0.4), abs=1e-4)


def test_an_abstention_has_reasons_and_empty_values(table_path):
    write(table_path)
    row = read(table_path)[3]
    assert (row["status"], row["reasons"]) == ("abstained", "turned_away;blurred")
    assert {row[name] for name in ("valence", "arousal", "expression", "happiness", "AU12_p", "AU12_c")} == {None}


def test_pictures_have_a_file_column_also_where_no_face_was_found(table_path):
    unreadable = an_event(0.0, state="failed", image_size=None, file="c.png", detail="not a picture")
    write(table_path, [an_event(0.0, a_face(), file="a.png"), an_event(0.0, file="b, b.png"), unreadable])
    table = read(table_path)
    assert next(iter(table[0])) == "file"
    assert [(row["file"], row["frame"], row["success"]) for row in table] == [
        ("a.png", 1, 1), ("b, b.png", 2, 0), ("c.png", 3, 0),
    ]  # fmt: skip


def test_json_lines_hold_every_event_whole(tmp_path):
    write(tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()] == EVENTS


def test_untrained_weights_are_marked_in_every_row(table_path):
    model = {**EVENTS[0]["model"], "trained": False}
    write(table_path, [an_event(0.0, model=model), an_event(0.1, a_face(), model=model)])
    assert [row["trained"] for row in read(table_path)] == [0, 0]


def test_parquet_goes_out_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(export_parquet, "ROWS_PER_GROUP", 16)
    path = tmp_path / "out.parquet"
    write(path, [an_event(i / 30, a_face()) for i in range(100)])
    assert pq.ParquetFile(path).num_row_groups == 7
    assert [row["frame"] for row in read(path)] == list(range(1, 101))


def test_nothing_stands_under_the_name_until_it_is_whole(table_path):
    export = open_export(table_path)
    export.write(EVENTS[2])
    assert not table_path.exists()
    export.close()
    export.close()
    assert [file.name for file in table_path.parent.iterdir()] == [table_path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_is_done_is_kept_when_interrupted(tmp_path, suffix, error):
    path = tmp_path / f"out{suffix}"
    export = open_export(path)

    def interrupted():
        with export:
            for event in EVENTS[1:3]:
                export.write(event)
            raise error

    with pytest.raises(error):
        interrupted()
    assert "stopped after 2 events, which are kept" in export.note
    assert list(tmp_path.iterdir()) == [path]
    assert len(path.read_text("utf-8").splitlines() if suffix == ".jsonl" else read(path)) == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_interrupted_before_anything_was_done_an_older_file_stays(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    path.write_text("older")
    export = open_export(path)
    with pytest.raises(KeyboardInterrupt), export:
        raise KeyboardInterrupt
    assert path.read_text("utf-8") == "older"
    assert list(tmp_path.iterdir()) == [path]
    assert "nothing was written" in export.note


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from test_export import EVENTS
from service.publish.export import open_export
export = open_export(Path(sys.argv[1]))
for event in EVENTS * int(sys.argv[2]):
    export.write(event)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path, times):
    """Writes all events so many times, as a process that is then killed; what it left beside `path`."""
    command = [sys.executable, "-c", KILLED, str(path), str(times), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    return [file for file in path.parent.iterdir() if file.suffix == ".part"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_a_killed_run_had_done_is_kept_by_the_next_one(tmp_path, suffix):
    path = tmp_path / f"killed{suffix}"
    (left,) = killed(path, 20)
    assert not path.exists()
    assert len(left.read_text("utf-8").splitlines()) == (100 if suffix == ".jsonl" else 101)
    with left.open("ab") as file:
        file.write(b"cut of")  # a line that did not reach the disk whole
    open_export(tmp_path / "other.csv").close()
    assert len(path.read_text("utf-8").splitlines() if suffix == ".jsonl" else read(path)) == 100
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, "other.csv"]


def test_a_run_that_still_goes_on_is_left_alone(tmp_path):
    running = open_export(tmp_path / "out.csv")
    running.write(EVENTS[2])
    open_export(tmp_path / "other.csv").close()
    running.write(EVENTS[3])
    running.close()
    assert [row["frame"] for row in read(tmp_path / "out.csv")] == [1, 2, 2]


def test_a_journal_never_replaces_a_newer_file(tmp_path):
    path = tmp_path / "out.csv"
    (left,) = killed(path, 1)
    path.write_text("newer")
    os.utime(path, ns=(left.stat().st_mtime_ns + 10**9,) * 2)
    open_export(tmp_path / "other.csv").close()
    assert path.read_text("utf-8") == "newer"
    assert not left.exists()


def test_files_of_others_that_end_alike_are_left_alone(tmp_path):
    for name in ("film.mp4.part", "out.csv.0123456789ab.part", "notes.txt.0123456789ab.part"):
        (tmp_path / name).write_text("not ours\nat all\n" if name.startswith("notes") else "")
    open_export(tmp_path / "other.csv").close()
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"film.mp4.part", "notes.txt.0123456789ab.part", "other.csv"}


def test_names_of_files_that_are_no_utf_8_and_of_several_lines_come_through(table_path):
    names = ["a\udcff.png", "two\nlines.png"]
    write(table_path, [an_event(0.0, a_face(), file=name) for name in names])
    assert [row["file"] for row in read(table_path)] == ["a\\udcff.png", "two\nlines.png"]


def test_a_recording_without_frames_is_a_table_without_rows(table_path):
    write(table_path, [STATE_CHANGE])
    assert read(table_path) == []
    assert table_path.stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("out.xlsx", r"the suffix '\.xlsx' names no export format; use \.jsonl, \.csv, \.parquet"),
        ("out", "no suffix names no export format"),
        ("nowhere/out.csv", "the folder .*nowhere is not there"),
        ("folder.csv", "is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_in_a_sentence(tmp_path, name, sentence):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=sentence):
        open_export(tmp_path / name)


def test_a_full_disk_is_a_sentence(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    def fill():
        with Export(tmp_path / "out.jsonl", lambda _: JsonLines(full)) as export:
            for _ in range(100):
                export.write(EVENTS[2])

    with pytest.raises(UserError, match=r"not finished after \d+ events \(No space left on device\)"):
        fill()


def test_signals_and_the_box_are_columns(table_path):
    signals = {
        "eyes": {"openness": 0.9, "closed": False, "blink_ms": 120, "blinks": 3, "blinks_per_min": None,
                 "reasons": ["warming_up"]},
        "head_gesture": {"gesture": "nod", "nods": 1, "shakes": 0, "reasons": []},
        "gaze": {"yaw": -3.5, "pitch": 8.0, "age_ms": 0, "reasons": []},
        "speech": {"speaking": None, "mouth_motion": 0.25, "reasons": ["no_sound"]},
    }  # fmt: skip
    write(table_path, [an_event(0.0, a_face(**signals)), an_event(0.1, a_face())])
    first, second = read(table_path)
    names = ["face_x", "face_width", "eye_openness", "eyes_closed", "blink_ms", "blinks", "blinks_per_min"]
    assert [first[name] for name in names] == [212.0, 140.0, 0.9, 0, 120, 3, None]
    names = ["head_gesture", "nods", "shakes", "speaking", "mouth_motion", "gaze_yaw", "gaze_pitch"]
    assert [first[name] for name in names] == ["nod", 1, 0, None, 0.25, -3.5, 8.0]
    assert {second[name] for name in names} == {None}


def test_voice_and_windows_are_columns_where_they_are_asked_for(table_path):
    numbers = {"mean": 0.1, "std": 0.2, "range": 0.3, "slope": -0.4}
    window = {"valence": numbers, "arousal": None, "expression": "sadness"}
    voice = {
        "age_ms": 40, "valence": 0.5, "arousal": -0.25, "std": {"valence": 0.3, "arousal": 0.4},
        "expression": {"label": "anger", "probabilities": dict.fromkeys(EXPRESSIONS, 0.1) | {"anger": 0.4}},
        "no_speech": 0.01, "baseline": {"speech_s": 4.0, "age_ms": 0}, "fused_into": 3,
        "share": {"valence": 0.1, "arousal": 0.6, "expression": 0.2},
    }  # fmt: skip
    events = [
        an_event(0.0, a_face(windows={"1s": window, "6s": None, "12s": None}),
                 audio={"status": "speech", "age_ms": 0, "level_db": -20.5, "voice": voice}),
        an_event(0.1),
    ]  # fmt: skip
    with open_export(table_path, Making(columns=("voice", "windows"))) as export:
        for event in events:
            export.write(event)
    rows = pq.read_table(table_path).to_pylist() if table_path.suffix == ".parquet" else None
    if rows is None:
        with table_path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    assert list(rows[0]) == [column.name for column in columns(("windows", "voice"))]
    names = ["valence_slope_1s", "expression_1s", "voice_anger", "voice_share_arousal", "voice_fused_into"]
    assert [str(rows[0][name]) for name in names] == ["-0.4", "sadness", "0.4", "0.6", "3"]
    assert (str(rows[0]["audio_level_db"]), rows[1]["audio_status"]) == ("-20.5", "no_sound")
    assert not rows[0]["arousal_mean_1s"]
    assert not rows[0]["valence_mean_6s"]
    assert not rows[1]["voice_valence"]
    assert "face_x" not in rows[0]


def test_a_group_of_columns_that_there_is_not_is_answered_with_the_nearest(capsys):
    assert read_groups(" windows, boxes") == ("boxes", "windows")
    assert read_groups("") == ()
    assert main(["analyze", "demo:", "--out", "out.csv", "--columns", "boxes,window"]) == 2
    assert "there are no columns 'window'; did you mean windows?" in capsys.readouterr().err


def test_the_documented_optional_columns_are_those_that_there_are():
    text = (Path(__file__).resolve().parents[3] / "docs" / "exports.md").read_text(encoding="utf-8")
    section = text.split("## Optional columns")[1].split("\n## ")[0]
    cells = {
        line.split("|")[1].strip(" `"): line.split("|")[2] for line in section.splitlines() if line.startswith("| `")
    }
    assert tuple(cells) == GROUPS
    names = {column.name for column in EVERY_COLUMN if column.group == "voice"}
    listed = set(re.findall(r"`([a-z_]+)`", cells["voice"])) - {"face_id"}
    between = {f"voice_{name}" for name in EXPRESSIONS}
    assert listed | between == names


def test_the_documented_columns_are_those_that_are_written():
    text = (Path(__file__).resolve().parents[3] / "docs" / "exports.md").read_text(encoding="utf-8")
    section = text.split("## Columns of the table")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)] == [FILE.name, *NAMES]
    assert f"at least {AU_THRESHOLD}" in section
