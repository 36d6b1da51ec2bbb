"""A WebRTC peer as a source: real encoders, real UDP over this machine's own network."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import psutil
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc import clock as aiortc_clock
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from helpers.webrtc_peer import FLASH_EVERY, Beeps, MovingPicture, make_offer
from prometheus_client import REGISTRY

from service.capture import rtp_clock, webrtc
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.sdp import answer_offer
from service.capture.webrtc import WebRtcSource

GONE_AFTER = webrtc.GONE_AFTER  # seconds, where no test has changed it

# Pictures beyond those that were read before, which a reader that stalled may still get although they are old: the one
# that it had in hand, the one that came with it, and the newest one, which waited.
IN_HAND = 3


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer on a machine that is held up for seconds is neither silent nor gone."""
    monkeypatch.setattr(webrtc, "STALLED_AFTER", 60.0)
    monkeypatch.setattr(webrtc, "GONE_AFTER", 60.0)


class Reading:
    """Reads a source in a thread, as a session does; it stalls while `go_on` is not set."""

    def __init__(self, source: WebRtcSource) -> None:
        self.items: list[Item] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.stop = threading.Event()
        self._source = source
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for item in self._source.read(self.stop):
            self.items.append(item)
            self.go_on.wait()

    def frames(self) -> list[Frame]:
        return [item for item in self.items if isinstance(item, Frame)]

    def sounds(self) -> list[Sound]:
        return [item for item in self.items if isinstance(item, Sound)]

    def states(self) -> list[State]:
        return [item.state for item in self.items if isinstance(item, StateChange)]

    async def until(self, reached: Callable[[], object]) -> None:
        async with asyncio.timeout(180):
            while not reached():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def over(self) -> None:
        self.go_on.set()
        await asyncio.to_thread(self._thread.join, 60)
        assert not self._thread.is_alive()


@asynccontextmanager
async def connected(
    *tracks: MovingPicture | Beeps, codec: str | None = None
) -> AsyncIterator[tuple[RTCPeerConnection, WebRtcSource, Reading]]:
    """A sender, the source that it feeds, and somebody who reads the source."""
    sender, offer = await make_offer(*tracks, codec=codec)
    connection = RTCPeerConnection(RTCConfiguration([]))
    source = WebRtcSource(connection, "whip:")
    answer = await answer_offer(connection, offer)
    await sender.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    reading = Reading(source)
    try:
        yield sender, source, reading
    finally:
        reading.stop.set()
        await reading.over()
        await sender.close()
        await source.close()


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("affect_frames_dropped_total", {"reason": reason}) or 0.0


LATE = 0.5  # seconds by which sound leaves its sender after it was captured, half of what lies between two beeps
RATES = {"video": 90_000, "audio": 48_000}  # Hz
captured: ContextVar[float] = ContextVar("captured")  # Unix seconds, in each sender's own task


