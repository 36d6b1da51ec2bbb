"""Watching a producer: its silence becomes a state, and nobody waits for it."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from service.capture import watch
from service.capture.media import Frame, Item, Sound, State, StateChange
from service.capture.watch import watched

Give = Callable[[Item], bool]
FRAME = Frame(np.zeros((2, 2, 3), np.uint8), 0.0)


def states(items: list[Item]) -> list[State]:
    return [item.state for item in items if isinstance(item, StateChange)]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which a producer is silent."""
    made = Clock()
    monkeypatch.setattr(watch, "time", made)
    return made


def noticing(items: Iterator[Item], stalled: threading.Event, clock: Clock, seconds: float) -> list[Item]:
    """All `items`; `stalled` is set as soon as one says that. After each one before, `seconds` pass."""
    seen: list[Item] = []
    for item in items:
        seen.append(item)
        if isinstance(item, StateChange) and item.state is State.STALLED:
            stalled.set()
        if not stalled.is_set():
            clock.now += seconds
    return seen


def test_silence_while_live_is_stalled_and_the_next_frame_live(clock: Clock) -> None:
    stalled = threading.Event()

    def produce(give: Give, gone: threading.Event) -> None:
        give(StateChange(State.LIVE))
        stalled.wait(60)
        give(FRAME)

    items = noticing(watched(produce, threading.Event(), 2.0, "x"), stalled, clock, 2.5)
    assert states(items) == [State.LIVE, State.STALLED, State.LIVE]
    assert items[-1] is FRAME


def test_a_frozen_picture_is_stalled_although_sound_goes_on(clock: Clock) -> None:
    sound = Sound(np.zeros(441, np.float32), 0.0)
    stalled = threading.Event()
    given = 0

    def produce(give: Give, gone: threading.Event) -> None:
        nonlocal given
        give(StateChange(State.LIVE))
        give(FRAME)
        for _ in range(8):  # not yet for as long as counts as stalled
            given += give(sound)
        while not stalled.wait(0.02):
            given += give(sound)
        give(FRAME)

    items = noticing(watched(produce, threading.Event(), 2.0, "x"), stalled, clock, 0.3)
    assert states(items) == [State.LIVE, State.STALLED, State.LIVE]
    assert sum(isinstance(item, Sound) for item in items) == given >= 8
    assert "No frame" in next(item.detail for item in items if getattr(item, "state", None) is State.STALLED)


def test_sound_alone_is_not_stalled(clock: Clock) -> None:
    def produce(give: Give, gone: threading.Event) -> None:
        give(StateChange(State.LIVE))
        for _ in range(50):
            give(Sound(np.zeros(441, np.float32), 0.0))

    items = noticing(watched(produce, threading.Event(), 2.0, "x"), threading.Event(), clock, 1.5)
    assert states(items) == [State.LIVE]


def test_silence_while_connecting_is_not_stalled(clock: Clock) -> None:
    def produce(give: Give, gone: threading.Event) -> None:
        give(StateChange(State.CONNECTING))
        gone.wait(0.4)

    items = noticing(watched(produce, threading.Event(), 2.0, "x"), threading.Event(), clock, 100.0)
    assert states(items) == [State.CONNECTING]


def test_a_producer_that_blocks_does_not_hold_up_stopping() -> None:
    blocked, stop, over = threading.Event(), threading.Event(), threading.Event()

    def produce(give: Give, gone: threading.Event) -> None:
        give(StateChange(State.LIVE))
        blocked.wait(60)
        over.set()

    items = watched(produce, stop, 60, "x")
    assert next(items) == StateChange(State.LIVE)
    stop.set()
    assert list(items) == []
    assert not over.is_set()
    blocked.set()


def test_a_producer_is_told_when_nobody_wants_more() -> None:
    told = threading.Event()

    def produce(give: Give, gone: threading.Event) -> None:
        while give(FRAME):
            pass
        assert gone.is_set()
        told.set()

    items = watched(produce, threading.Event(), 60, "x")
    assert next(items) is FRAME
    items.close()  # type: ignore[attr-defined]
    assert told.wait(60)


def test_a_producer_that_breaks_is_failed_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def produce(give: Give, gone: threading.Event) -> None:
        raise ZeroDivisionError("rtsp://u:hunter2@h")

    (change,) = watched(produce, threading.Event(), 60, "x")
    assert isinstance(change, StateChange)
    assert change.state is State.FAILED
    assert "hunter2" not in change.detail
    assert "broke" in caplog.text
