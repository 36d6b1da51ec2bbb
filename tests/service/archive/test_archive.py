"""Several recordings with one result each, as processes of this machine read them."""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import shelf
from helpers.archive import check_fifty, fifty, rows
from helpers.clips import beep, write_clip
from helpers.command import started

from models.errors import UserError
from service.archive import local
from service.archive.readings import read_results
from service.archive.run import run
from service.archive.task import Reading, Task
from service.cli import main


def clips(folder: Path, names: Sequence[str], seconds: float = 0.4) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(folder / name, seconds=seconds, sound=beep(seconds, at=0.1))
    return folder


def test_a_folder_becomes_results_and_a_manifest_and_only_changes_are_read_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = clips(tmp_path / "in", ["a.mp4", "deep/b.mkv"]), tmp_path / "out"
    (folder / "broken.mp4").write_text("no video")
    (folder / "notes.txt").write_text("not looked at")
    command = ["analyze", str(folder), "--out", f"{out}/", "--jobs", "1", "--fps", "5"]
    assert main(command) == 1
    said = capfd.readouterr()
    assert "2 of 3 recordings are done; 1 failed" in said.out
    assert "broken: " in said.err
    assert "is not a video" in said.err
    first = rows(out)
    assert set(first) == {"a", "deep/b", "broken"}
    assert first["broken"]["state"] == "failed"
    assert "is not a video" in first["broken"]["sentence"]
    done = first["deep/b"]
    assert done["state"] == "done"
    assert done["events"] == 2
    assert len(done["sha256"]) == 64
    assert done["weights"] in json.loads(done["weights_sha256"])
    assert json.loads(done["settings"])["fps"] == 5
    table = pq.read_table(out / "deep/b.parquet")
    beside = json.loads((out / "deep/b.parquet.meta.json").read_text("utf-8"))
    assert json.loads(table.schema.metadata[b"affectstream"]) == beside
    assert beside["input"]["sha256"] == done["sha256"]

    write_clip(folder / "a.mp4", seconds=0.8)
    write_clip(folder / "broken.mp4", seconds=0.4)
    os.utime(folder / "deep/b.mkv")  # touched, and the same
    before = (out / "deep/b.parquet").stat().st_mtime_ns
    assert main(command) == 0
    assert "3 of 3 recordings are done, 1 of them before" in capfd.readouterr().out
    assert (out / "deep/b.parquet").stat().st_mtime_ns == before
    assert rows(out)["a"]["events"] == 4
    assert rows(out)["broken"]["state"] == "done"


def test_of_fifty_recordings_three_broken_ones_are_named_and_nothing_else_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import fsspec

    fsspec.register_implementation("shelf", shelf.Shelf, clobber=True)
    monkeypatch.setenv("PYTHONPATH", shelf.install(tmp_path / "packages"))
    folder, out = fifty(tmp_path / "in"), tmp_path / "out"
    command = ["analyze", f"shelf://{folder}", "--out", f"shelf://{out}", "--jobs", "2", "--fps", "5"]
    assert main(command) == 1
    said = capfd.readouterr()
    assert "47 of 50 recordings are done; 3 failed" in said.out
    assert "the process that read it died (signal 9, Killed); the others go on" in said.err
    check_fifty(out)
    assert rows(out)["clip-46"]["input"] == f"shelf://{folder}/clip-46.mp4"


def test_an_interrupt_keeps_what_is_done_and_the_next_run_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = clips(tmp_path / "in", ["a.mp4", "b.mp4"], 0.2)
    write_clip(folder / "c.mp4", seconds=60.0)
    out = tmp_path / "out"
    report = tmp_path / "report.html"
    command = ["analyze", str(folder), "--out", f"{out}/", "--jobs", "1", "--report", str(report)]
    with started([sys.executable, "-m", "service.cli", *command]) as process:
        while not (out / "b.parquet.meta.json").is_file():
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGINT)
        said, err = process.communicate()
    assert process.returncode == 130
    assert b" of 3 recordings are done; interrupted" in said
    assert b"Traceback" not in err
    assert "a" in rows(out)  # b may have been done in the very moment
    assert not (out / "c.parquet").exists()
    assert "Not in this report: c (not read yet)" in report.read_text("utf-8")
    write_clip(folder / "c.mp4", seconds=0.2)
    assert main(command) == 0
    assert "Not in this report" not in report.read_text("utf-8")
    assert "3 of 3 recordings are done, 2 of them before" in capfd.readouterr().out


def test_what_lies_beside_a_result_may_be_damaged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = clips(tmp_path / "in", ["a.mp4", "b.mp4"], 0.2), tmp_path / "out"
    command = ["analyze", str(folder), "--out", f"{out}/", "--jobs", "1", "--fps", "5"]
    assert main(command) == 0
    beside = out / "a.parquet.meta.json"
    good = beside.read_bytes()
    for damaged in (good[:99], b"\xff" + good, b"[]", b'{"schema": 1}', good.replace(b'"sha256"', b'"sha257"', 1)):
        beside.write_bytes(damaged)
        capfd.readouterr()
        assert main(command) == 0
        assert "2 of 2 recordings are done, 1 of them before" in capfd.readouterr().out
        assert json.loads(beside.read_bytes())["input"] == json.loads(good)["input"]
    task = Task(place=str(folder / "a.mp4"), name="a", out=str(out))
    for damaged in (good[:99], b"[]", b'{"schema": 1}'):
        beside.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.parquet cannot be read .*; remove it and run again"):
            read_results([task], {"a": {"state": "done"}})


def test_results_that_could_not_be_written_are_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(local, "read_all", lambda *given: read.append(given))
    (tmp_path / "file").touch()
    for out in ("/proc/results", str(tmp_path / "file")):
        with pytest.raises(UserError, match=rf"{out}: cannot be written \(.*\); give the results another place"):
            run([Task(place="a.mp4", name="a", out=out)], Reading(model="face-mt", engine="openvino"), out)
    assert read == []


def test_progress_is_told_in_recordings_and_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def read_all(tasks: Sequence[Task], reading: Reading, jobs: int) -> Iterator[tuple[Task, dict[str, Any]]]:
        result = {"ending": "complete", "events": 1, "with_face": 1, "seconds": 2700.0, "details": []}
        for task in tasks:
            of = {"name": task.place, "sha256": None, "bytes": None, "modified": None}
            yield task, {"result": result, "input": of, "kept": task.name == "c"}

    monkeypatch.setattr(local, "read_all", read_all)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    tasks = [Task(place=f"{name}.mp4", name=name, out=str(tmp_path)) for name in "abc"]
    summary = run(tasks, Reading(model="face-mt", engine="openvino"), str(tmp_path))
    assert "| 3/3 recordings, 1.50 h of recordings [" in terminal.getvalue()
    assert (summary.done, summary.kept, summary.seconds) == (3, 1, 5400.0)


def test_a_manifest_of_another_version_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = clips(tmp_path / "in", ["a.mp4"], 0.2), tmp_path / "out"
    out.mkdir()
    old = pa.table({"name": ["a"]}).replace_schema_metadata({"schema": "affectstream-manifest/0"})
    pq.write_table(old, out / "manifest.parquet")
    assert main(["analyze", str(folder), "--out", f"{out}/"]) == 2
    said = capfd.readouterr().err
    assert "manifest of another version (affectstream-manifest/0; this program writes affectstream-manifest/1)" in said
    assert [path.name for path in out.iterdir()] == ["manifest.parquet"]
