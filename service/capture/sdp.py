"""What WebRTC clients say in SDP: offers, fragments with late ICE candidates, and the codecs answered with."""

import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate, RTCIceServer, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.sdp import SessionDescription, candidate_from_sdp

from engines.errors import UserError

CODECS = frozenset({"video/h264", "video/vp8", "video/rtx", "audio/opus"})
ICE_SERVER = re.compile(r"(?P<scheme>turns?:)(?P<username>[^:@]+):(?P<credential>[^@]+)@(?P<address>.+)")

# aiortc's parser does not validate: a malformed line surfaces as whatever it stumbles over.
_PARSER_ERRORS = (ValueError, LookupError, AttributeError, TypeError, AssertionError, StopIteration)


class NotAcceptable(UserError):
    """406: a valid offer, but not one that this service can take."""


@dataclass(frozen=True)
class Fragment:
    """A trickle-ice-sdpfrag (RFC 8840): candidates found after the offer was sent."""

    username: str | None  # ice-ufrag; tells to which ICE session the candidates belong
    candidates: tuple[RTCIceCandidate, ...]
    complete: bool  # no more will follow


async def answer_offer(connection: RTCPeerConnection, text: str) -> str:
    """SDP answer, with all ICE candidates, to the SDP offer `text`, which `connection` then follows.

    Raises `UserError` for what is not SDP and `NotAcceptable` for an offer without exactly one picture and at most one
    sound to receive, in codecs other than H.264, VP8 and Opus.
    """
    try:
        description = SessionDescription.parse(text)
        kinds = _sent_kinds(description)
        if not all(media.dtls and media.dtls.fingerprints for media in description.media):
            raise ValueError("a medium has no DTLS fingerprint")
        bundled = {mid for group in description.group if group.semantic == "BUNDLE" for mid in group.items}
        if not bundled <= {media.rtp.muxId for media in description.media}:
            raise ValueError("media are bundled that are not there")
    except _PARSER_ERRORS as error:
        raise UserError(f"the body is not an SDP offer ({type(error).__name__}: {error}); send one") from None
    if not kinds or len(kinds) > len({*kinds} & {"audio", "video"}):
        raise NotAcceptable(f"the offer sends {', '.join(kinds) or 'nothing'}; offer one video, one audio, or both")
    for kind in kinds:
        transceiver = connection.addTransceiver(kind, direction="recvonly")
        offered = RTCRtpReceiver.getCapabilities(kind).codecs  # type: ignore[union-attr]  # both kinds have codecs
        transceiver.setCodecPreferences([codec for codec in offered if codec.mimeType.lower() in CODECS])
    try:
        await connection.setRemoteDescription(RTCSessionDescription(text, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
    except OperationError:
        raise NotAcceptable("no offered codec is taken; offer H.264 or VP8 for video, Opus for audio") from None
    except _PARSER_ERRORS as error:
        raise UserError(f"the SDP offer cannot be followed ({type(error).__name__}: {error})") from None
    return connection.localDescription.sdp


def read_fragment(text: str) -> Fragment:
    """Raises `UserError` for what is not a trickle-ice-sdpfrag."""
    username: str | None = None
    mid: str | None = None
    line_index = -1
    candidates: list[RTCIceCandidate] = []
    complete = False
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        try:
            if key == "a=ice-ufrag":
                username = value
            elif key.startswith("m="):
                mid, line_index = None, line_index + 1
            elif key == "a=mid":
                mid = value
            elif key == "a=candidate":
                candidate = candidate_from_sdp(value)
                candidate.sdpMid, candidate.sdpMLineIndex = mid, max(line_index, 0)
                candidates.append(candidate)
            elif key == "a=end-of-candidates":
                complete = True
        except _PARSER_ERRORS:
            raise UserError(f"{line[:80]!r} is not an ICE candidate; send lines as in RFC 8839") from None
    if username is None and not candidates and not complete:
        raise UserError("the body holds neither ICE candidates nor their end; send a trickle-ice-sdpfrag (RFC 8840)")
    return Fragment(username, tuple(candidates), complete)


def ice_username(connection: RTCPeerConnection) -> str | None:
    """The ufrag of the peer's offer."""
    match = re.search(r"^a=ice-ufrag:(\S+)", connection.remoteDescription.sdp, re.MULTILINE)
    return match[1] if match else None


def ice_servers(urls: list[str]) -> list[RTCIceServer]:
    """STUN and TURN servers: `stun:HOST[:PORT]`, `turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp]`.

    Raises `UserError` for anything else.
    """
    servers = []
    for url in urls:
        match = ICE_SERVER.fullmatch(url)
        plain = match["scheme"] + match["address"] if match else url
        try:
            parse_stun_turn_uri(plain)
        except ValueError:
            raise UserError(
                f"ICE server {plain!r} is not understood; write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT"
            ) from None
        servers.append(
            RTCIceServer(plain, username=match["username"], credential=match["credential"])
            if match
            else RTCIceServer(plain)
        )
    return servers


def _sent_kinds(description: SessionDescription) -> list[str]:
    """Kinds of media that the offer wants to send; everything that is neither sound nor picture counts as sent."""
    return [media.kind for media in description.media if media.direction not in ("recvonly", "inactive")]
