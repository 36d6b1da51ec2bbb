"""What is reached for inside aiortc's receiver is there, and a decoder that lags is not fed without end."""

import asyncio
import threading
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc import rtcrtpreceiver as aiortc_receiver
from aiortc.codecs import depayload, get_encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av import VideoFrame
from helpers.webrtc_peer import MovingPicture, make_offer
from prometheus_client import REGISTRY

from service.capture import webrtc
from service.capture.aiortc_internals import BACKLOG, _Backlog, is_key_frame
from service.capture.sdp import answer_offer
from service.capture.webrtc import WebRtcSource

PATIENCE = 180.0  # seconds after which a test gives up waiting
SKIPPED = 60  # pictures, 30 a second


def late() -> float:
    return REGISTRY.get_sample_value("affect_frames_dropped_total", {"reason": "decoder_late"}) or 0.0


@pytest.mark.parametrize(("mime_type", "name"), [("video/VP8", "VP8"), ("video/H264", "H264")])
def test_key_frames_are_told_from_the_others(mime_type: str, name: str) -> None:
    codec = RTCRtpCodecParameters(mime_type, 90_000, payloadType=97, parameters={"packetization-mode": "1"})
    encoder = get_encoder(codec)
    keys = []
    for n in range(6):
        frame = VideoFrame.from_ndarray(np.full((120, 160, 3), 40 * n, np.uint8), format="rgb24").reformat(
            format="yuv420p"
        )
        frame.pts, frame.time_base = n * 3000, Fraction(1, 90_000)
        payloads, _ = encoder.encode(frame, force_keyframe=n == 3)
        keys.append(is_key_frame(name, b"".join(depayload(codec, payload) for payload in payloads)))
    assert keys == [True, False, False, True, False, False]


def test_nothing_is_a_key_frame_in_an_empty_picture() -> None:
    assert not is_key_frame("VP8", b"")
    assert not is_key_frame("H264", b"")


def test_a_full_backlog_goes_on_at_the_next_key_frame() -> None:
    asked: list[int] = []
    backlog = _Backlog(lambda: asked.append(1))
    codec = SimpleNamespace(name="VP8")
    between, key = SimpleNamespace(data=b"\x01"), SimpleNamespace(data=b"\x00")
    before = late()
    for _ in range(BACKLOG):
        backlog.put((codec, between))
    assert backlog.qsize() == BACKLOG
    backlog.put((codec, between))
    assert backlog.qsize() == 0
    assert len(asked) == 1
    backlog.put((codec, key))
    backlog.put((codec, between))
    backlog.put(None)
    assert backlog.qsize() == 3
    assert late() - before == BACKLOG + 1


def test_a_slow_decoder_stays_live(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder_of = aiortc_receiver.get_decoder
    fast = threading.Event()
    fast.set()

    def slow_decoder(codec: RTCRtpCodecParameters) -> object:
        decoder = decoder_of(codec)

        def decode(encoded: object) -> object:
            fast.wait(PATIENCE)
            return decoder.decode(encoded)

        return SimpleNamespace(decode=decode)

    monkeypatch.setattr(aiortc_receiver, "get_decoder", slow_decoder)
    monkeypatch.setattr(webrtc, "GONE_AFTER", PATIENCE)
    before = late()

    async def scenario() -> list[float]:
        sender, offer = await make_offer(MovingPicture(), codec="video/VP8")
        connection = RTCPeerConnection(RTCConfiguration([]))
        source = WebRtcSource(connection, "whip:")
        await sender.setRemoteDescription(RTCSessionDescription(await answer_offer(connection, offer), "answer"))
        times: list[float] = []
        place = source._clock.place

        def note(kind: str, media: float, arrival: float) -> float:
            times.append(media)
            return place(kind, media, arrival)

        source._clock.place = note  # type: ignore[method-assign]
        async with asyncio.timeout(PATIENCE):
            while len(times) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            fast.clear()
            while late() - before <= SKIPPED:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            decoded = len(times)
            fast.set()
            while len(times) < decoded + BACKLOG + 5:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await sender.close()
        await source.close()
        return times[decoded - 1 :]

    steps = np.diff(asyncio.run(scenario()))
    # Of what came while it was slow, it decodes no more than may wait; without the bound it would decode everything.
    assert steps[: BACKLOG + 3].max() > SKIPPED / 30 / 2
