"""The inbox: newest frame wins, sound keeps its order, states are never lost, every drop is counted."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import metrics
from service.capture.inbox import Inbox
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange

IMAGE = np.zeros((2, 2, 3), np.uint8)
CHUNK = 441  # samples, 10 ms


def frame(t: float) -> Frame:
    return Frame(IMAGE, t)


def sound(number: int) -> Sound:
    """The chunk that begins at `number` times 10 ms; its samples are `number`."""
    return Sound(np.full(CHUNK, number, np.float32), number * CHUNK / SAMPLE_RATE)


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    inbox, before = Inbox(), metrics.FRAMES_DROPPED.labels("newest_wins")._value.get()
    for t in (0.0, 0.1, 0.2):
        inbox.put(frame(t))
    arrival = inbox.take(0)
    assert arrival.frame is not None
    assert arrival.frame.t == 0.2
    assert inbox.dropped_frames == 2
    assert metrics.FRAMES_DROPPED.labels("newest_wins")._value.get() == before + 2
    assert inbox.take(0).frame is None


def test_sound_comes_with_the_frame_that_followed_it() -> None:
    inbox = Inbox()
    inbox.put(sound(0))
    inbox.put(sound(1))
    inbox.put(frame(0.02))
    inbox.put(sound(2))
    first, second = inbox.take(0), inbox.take(0)
    assert [len(one.samples) for one in first.sounds] == [2 * CHUNK]
    np.testing.assert_array_equal(first.sounds[0].samples, np.repeat([0, 1], CHUNK))
    assert second.frame is None
    assert [one.t for one in second.sounds] == [sound(2).t]


def test_sound_before_a_dropped_frame_is_kept() -> None:
    inbox = Inbox()
    for item in (sound(0), frame(0.01), sound(1), frame(0.02)):
        inbox.put(item)
    arrival = inbox.take(0)
    assert arrival.frame is not None
    assert arrival.frame.t == 0.02
    assert sum(len(one.samples) for one in arrival.sounds) == 2 * CHUNK


def test_a_gap_in_the_sound_is_not_closed() -> None:
    inbox = Inbox()
    inbox.put(sound(0))
    inbox.put(sound(5))
    assert [one.t for one in inbox.take(0).sounds] == [sound(0).t, sound(5).t]


def test_sound_that_nobody_takes_is_bounded_and_counted() -> None:
    inbox = Inbox(sound_seconds=0.1)
    for number in range(25):
        inbox.put(sound(number))
    (kept,) = inbox.take(0).sounds
    np.testing.assert_array_equal(kept.samples, np.repeat(np.arange(15, 25), CHUNK))
    assert inbox.dropped_samples == 15 * CHUNK


def test_the_end_comes_after_the_last_frame() -> None:
    inbox = Inbox()
    for item in (StateChange(State.LIVE), frame(0.0), StateChange(State.ENDED)):
        inbox.put(item)
    first, second = inbox.take(0), inbox.take(0)
    assert first.frame is not None
    assert [change.state for change in first.states] == [State.LIVE]
    assert second.frame is None
    assert [change.state for change in second.states] == [State.ENDED]


@pytest.mark.parametrize("item", [frame(0.0), StateChange(State.STALLED)])
def test_a_waiting_taker_is_woken(item: Item) -> None:
    inbox = Inbox()
    threading.Timer(0.05, inbox.put, [item]).start()
    arrival = inbox.take(60)
    assert arrival.frame is item or arrival.states == (item,)


def test_sound_alone_waits_for_the_timeout() -> None:
    inbox = Inbox()
    inbox.put(sound(0))
    assert len(inbox.take(0.01).sounds) == 1


@given(st.lists(st.sampled_from("fst"), max_size=60))
def test_nothing_but_old_frames_is_ever_lost(kinds: list[str]) -> None:
    """f: a frame, s: sound, t: somebody takes. States go in with every frame."""
    inbox, put, states, heard, frames = Inbox(), 0, [], [], []

    def take() -> None:
        arrival = inbox.take(0)
        states.extend(change.detail for change in arrival.states)
        heard.extend(float(value) for one in arrival.sounds for value in one.samples[::CHUNK])
        if arrival.frame is not None:
            frames.append(arrival.frame.t)

    number = 0
    for kind in kinds:
        if kind == "s":
            inbox.put(sound(number))
            number += 1
        elif kind == "f":
            inbox.put(StateChange(State.LIVE, str(put)))
            inbox.put(frame(float(put)))
            put += 1
        else:
            take()
    take()
    take()
    assert states == [str(n) for n in range(put)]
    assert heard == list(range(number))
    assert frames == sorted(set(frames))
    assert len(frames) + inbox.dropped_frames == put
    assert not put or frames[-1] == put - 1
