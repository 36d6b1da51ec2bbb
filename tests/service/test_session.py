"""A session's figures are those of its source, however fast that is."""

import time
from datetime import datetime
from itertools import pairwise

import pytest
from helpers.sources import Recorded

from service.capture.open import open_source
from service.events import Event
from service.logs import add_session
from service.neutral import ASKED
from service.register import SessionOver
from service.runtime import Runtime
from service.session import FIGURES_OVER, Session, _Done


@pytest.mark.parametrize("fps", [30, 60, 120, 240])
def test_the_rate_has_no_ceiling(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, fps: int) -> None:
    session = Session(Recorded([]), runtime.pipeline("fast"), lambda event: None)
    session.close()
    now = time.monotonic()
    session._started = now - 60
    monkeypatch.setattr(time, "monotonic", lambda: now)
    session._done.extend(_Done(now - index / fps, 0.01) for index in reversed(range(FIGURES_OVER)))
    assert session.figures().fps == pytest.approx(fps, rel=0.03)


def test_a_state_without_a_detail_is_logged_without_a_colon(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        session = Session(Recorded([]), runtime.pipeline("desk"), lambda event: None)
        session.wait(10)
        session.close()
    said = [one.getMessage() for one in caplog.records if one.name in ("service.session", "service.capture.reader")]
    assert said == ["the session is live", "the session is ended"]  # once each


def test_what_is_logged_says_which_session(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(add_session)
    try:
        with caplog.at_level("INFO"):
            session = Session(open_source("rtsp://127.0.0.1:9/x"), runtime.pipeline("desk"), lambda event: None)
            while not {"service.capture.url", "service.session"} <= {one.name for one in caplog.records}:
                time.sleep(0.02)
            session.close()
    finally:
        caplog.handler.removeFilter(add_session)
    said = {record.name: record.__dict__["session"] for record in caplog.records if record.name.startswith("service.")}
    assert said == dict.fromkeys(("service.capture.url", "service.session"), " [desk]")


def test_a_neutral_step_is_kept_with_the_session_and_ends_with_it(runtime: Runtime) -> None:
    session = Session(open_source("demo:"), runtime.pipeline("desk"), lambda event: None)
    assert session.figures().neutral is None
    assert session.begin_neutral_step() == ASKED
    while (step := session.figures().neutral) is None or step.t is None:
        time.sleep(0.02)
    assert step.state == "running"
    session.close()
    ended = session.figures().neutral
    assert ended is not None
    assert (ended.state, ended.t, ended.faces) == ("failed", step.t, [])
    with pytest.raises(SessionOver, match="it reads nobody any more"):
        session.begin_neutral_step()


@pytest.mark.parametrize("step", [-3600.0, 3600.0, 86_400.0 * 400])
def test_a_step_of_the_wall_clock_changes_no_times_of_the_session(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    events: list[Event] = []
    session = Session(open_source("demo:"), runtime.pipeline("desk"), events.append)

    def wait(more: int) -> None:
        wanted = len(events) + more
        while len(events) < wanted:
            time.sleep(0.02)

    wait(20)
    stepped, real = len(events) + 1, time.time
    monkeypatch.setattr(time, "time", lambda: real() + step)
    wait(30)
    marker = session.mark("after")
    session.close()
    times = [event.data["t"] for event in events]
    assert all(one <= other for one, other in pairwise(times))
    assert max(other - one for one, other in pairwise(times[5:])) < 60.0
    assert {event.data["state"] for event in events[5:-1]} == {"live"}
    captured = [event.data["captured_at"] for event in events[stepped + 2 :] if event.data["captured_at"]]
    shown = datetime.fromisoformat(captured[-1]).timestamp()
    assert abs(shown - real() - step) < 60.0  # the new clock is the one that is told
    assert times[stepped] <= marker["t"] <= times[-1] + 60.0
