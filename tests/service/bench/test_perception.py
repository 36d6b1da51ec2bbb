"""The bench of perception runs and its rows say what was measured."""

from pathlib import Path

import pytest
from helpers.clips import write_clip

from service.bench import perception as bench


def test_rows_give_cost_and_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.2)
    monkeypatch.setattr(bench, "PLACES", 1)
    monkeypatch.setattr(bench, "SIZES", (60, 100))
    monkeypatch.setattr(bench, "PICTURES", ((320, 180),))
    rows = bench.measure()
    assert [row["what"] for row in rows[:2]] == ["320x180, one face: CPU a frame", "320x180, one face: p50"]
    assert all(row["value"] > 0 for row in rows[:4])
    signals = [row for row in rows if row["what"].startswith("signal: ")]
    assert len(signals) == 5
    assert all(row["value"] > 0 for row in signals)
    assert [row["value"] for row in rows[-2:]] == [1.0, 1.0]
    clip = write_clip(tmp_path / "clip.mp4", seconds=0.3)
    assert bench.measure(clip)[0]["what"] == "clip.mp4: CPU a frame"
