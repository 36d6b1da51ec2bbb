"""What the benchmark of streams says: a frame's cost for each setting, through sessions that really run."""

from pathlib import Path

import pytest

from service.bench import streams as bench_streams
from service.bench.page import write_page


def test_each_setting_is_measured_on_faces_that_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_streams, "SESSIONS", (1, 2))
    monkeypatch.setattr(bench_streams, "FACES", (4,))
    monkeypatch.setattr(bench_streams, "HEIGHTS", (360,))
    monkeypatch.setattr(bench_streams, "VIDEO_HEIGHTS", (180, 360))
    monkeypatch.setattr(bench_streams, "VIDEO_SECONDS", 1)
    monkeypatch.setattr(bench_streams, "WARM_UP", 0.0)
    report = bench_streams.streams(seconds=0.1, rounds=1)
    alone, two, four, tall, low, film = report["rows"]
    assert [row["series"] for row in report["rows"]] == ["sessions", "sessions", "faces", "height", "video", "video"]
    assert alone["ratio"] == low["ratio"] == 1
    assert (two["sessions"], four["faces"], tall["height"], film["height"]) == (2, 4, 360, 360)
    assert alone["cpu_ms_per_frame"] > 0
    assert alone["faces_found"] == film["faces_found"] == 1
    assert four["faces_found"] > 1
    pytest.importorskip("matplotlib")
    write_page("streams", report, tmp_path / "streams.md")
    assert "| sessions | 2 | 1 | 360 |" in (tmp_path / "streams.md").read_text("utf-8")


def test_a_crowd_fills_the_picture() -> None:
    pictures = bench_streams.crowd(4, 720)
    assert pictures[0].shape == (720, 1280, 3)
    assert all(pictures[0][y : y + 360, x : x + 640].std() > 20 for y in (0, 360) for x in (0, 640))
