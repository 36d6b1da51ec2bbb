"""Sound at 16 kHz: what passes and what does not, and the same in whatever pieces it came."""

import numpy as np
import pytest

from service.capture.media import SAMPLE_RATE, Sound
from service.perception.mel import MelStream
from service.perception.wideband import RATE, WidebandStream, wideband


@pytest.mark.parametrize("hertz", [50, 440, 3000, 6900])
def test_a_tone_below_seven_kilohertz_comes_out_as_it_was(hertz: float) -> None:
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    out = wideband(np.sin(2 * np.pi * hertz * t).astype(np.float32))
    expected = np.sin(2 * np.pi * hertz * np.arange(len(out)) / RATE)
    assert np.abs(out - expected)[400:-400].max() < 0.01


@pytest.mark.parametrize("hertz", [8100, 12_000, 20_000])
def test_nothing_above_eight_kilohertz_is_folded_back(hertz: float) -> None:
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    out = wideband(np.sin(2 * np.pi * hertz * t).astype(np.float32))
    assert np.abs(out[400:-400]).max() < 0.01


@pytest.mark.parametrize("piece", [100, 441, 1470, 30_000])
def test_a_stream_gives_what_a_recording_gives_in_whatever_pieces(piece: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    mel = MelStream()
    stream = WidebandStream(mel)
    assert not stream.started
    for at in range(0, len(samples), piece):
        mel.push(Sound(samples[at : at + piece], at / SAMPLE_RATE))
        stream.advance(mel.end)
    whole = wideband(samples)
    assert stream.end >= len(whole) - 2 * 320
    assert np.array_equal(stream.samples(0, stream.end), whole[: stream.end])


def test_sound_after_t_changes_nothing() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    mel, ahead = MelStream(), MelStream()
    mel.push(Sound(samples[: SAMPLE_RATE // 2], 0.0))
    ahead.push(Sound(samples, 0.0))
    streams = [WidebandStream(one) for one in (mel, ahead)]
    for stream in streams:
        stream.advance(0.5)
    assert streams[0].end == streams[1].end
    assert np.array_equal(*(stream.samples(0, stream.end) for stream in streams))


def test_a_stream_that_begins_late_is_silent_before() -> None:
    mel = MelStream()
    stream = WidebandStream(mel)
    mel.push(Sound(np.full(SAMPLE_RATE, 0.5, np.float32), 3.0))
    stream.advance(4.0)
    assert stream.first == pytest.approx(3 * RATE, abs=320)
    assert (stream.samples(2 * RATE, stream.first) == 0).all()
    assert stream.samples(stream.first + 800, stream.end - 800) == pytest.approx(0.5, abs=0.01)


def test_sound_that_nobody_asked_for_in_time_is_gone() -> None:
    mel = MelStream()
    stream = WidebandStream(mel)
    mel.push(Sound(np.zeros(441, np.float32), 0.0))
    stream.advance(0.01)
    for second in range(30):
        mel.push(Sound(np.full(SAMPLE_RATE, 0.25, np.float32), float(second)))
    stream.advance(30.0)
    assert (stream.samples(0, RATE) == 0).all()
    assert stream.samples(29 * RATE, 29 * RATE + 1600) == pytest.approx(0.25, abs=0.01)
