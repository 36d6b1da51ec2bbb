"""The capture thread: whatever its source does, it ends in order and says how."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from engines.errors import UserError
from service.capture.inbox import Inbox
from service.capture.media import Frame, Item, State, StateChange
from service.capture.reader import SourceReader


class Scripted:
    """Yields what it was given, raises what it was given, or waits to be stopped."""

    label = "scripted"

    def __init__(self, *script: Item | Exception, wait: bool = False) -> None:
        self._script = script
        self._wait = wait

    def read(self, stop: threading.Event) -> Iterator[Item]:
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            yield step
        if self._wait:
            stop.wait()


def last_state(inbox: Inbox) -> StateChange:
    changes: list[StateChange] = []
    while not changes or changes[-1].state not in (State.ENDED, State.FAILED):
        changes += inbox.take(60).states
    return changes[-1]


def test_a_source_that_ends_is_ended() -> None:
    inbox = Inbox()
    SourceReader(Scripted(StateChange(State.LIVE), Frame(np.zeros((2, 2, 3), np.uint8), 0.0)), inbox).start()
    assert last_state(inbox).state is State.ENDED


def test_its_own_words_for_the_end_are_kept() -> None:
    inbox = Inbox()
    SourceReader(Scripted(StateChange(State.ENDED, "cut short")), inbox).start()
    assert last_state(inbox).detail == "cut short"


def test_a_sentence_for_the_user_becomes_failed() -> None:
    inbox = Inbox()
    SourceReader(Scripted(UserError("rtsp://me:hunter2@host/x has no picture")), inbox).start()
    assert last_state(inbox) == StateChange(State.FAILED, "rtsp://***@host/x has no picture")


def test_a_bug_in_a_source_becomes_failed_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    SourceReader(Scripted(StateChange(State.LIVE), ZeroDivisionError("x")), inbox).start()
    change = last_state(inbox)
    assert change.state is State.FAILED
    assert "ZeroDivisionError" in change.detail
    assert "broke" in caplog.text


def test_stopping_ends_the_thread() -> None:
    inbox = Inbox()
    reader = SourceReader(Scripted(wait=True), inbox)
    reader.start()
    assert reader.alive
    assert reader.stop(60)
    assert not reader.alive
    assert last_state(inbox) == StateChange(State.ENDED, "Closed")
