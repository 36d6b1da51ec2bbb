"""What aiortc knows or does, but does not offer: sender reports, a bound on what waits for decoding, RSA certificates.

All three use private attributes of aiortc. Where a version of aiortc has other ones, they do nothing: sound is then
placed by its arrival, a processor too slow to decode lags, and only senders with an ECDSA certificate are understood.
The tests of this file fail there.
"""

import queue
from collections.abc import Callable
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpSrPacket
from OpenSSL import SSL

from service import metrics

BACKLOG = 15  # encoded pictures that may wait for the decoder, half a second at 30/s
ASK_AGAIN = 30  # pictures skipped after which a key frame is asked for once more
NTP_UNITS = 1 << 32  # units of a 64-bit NTP timestamp in a second
RTP_WRAP = 1 << 32  # units after which a 32-bit RTP timestamp begins anew
CLOCK_RATE = {"video": 90_000, "audio": 48_000}  # Hz; RFC 7741, 6184 (video), 7587 (Opus)
H264_IDR, H264_SPS = 5, 7  # NAL unit types, ITU-T H.264, table 7-1
# aiortc's own list and its RSA counterparts (RFC 8827, 6.5 asks for the first, RFC 7525 recommends the others too).
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305"
)


def on_sender_report(receiver: Any, heard: Callable[[float, float], None]) -> None:
    """Call `heard(wall seconds, media seconds)` at each RTCP sender report (RFC 3550, 6.4.1) that `receiver` gets.

    aiortc publishes a report's wall clock, but neither the timestamp that belongs to it nor where it starts counting.
    """
    mapper = getattr(receiver, "_RTCRtpReceiver__timestamp_mapper", None)
    handle = getattr(receiver, "_handle_rtcp_packet", None)
    if mapper is None or handle is None:
        return
    rate = CLOCK_RATE[receiver.track.kind]

    async def listen(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket) and getattr(mapper, "_origin", None) is not None:
            ahead = (packet.sender_info.rtp_timestamp - mapper._last) % RTP_WRAP
            ahead -= RTP_WRAP if ahead >= RTP_WRAP // 2 else 0
            units = mapper._last - mapper._origin + ahead
            heard(packet.sender_info.ntp_timestamp / NTP_UNITS, units / rate)
        await handle(packet)

    receiver._handle_rtcp_packet = listen


def bound_backlog(receiver: Any) -> None:
    """Let at most `BACKLOG` encoded pictures wait for the decoder of `receiver`, which has not started yet."""
    error = getattr(receiver, "_RTCRtpReceiver__decoder_error", None)
    if error is not None and hasattr(receiver, "_RTCRtpReceiver__decoder_queue"):
        receiver._RTCRtpReceiver__decoder_queue = _Backlog(error.set)


class _Backlog(queue.Queue[Any]):
    """Hold encoded pictures; when it is full, drop up to the next key frame and ask the sender for one."""

    def __init__(self, ask_for_key_frame: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask_for_key_frame
        self._skipped = 0  # since the backlog was thrown away; 0 while nothing is skipped

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add `item`: (codec, encoded frame), or None for the end."""
        if item is not None and self.qsize() >= BACKLOG and not self._skipped:
            self._throw_away()
        if item is not None and self._skipped:
            codec, encoded = item
            if not is_key_frame(codec.name, encoded.data):
                self._skip()
                return
            self._skipped = 0
        super().put(item, block, timeout)

    def _throw_away(self) -> None:
        while True:
            try:
                self.get_nowait()
            except queue.Empty:
                return
            self._skip()

    def _skip(self) -> None:
        if self._skipped % ASK_AGAIN == 0:
            self._ask()
        self._skipped += 1
        metrics.FRAMES_DROPPED.labels("decoder_late").inc()


def is_key_frame(codec: str, data: bytes) -> bool:
    """Return whether a decoder can begin with the encoded picture `data` (for H.264: with start codes)."""
    if codec.upper() == "VP8":
        return bool(data) and not data[0] & 1  # RFC 6386, 9.1: the inverse key frame flag
    kinds = {part[0] & 0x1F for part in data.split(b"\x00\x00\x01")[1:] if part}
    return not kinds.isdisjoint({H264_IDR, H264_SPS})


def accept_rsa(connection: RTCPeerConnection) -> None:
    """Let senders with an RSA certificate in, such as GStreamer's: aiortc offers them no cipher that they could use.

    Call it before the connection is set up. A certificate must still have the fingerprint that the SDP names.
    """
    for certificate in getattr(connection, "_RTCPeerConnection__certificates", ()):
        _widen(certificate)


def _widen(certificate: Any) -> None:
    create = certificate._create_ssl_context

    def create_ssl_context(srtp_profiles: Any) -> SSL.Context:
        context: SSL.Context = create(srtp_profiles=srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context

    certificate._create_ssl_context = create_ssl_context
