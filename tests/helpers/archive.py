"""An archive of fifty short recordings on `shelf://`, three of them broken, of which one kills its process."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from helpers.clips import write_clip

GOOD, BROKEN = 47, 3


def fifty(folder: Path) -> Path:
    """Write the recordings into `folder` and return it; the good ones are one file under many names."""
    folder.mkdir(parents=True)
    first = write_clip(folder / "clip-00.mp4", seconds=0.2)
    for n in range(1, GOOD):
        (folder / f"clip-{n:02}.mp4").hardlink_to(first)
    (folder / "killer.mp4").hardlink_to(first)  # `helpers.shelf` kills whoever opens it
    (folder / "broken.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes(first.read_bytes()[:600])
    return folder


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The rows of a folder's manifest by name."""
    return {row["name"]: row for row in pq.read_table(out / "manifest.parquet").to_pylist()}


def check_fifty(out: Path) -> None:
    """Each broken recording is written down with its sentence, and nothing else is lost."""
    found = rows(out)
    assert len(found) == GOOD + BROKEN
    failed = {name: row["sentence"] for name, row in found.items() if row["state"] == "failed"}
    assert set(failed) == {"broken", "cut", "killer"}
    assert "the process that read it died (signal 9, Killed); the others go on" in failed["killer"]
    assert "is not a video" in failed["broken"]
    assert "cut.mp4" in failed["cut"]
    done = {name for name, row in found.items() if row["state"] == "done" and row["events"] == 1}
    assert done == {f"clip-{n:02}" for n in range(GOOD)}
    assert {path.name for path in out.glob("*.parquet")} == {*(f"{name}.parquet" for name in done), "manifest.parquet"}
