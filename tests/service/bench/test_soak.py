"""`bench soak`, a short one: the service loses nothing while workers, Redis, cameras, peers and readers fail."""

import json
import shutil
from pathlib import Path

import pytest

from service.bench.page import write_page
from service.bench.soak.faults import FAULTS
from service.bench.soak.run import soak
from service.bench.soak.watch import Sequences

MINUTES, EVERY = 0.9, 4.0  # a fault is waited for, so that a busy machine takes longer and does fewer
# What has to be 0 on the slowest machine too.
LOST = (
    "sessions that did not come back",
    "events that it missed beyond those counted as lost",
    "times that its subscription ended",
    "events missing in Redis beyond those counted as lost",
    "events stored twice in Redis",
    "answers that were wrong or did not come",
    "counters that went back",
    "tracebacks in the log",
    "exit code of the service",
    "files and folders that the service left",
)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_nothing_is_lost_under_faults(tmp_path: Path) -> None:
    report = soak(MINUTES, EVERY)
    values = {row["what"]: row["value"] for row in report["rows"]}
    assert {what: values[what] for what in LOST} == dict.fromkeys(LOST, 0), (report["missed"], report["log"])
    assert values["events that a subscriber received"] > 100
    assert values["log lines of a fault without INFO, most"] <= 10, report["log"]
    done = {row["fault"] for row in report["faults"]}
    assert done <= {"workers all killed", *(fault.__name__.replace("_", " ") for fault in FAULTS)}
    write_page("soak", report, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| sessions that did not come back | 0.0 |  | 0 |" in page
    assert json.loads((tmp_path / "page.json").read_text("utf-8"))["rows"] == report["rows"]


def test_missing_and_repeated_events_are_counted_by_session_and_incarnation() -> None:
    found = Sequences()
    for session, incarnation, seq in [
        ("a", 1, 5), ("a", 1, 6), ("b", 1, 1), ("a", 1, 9), ("a", 1, 9), ("a", 2, 1), ("a", 2, 2), ("b", 1, 2),
    ]:  # fmt: skip
        found.note({"session": session, "incarnation": incarnation, "seq": seq})
    assert (found.events, found.lost, found.repeated) == (8, 2, 1)
