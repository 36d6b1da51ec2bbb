"""A WebRTC sender for tests: an aiortc peer with real encoders, showing a moving picture and a beeping sound."""

import asyncio
import fractions
import math
import time

import httpx
import numpy as np
from aiortc import (
    AudioStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from av import AudioFrame, VideoFrame
from helpers.streams import until
from numpy.typing import NDArray

FLASH_EVERY = 1.0  # seconds; the picture turns white and the sound beeps for 0.2 s at the same moment
FLASH_FOR = 0.2


class MovingPicture(VideoStreamTrack):
    """`image` (or grey) at `fps`, brighter while a flash lasts. `size` may be changed while it runs."""

    def __init__(self, image: NDArray[np.uint8] | None = None, size: tuple[int, int] = (320, 240), fps: int = 30):
        super().__init__()
        self.size = size
        self.sent = 0
        self.paused = False
        self._image = image
        self._fps = fps
        self._began: float | None = None

    async def recv(self) -> VideoFrame:
        if self._began is None:
            self._began = time.time()
        while self.paused:
            await asyncio.sleep(1 / self._fps)
            self.sent += 1  # the clock goes on
        due = self._began + self.sent / self._fps
        await asyncio.sleep(max(0.0, due - time.time()))
        at = self.sent / self._fps
        width, height = self.size
        if self._image is not None:
            image = self._image[:height, :width]
        else:
            image = np.full((height, width, 3), 60, np.uint8)
            left = self.sent * 4 % (width - 16)
            image[: height // 4, left : left + 16] = 120
        if at % FLASH_EVERY < FLASH_FOR:
            image = np.full((height, width, 3), 230, np.uint8)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = round(at * 90_000), fractions.Fraction(1, 90_000)
        self.sent += 1
        return frame


class Beeps(AudioStreamTrack):
    """A 1 kHz tone while a flash lasts, silence otherwise; 48 kHz in frames of 20 ms."""

    def __init__(self, late: float = 0.0) -> None:
        super().__init__()
        self._late = late  # seconds by which the frames leave after they were captured
        self._sent = 0
        self._began: float | None = None

    async def recv(self) -> AudioFrame:
        if self._began is None:
            self._began = time.time()
        at = self._sent / 48_000
        await asyncio.sleep(max(0.0, self._began + at + 0.02 + self._late - time.time()))
        times = at + np.arange(960) / 48_000
        tone = np.where(times % FLASH_EVERY < FLASH_FOR, np.sin(2 * math.pi * 1000 * times) * 12_000, 0)
        frame = AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._sent, fractions.Fraction(1, 48_000)
        self._sent += 960
        return frame


async def make_offer(
    *tracks: VideoStreamTrack | AudioStreamTrack, codec: str | None = None
) -> tuple[RTCPeerConnection, str]:
    """A sending peer and its offer, with all candidates; `codec` such as "video/H264" is the only one offered."""
    peer = RTCPeerConnection(RTCConfiguration([]))
    for track in tracks:
        transceiver = peer.addTransceiver(track, direction="sendonly")
        if codec is not None and codec.startswith(track.kind):
            offered = RTCRtpSender.getCapabilities(track.kind).codecs
            transceiver.setCodecPreferences([c for c in offered if c.mimeType == codec])
    await peer.setLocalDescription(await peer.createOffer())
    return peer, peer.localDescription.sdp


async def visit(client: httpx.Client, name: str) -> None:
    """A peer that opens a session by WHIP, is seen, and ends it."""
    connection, offer = await make_offer(MovingPicture(), Beeps())
    headers = {"content-type": "application/sdp"}
    answer = await asyncio.to_thread(lambda: client.post(f"/whip/{name}", content=offer, headers=headers))
    assert answer.status_code == 201, answer.text
    await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    await asyncio.to_thread(until, lambda: client.get(f"/v1/sessions/{name}").json(), state="live")
    ended = await asyncio.to_thread(lambda: client.delete(answer.headers["location"]))
    assert ended.status_code == 200
    await connection.close()
