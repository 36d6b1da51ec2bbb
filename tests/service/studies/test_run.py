"""A study of six clips, two participants and two conditions, from nothing to its tables and its report."""

import csv
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.encode import write_pictures
from helpers.sources import demo_items

from service.capture.media import Frame
from service.cli import main


def test_six_clips_become_tidy_tables_a_dictionary_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [item.image[::2, ::2] for item in demo_items(2.0, fps=5) if isinstance(item, Frame)]
    (tmp_path / "videos").mkdir()
    for n, name in enumerate(("p01_calm", "p01_loud", "p01_loud2", "p02_calm", "p02_calm2", "p02_loud")):
        write_pictures(tmp_path / "videos" / f"{name}.mkv", pictures[n : n + 5], rate=5)
    assert main(["study", "init", "study.toml", "videos"]) == 0
    text = (tmp_path / "study.toml").read_text("utf-8")
    for condition in ("loud", "calm"):
        text = text.replace(f'condition = "{condition}2"', f'condition = "{condition}"')
    text += 'markers = [{ label = "cue <1>", time = 0.4 }]\n'
    text += '[[recording.stimulus]]\nlabel = "film"\nstart = 0.4\nend = 0.7\ncondition = "calm"\n'
    (tmp_path / "study.toml").write_text(text)
    assert main(["study", "run", "study.toml", "--jobs", "1"]) == 0
    said = capfd.readouterr().out
    assert "6 of 6 recordings are done" in said
    assert "results/report.html: the report; open it in a browser" in said

    table = pq.read_table(tmp_path / "results/tidy.parquet")
    rows = table.to_pylist()
    assert len(rows) == 30
    assert {(row["participant"], row["condition"]) for row in rows} == {
        (who, what) for who in ("p01", "p02") for what in ("calm", "loud")
    }
    last = [row for row in rows if row["recording"] == "p02_loud"]
    assert [row["stimulus"] for row in last] == [None, None, "film", "film", None]
    assert [row["condition"] for row in last] == ["loud", "loud", "calm", "calm", "loud"]
    assert [row["last_marker"] for row in last] == [None, None, "cue <1>", "cue <1>", "cue <1>"]
    with (tmp_path / "results/tidy.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["recording"] for line in lines] == [row["recording"] for row in rows]
    assert float(lines[7]["valence"]) == pytest.approx(rows[7]["valence"])
    with (tmp_path / "results/data_dictionary.csv").open(newline="") as file:
        entries = list(csv.DictReader(file))
    assert [entry["column"] for entry in entries] == table.column_names
    assert all(entry["description"] for entry in entries)

    report = (tmp_path / "results/report.html").read_text("utf-8")
    assert "Means by condition" in report
    assert "cue &lt;1&gt;" in report
    assert "p02_loud · p02 · loud, calm" in report
    assert ">film</text>" in report  # the stimulus
    assert "The same pictures" not in report
    assert "<script" not in report
    (tmp_path / "results/report.html").unlink()
    assert main(["study", "run", "study.toml"]) == 0
    assert "6 of 6 recordings are done, 6 of them before" in capfd.readouterr().out
    assert main(["study", "report", "study.toml"]) == 0
    assert (tmp_path / "results/report.html").read_text("utf-8") == report


def test_a_file_that_was_copied_under_two_names_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [item.image[::2, ::2] for item in demo_items(0.7, fps=5) if isinstance(item, Frame)]
    write_pictures(tmp_path / "p01_calm.mkv", pictures, rate=5)
    shutil.copyfile("p01_calm.mkv", "p02_calm.mkv")
    assert main(["study", "init", "study.toml", "p01_calm.mkv", "p02_calm.mkv"]) == 0
    part = '[[recording]]\nvideo = "p01_calm.mkv"\nname = "part"\nparticipant = "p01"\nstart = 0.2\n'
    (tmp_path / "study.toml").write_text((tmp_path / "study.toml").read_text("utf-8") + part)
    assert main(["study", "run", "study.toml", "--jobs", "1"]) == 0
    report = (tmp_path / "results/report.html").read_text("utf-8")
    assert "The same pictures, by the SHA-256 of the file: p01_calm, p02_calm; each counts for itself." in report


def test_a_report_before_any_run_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "a.mkv", [item.image for item in demo_items(0.1) if isinstance(item, Frame)][:1])
    assert main(["study", "init", "study.toml", "a.mkv"]) == 0
    assert main(["study", "report", "study.toml"]) == 2
    assert "no recording was read yet; run `affectstream study run` first" in capfd.readouterr().err


def test_a_damaged_video_is_named_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [item.image[::2, ::2] for item in demo_items(0.7, fps=5) if isinstance(item, Frame)]
    write_pictures(tmp_path / "p01_calm.mkv", pictures, rate=5)
    (tmp_path / "p02_calm.mkv").write_bytes(b"no video")
    assert main(["study", "init", "*.mkv"]) == 0
    assert main(["study", "run", "study.toml", "--jobs", "1"]) == 1
    said = capfd.readouterr()
    assert "p02_calm: " in said.err
    assert "1 of 2 recordings are done; 1 failed" in said.out
    assert "Not in this report: p02_calm (" in (tmp_path / "results/report.html").read_text("utf-8")
