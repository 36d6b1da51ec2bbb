"""One WHIP peer of a soak: `python -P -m service.bench.soak.peer URL NAME CLIP`, started by `soak.parts` alone.

Like a browser's page it offers again when its session has ended or is gone.
"""

import asyncio
import contextlib
import fractions
import sys
import time

import av
import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

LOOK_EVERY = 0.5  # s
OVER = ("ended", "failed")


class Pictures(VideoStreamTrack):
    """Send the pictures of a clip again and again, with stamps that go on."""

    def __init__(self, clip: str) -> None:
        """Decode the whole clip."""
        super().__init__()
        with av.open(clip) as container:
            stream = container.streams.video[0]
            self._fps = fractions.Fraction(stream.average_rate or 1)
            self._pictures = [frame.reformat(format="yuv420p") for frame in container.decode(stream)]
        self._sent = 0
        self._began: float | None = None

    async def recv(self) -> av.VideoFrame:
        """Return the next picture when it is due."""
        if self._began is None:
            self._began = time.monotonic()
        at = self._sent / self._fps
        await asyncio.sleep(max(0.0, self._began + float(at) - time.monotonic()))
        frame = self._pictures[self._sent % len(self._pictures)]
        frame.pts, frame.time_base = round(at * 90_000), fractions.Fraction(1, 90_000)
        self._sent += 1
        return frame


async def main(url: str, name: str, clip: str) -> None:
    """Send `clip` again and again as session `name` of the service at `url`, for ever."""
    async with httpx.AsyncClient(base_url=url, timeout=10.0) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await _send(client, name, clip)
            await asyncio.sleep(LOOK_EVERY)


async def _send(client: httpx.AsyncClient, name: str, clip: str) -> None:
    """Send `clip` until the session is over; return at once if the session is refused."""
    peer = RTCPeerConnection(RTCConfiguration([]))
    try:
        peer.addTrack(Pictures(clip))
        await peer.setLocalDescription(await peer.createOffer())
        answer = await client.post(
            f"/whip/{name}", content=peer.localDescription.sdp, headers={"content-type": "application/sdp"}
        )
        if answer.status_code != 201:
            return
        await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        while True:
            await asyncio.sleep(LOOK_EVERY)
            with contextlib.suppress(httpx.TransportError):
                info = await client.get(f"/v1/sessions/{name}")
                if info.status_code == 404 or (info.status_code == 200 and info.json()["state"] in OVER):
                    return
    finally:
        await peer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