def report_the_capture(sender: RTCPeerConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sender's reports say when a frame was captured; aiortc says when it was sent, however late that was."""

    def noting(one: Any) -> Callable[[Any], Any]:
        encode = one._next_encoded_frame

        async def note(codec: Any) -> Any:
            encoded = await encode(codec)
            captured.set(one.track._began + encoded.timestamp / RATES[one.track.kind])
            return encoded

        return note

    for one in sender.getSenders():
        one._next_encoded_frame = noting(one)
    moment = lambda: datetime.fromtimestamp(captured.get(time.time()), UTC)  # noqa: E731
    monkeypatch.setattr(aiortc_clock, "current_ntp_time", lambda: aiortc_clock.datetime_to_ntp(moment()))


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_pictures_and_sound_arrive_on_one_clock(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtp_clock, "MAX_SHIFT", 60.0)  # the first frames may come late on a machine that is held up
    picture, beep = MovingPicture(), Beeps(LATE)

    async def scenario() -> tuple[Reading, float]:
        async with connected(picture, beep, codec=codec) as (sender, source, reading):
            report_the_capture(sender, monkeypatch)
            await reading.until(lambda: source._clock._tracks["audio"].follows_reports)
            begun = source._newest
            await reading.until(lambda: min(reading.frames()[-1].t, reading.sounds()[-1].t) > begun + 2.5)
            return reading, begun

    reading, begun = asyncio.run(scenario())
    frames, sounds = reading.frames(), reading.sounds()
    assert reading.states() == [State.CONNECTING, State.LIVE]
    assert frames[0].image.shape == (240, 320, 3)
    assert frames[0].image.dtype == np.uint8
    gaps = np.diff([frame.t for frame in frames])
    assert gaps.min() > 0
    # Times are the sender's, so that a picture that was left out leaves a gap of whole steps.
    assert np.median(np.abs(gaps * 30 - np.round(gaps * 30))) < 0.1
    assert all(after.t >= before.t + len(before.samples) / SAMPLE_RATE - 1e-6 for before, after in pairwise(sounds))
    assert sounds[0].samples.dtype == np.float32

    flashes = _onsets([frame.t for frame in frames if frame.image.mean() > 150 and frame.t > begun + 0.5])
    loud = [sound.t + np.flatnonzero(np.abs(sound.samples) > 0.1) / SAMPLE_RATE for sound in sounds]
    beeps = _onsets([t for times in loud for t in times if t > begun + 0.5])
    assert picture._began is not None
    assert beep._began is not None
    apart = beeps[-1] - flashes[-1] - (beep._began - picture._began)  # besides whole periods
    assert abs(apart - FLASH_EVERY * round(apart / FLASH_EVERY)) < LATE / 2  # by arrival it would be `LATE`
    level = max(np.abs(sound.samples).max() for sound in sounds)
    assert level == pytest.approx(12_000 / 32_768, rel=0.3)


def _onsets(times: list[float]) -> list[float]:
    return [t for before, t in pairwise([-FLASH_EVERY, *times]) if t - before > FLASH_EVERY / 3]


def test_a_reader_that_stalled_is_live_again_at_once_and_memory_is_flat() -> None:
    async def scenario() -> None:
        async with connected(MovingPicture(size=(640, 480)), Beeps()) as (_, _, reading):
            await reading.until(lambda: len(reading.frames()) > 30)
            reading.go_on.clear()
            before, lost, lost_sound = reading.frames(), dropped("newest_wins"), dropped("sound_overflow")
            memory = psutil.Process().memory_info().rss
            await reading.until(lambda: dropped("newest_wins") - lost > 150)
            await reading.until(lambda: dropped("sound_overflow") - lost_sound > 50)
            grown = psutil.Process().memory_info().rss - memory
            went_on = time.perf_counter()
            reading.go_on.set()
            await reading.until(lambda: reading.frames()[-1].entered > went_on)
            came = reading.frames()[len(before) :]
            after = next(frame for frame in came if frame.entered > went_on)
            assert sum(frame.entered <= went_on for frame in came) <= IN_HAND  # a queue would hold 150
            assert after.t - before[-1].t > 150 / 30
            assert grown < 30e6  # the pictures that came meanwhile are 70 MB

    asyncio.run(scenario())


def test_the_sender_may_change_the_picture_size() -> None:
    async def scenario() -> Reading:
        picture = MovingPicture(size=(640, 360))
        async with connected(picture, codec="video/VP8") as (_, _, reading):
            await reading.until(lambda: len(reading.frames()) > 10)
            picture.size = (322, 182)
            await reading.until(lambda: reading.frames()[-1].image.shape == (182, 322, 3))
            return reading

    reading = asyncio.run(scenario())
    assert reading.frames()[0].image.shape == (360, 640, 3)
    assert reading.states() == [State.CONNECTING, State.LIVE]


def test_a_peer_that_says_goodbye_ends_the_source() -> None:
    async def scenario() -> Reading:
        async with connected(MovingPicture(), Beeps()) as (sender, source, reading):
            await reading.until(reading.frames)
            await sender.close()
            await reading.over()
            assert source.over
            return reading

    assert asyncio.run(scenario()).states()[-1] is State.ENDED


def test_a_peer_that_vanishes_is_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GONE_AFTER + 2 * webrtc.WATCH_EVERY <= 10
    monkeypatch.setattr(webrtc, "WATCH_EVERY", 0.2)

    async def scenario() -> Reading:
        async with connected(MovingPicture(), Beeps()) as (sender, source, reading):
            await reading.until(reading.frames)
            _cut_the_wire(sender)
            monkeypatch.setattr(webrtc, "GONE_AFTER", 1.0)
            await reading.over()
            assert source.over
            return reading

    last = asyncio.run(scenario()).items[-1]
    assert last == StateChange(State.ENDED, "nothing came from the peer for 1 s")


def test_a_peer_that_never_comes_is_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "GONE_AFTER", 0.5)
    monkeypatch.setattr(webrtc, "WATCH_EVERY", 0.1)

    async def scenario() -> list[Item]:
        sender, offer = await make_offer(MovingPicture())
        connection = RTCPeerConnection(RTCConfiguration([]))
        source = WebRtcSource(connection, "whip:")
        await answer_offer(connection, offer)
        reading = Reading(source)
        await sender.close()
        await reading.over()
        await source.close()
        assert connection.connectionState == "closed"
        return reading.items

    assert asyncio.run(scenario())[-1] == StateChange(State.ENDED, "nothing came from the peer for 0 s")


