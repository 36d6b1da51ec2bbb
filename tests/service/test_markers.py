"""Markers of one session: when they lie, and which are refused."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from models.errors import UserError
from service import markers
from service.markers import Markers
from service.register import SessionOver, TooMany


class Clock:
    """The clocks of a machine, which move when a test says so."""

    def __init__(self) -> None:
        self.moved = 0.0
        self._began = time.time()

    def time(self) -> float:
        return self._began + self.moved

    def monotonic(self) -> float:
        return 1000.0 + self.moved


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(markers, "time", made)
    return made


def at_second(t: float) -> Markers:
    made = Markers("desk")
    made.follow(t, markers.time.time())
    return made


def test_without_a_time_a_marker_is_now(clock: Clock) -> None:
    desk = at_second(12.0)
    clock.moved = 0.7
    marker = desk.add("go")
    assert (marker["label"], marker["t"]) == ("go", 12.7)


def test_seconds_of_the_session_and_the_wall_clock_name_the_same_moment() -> None:
    desk = at_second(12.0)
    by_t = desk.add("a", t=7.0)
    by_wall = desk.add("b", at=datetime.fromisoformat(by_t["at"]))
    assert by_t["t"] == 7.0
    assert by_wall["t"] == pytest.approx(7.0, abs=0.002)
    assert datetime.fromisoformat(by_t["at"]).utcoffset() == timedelta(0)


def test_waiting_markers_are_taken_once_and_in_order() -> None:
    desk = at_second(12.0)
    added = [desk.add("a"), desk.add("b", t=1.0)]
    assert desk.take() == added
    assert desk.take() == []


@pytest.mark.parametrize("t", [-0.1, 14.0, 1e12, 1e308, float("nan"), float("inf")])
def test_a_time_outside_of_the_session_is_refused(t: float) -> None:
    with pytest.raises(UserError, match="lies outside of it: it is at 12") as refused:
        at_second(12.0).add("go", t=t)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wall_clock_time_outside_of_the_session_is_refused(hours: int) -> None:
    with pytest.raises(UserError, match="lies outside of it"):
        at_second(12.0).add("go", at=datetime.now(UTC) + timedelta(hours=hours))


def test_a_wall_clock_without_a_time_zone_and_two_times_are_refused() -> None:
    with pytest.raises(UserError, match="no time zone"):
        at_second(12.0).add("go", at=datetime(2026, 11, 29))
    with pytest.raises(UserError, match="either t, in seconds of the session, or at"):
        at_second(12.0).add("go", t=1.0, at=datetime.now(UTC))


@pytest.mark.parametrize(("label", "why"), [("  ", "empty"), ("x" * 201, "201 characters"), ("a\nb", "line break")])
def test_a_label_that_is_no_label_is_refused(label: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        at_second(12.0).add(label)


def test_before_anything_was_shown_there_is_no_time() -> None:
    with pytest.raises(SessionOver, match="has shown nothing yet"):
        Markers("desk").add("go")


def test_too_many_markers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "RATE", 0.0)
    desk = at_second(12.0)
    for _ in range(markers.BURST):
        desk.add("go")
    with pytest.raises(TooMany, match="'desk' gets more markers"):
        desk.add("go")
