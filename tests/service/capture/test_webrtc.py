"""A WebRTC peer as a source: real encoders, real UDP over this machine's own network."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import psutil
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from helpers.webrtc_peer import FLASH_EVERY, Beeps, MovingPicture, make_offer
from prometheus_client import REGISTRY

from service.capture import webrtc
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.sdp import answer_offer
from service.capture.webrtc import WebRtcSource


class Reading:
    """Reads a source in a thread, as a session does; `pause` makes it stall."""

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
        async with asyncio.timeout(60):
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


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_pictures_and_sound_arrive_on_one_clock(codec: str) -> None:
    async def scenario() -> Reading:
        async with connected(MovingPicture(), Beeps(), codec=codec) as (_, source, reading):
            await reading.until(lambda: reading.frames() and reading.frames()[-1].t > 3.5)
            assert source._clock._reports.keys() == {"audio", "video"}
            return reading

    reading = asyncio.run(scenario())
    frames, sounds = reading.frames(), reading.sounds()
    assert reading.states() == [State.CONNECTING, State.LIVE]
    assert frames[0].image.shape == (240, 320, 3)
    assert frames[0].image.dtype == np.uint8
    gaps = np.diff([frame.t for frame in frames])
    assert gaps.min() > 0
    assert np.median(gaps) == pytest.approx(1 / 30, abs=1e-3)
    assert all(after.t >= before.t + len(before.samples) / SAMPLE_RATE - 1e-6 for before, after in pairwise(sounds))
    assert sounds[0].samples.dtype == np.float32

    flashes = _onsets([frame.t for frame in frames if frame.image.mean() > 150])
    beeps = _onsets(
        [t for sound in sounds for t in sound.t + np.flatnonzero(np.abs(sound.samples) > 0.1) / SAMPLE_RATE]
    )
    # The sender stamps its reports when it sends: sound leaves 20 ms after the picture of the same moment.
    assert beeps[-1] - flashes[-1] == pytest.approx(0.02, abs=0.04)
    level = max(np.abs(sound.samples).max() for sound in sounds)
    assert level == pytest.approx(12_000 / 32_768, rel=0.3)


def _onsets(times: list[float]) -> list[float]:
    return [t for before, t in pairwise([-FLASH_EVERY, *times]) if t - before > FLASH_EVERY / 3]


def test_a_reader_that_stalled_is_live_again_at_once_and_memory_is_flat() -> None:
    async def scenario() -> None:
        picture = MovingPicture(size=(640, 480))
        async with connected(picture, Beeps()) as (_, _, reading):
            await reading.until(lambda: len(reading.frames()) > 30)
            reading.go_on.clear()
            await asyncio.sleep(0.5)
            seen, lost = len(reading.frames()), dropped("newest_wins")
            lost_sound = dropped("sound_overflow")
            memory = psutil.Process().memory_info().rss
            await asyncio.sleep(5)
            grown = psutil.Process().memory_info().rss - memory
            newest = picture.sent / 30
            reading.go_on.set()
            await reading.until(lambda: len(reading.frames()) > seen + 10)
            before, after = reading.frames()[seen - 1], reading.frames()[seen]
            # Encoder, network and decoder hold one each, and more on a busy machine; the queues would hold 5 s.
            assert newest - (after.t - reading.frames()[0].t) < 0.5
            assert after.t - before.t > 5
            assert dropped("newest_wins") - lost == pytest.approx((after.t - before.t) * 30, abs=20)
            assert dropped("sound_overflow") - lost_sound > 50
            assert grown < 20e6  # the pictures that came meanwhile are 70 MB

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
    assert webrtc.GONE_AFTER + 2 * webrtc.WATCH_EVERY <= 10
    monkeypatch.setattr(webrtc, "GONE_AFTER", 1.0)
    monkeypatch.setattr(webrtc, "WATCH_EVERY", 0.2)

    async def scenario() -> Reading:
        async with connected(MovingPicture(), Beeps()) as (sender, source, reading):
            await reading.until(reading.frames)
            _cut_the_wire(sender)
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
    monkeypatch.setattr(webrtc, "STALLED_AFTER", 1.5)
    monkeypatch.setattr(webrtc, "GONE_AFTER", 3.0)

    async def scenario() -> Reading:
        picture = MovingPicture()
        async with connected(picture, Beeps()) as (_, _, reading):
            await reading.until(reading.frames)
            picture.paused = True
            await reading.until(lambda: reading.states()[-1] is State.STALLED)
            await asyncio.sleep(4)
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
            with pytest.raises(MediaStreamError):
                await asyncio.wait_for(track.recv(), 60)

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
        async with connected(MovingPicture(), Beeps()) as (sender, _, reading):
            leaping(sender, jump)
            await reading.until(lambda: len(reading.frames()) > 100)
        frames, sounds = reading.frames(), reading.sounds()
        assert all(one.t < other.t for one, other in pairwise(frames))
        late = [frame.entered - frame.t for frame in frames]
        assert max(late) - min(late) < 0.5  # the session's time goes on as arrival does
        assert abs(sounds[-1].t - frames[-1].t) < 0.5
        assert set(reading.states()) == {State.CONNECTING, State.LIVE}

    asyncio.run(scenario())