def test_a_paused_picture_is_a_stall_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "WATCH_EVERY", 0.1)

    async def scenario() -> Reading:
        picture = MovingPicture()
        async with connected(picture, Beeps()) as (_, source, reading):
            await reading.until(reading.frames)
            picture.paused = True
            monkeypatch.setattr(webrtc, "STALLED_AFTER", 1.5)
            await reading.until(lambda: reading.states()[-1] is State.STALLED)
            stalled = time.perf_counter()
            await reading.until(lambda: source._heard > stalled)  # sound goes on, so that the peer is not gone
            monkeypatch.setattr(webrtc, "STALLED_AFTER", 60.0)
            picture.paused = False
            await reading.until(lambda: reading.states()[-1] is State.LIVE)
            return reading

    reading = asyncio.run(scenario())
    assert reading.states() == [State.CONNECTING, State.LIVE, State.STALLED, State.LIVE]
    times = [frame.t for frame in reading.frames()]
    assert times == sorted(times)


def test_sound_alone_is_live() -> None:
    async def scenario() -> Reading:
        async with connected(Beeps()) as (_, _, reading):
            await reading.until(lambda: len(reading.sounds()) > 20)
            return reading

    assert asyncio.run(scenario()).states() == [State.CONNECTING, State.LIVE]


def test_the_peer_is_let_go_when_the_reader_leaves() -> None:
    async def scenario() -> None:
        ended = asyncio.Event()
        sender, offer = await make_offer(MovingPicture())
        connection = RTCPeerConnection(RTCConfiguration([]))
        source = WebRtcSource(connection, "whip:", on_end=ended.set)
        answer = await answer_offer(connection, offer)
        await sender.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        reading = Reading(source)
        await reading.until(reading.frames)
        reading.stop.set()
        await asyncio.wait_for(ended.wait(), 60)
        assert connection.connectionState == "closed"
        await sender.close()
        await reading.over()

    asyncio.run(scenario())


def _cut_the_wire(peer: RTCPeerConnection) -> None:
    """Packets of `peer` go nowhere from now on, as when its machine sleeps."""
    for transceiver in peer.getTransceivers():
        for protocol in transceiver.sender.transport.transport._connection._protocols:
            protocol.transport.sendto = lambda data, address: None


def test_tracks_end_quietly_after_close() -> None:
    async def scenario() -> None:
        async with connected(MovingPicture()) as (_, source, reading):
            await reading.until(reading.frames)
            track = source._connection.getTransceivers()[0].receiver.track
            await source.close()

            async def rest() -> None:  # what was decoded before comes first
                while True:
                    await track.recv()

            with pytest.raises(MediaStreamError):
                await asyncio.wait_for(rest(), 60)

    asyncio.run(scenario())


def test_a_stereo_track_with_one_channel_turned_over_is_heard() -> None:
    resample = webrtc._Resampler()
    tone = (np.sin(np.arange(48_000) * 0.05) * 12_000).astype(np.int16)
    heard = []
    for at in range(0, len(tone), 960):
        both = np.stack([tone[at : at + 960], -tone[at : at + 960]], axis=1).reshape(1, -1)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(both), format="s16", layout="stereo")
        frame.sample_rate = 48_000
        heard += [sound.samples for sound in resample(frame, at / 48_000)]
    assert np.abs(np.concatenate(heard)[SAMPLE_RATE // 10 :]).max() == pytest.approx(12_000 / 32_768, rel=0.02)


def leaping(sender: RTCPeerConnection, jump: float) -> None:
    """Lets the RTP stamps of the sender's picture jump by `jump` seconds after its first 45 pictures."""
    (track,) = [one for one in sender.getSenders() if one.track.kind == "video"]
    encode, sent = track._next_encoded_frame, iter(range(10_000))

    async def leap(codec: Any) -> Any:
        encoded = await encode(codec)
        encoded.timestamp += round((20_000 + (jump if next(sent) > 45 else 0)) * 90_000)
        return encoded

    track._next_encoded_frame = leap


@pytest.mark.parametrize("jump", [-10_000.0, 10_000.0, -1.0])
def test_a_peer_whose_stamps_jump_goes_on_at_its_arrival(jump: float) -> None:
    async def scenario() -> None:
        out_of_order = dropped("out_of_order")
        async with connected(MovingPicture(), Beeps()) as (sender, _, reading):
            leaping(sender, jump)
            await reading.until(lambda: len(reading.frames()) > 100)
        frames, sounds = reading.frames(), reading.sounds()
        assert all(one.t < other.t for one, other in pairwise(frames))
        assert dropped("out_of_order") == out_of_order  # by their stamps those after a jump back would be
        late = [frame.entered - frame.t for frame in frames]
        assert max(late) - min(late) < 60  # far below a jump ahead: the session's time goes on as arrival does
        assert abs(sounds[-1].t - frames[-1].t) < 60
        assert set(reading.states()) == {State.CONNECTING, State.LIVE}

    asyncio.run(scenario())
