"""The SDP of WebRTC clients: offers and their answers, fragments with late ICE candidates, and ICE servers."""

import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate, RTCIceServer, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.sdp import SessionDescription, candidate_from_sdp

from models.errors import UserError
from service.capture.sdp_text import answered, shown_to_aiortc

CODECS = frozenset({"video/h264", "video/vp8", "video/rtx", "audio/opus"})
ICE_SERVER = re.compile(r"(?P<scheme>turns?:)(?P<username>[^:@]+):(?P<credential>[^@]+)@(?P<address>.+)")

# aiortc's parser does not validate: a malformed line surfaces as whatever it stumbles over.
_PARSER_ERRORS = (ValueError, LookupError, AttributeError, TypeError, AssertionError, StopIteration)


class NotAcceptable(UserError):
    """Report a valid offer (HTTP 406) that this service cannot take."""


@dataclass(frozen=True)
class Fragment:
    """Hold a trickle-ice-sdpfrag (RFC 8840): candidates found after the offer was sent."""

    username: str | None  # ice-ufrag; tells to which ICE session the candidates belong
    candidates: tuple[RTCIceCandidate, ...]
    complete: bool  # no more will follow


async def answer_offer(connection: RTCPeerConnection, text: str) -> str:
    """Return the SDP answer, with all ICE candidates, to the SDP offer `text`, which `connection` then follows.

    Raises `UserError` for what is not SDP and `NotAcceptable` for an offer that sends more than one picture or one
    sound, or neither, or in codecs other than H.264, VP8 and Opus. Media that the peer rejected itself do not count.
    """
    shown = shown_to_aiortc(text)
    text = shown.text
    try:
        description = SessionDescription.parse(text)
        kinds = _sent_kinds(description)
        if not all(media.dtls and media.dtls.fingerprints for media in description.media):
            raise ValueError("a medium has no DTLS fingerprint")
        bundled = {mid for group in description.group if group.semantic == "BUNDLE" for mid in group.items}
        if not bundled <= {media.rtp.muxId for media in description.media}:
            raise ValueError("it bundles media that it does not hold")
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
        raise NotAcceptable(
            f"no offered codec is taken: the offer sends {_codecs(description)}; offer VP8 or H.264 for video "
            "(baseline, main or high, such as profile-level-id=42e01f with packetization-mode=1), Opus for audio"
        ) from None
    except _PARSER_ERRORS as error:
        raise UserError(f"the SDP offer cannot be followed ({type(error).__name__}: {error})") from None
    return answered(connection.localDescription.sdp, shown)


def read_fragment(text: str) -> Fragment:
    """Return the trickle-ice-sdpfrag `text` as a `Fragment`. Raises `UserError` for what is not one."""
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
    """Return the ICE user fragment of the peer's offer; None if it has none."""
    match = re.search(r"^a=ice-ufrag:(\S+)", connection.remoteDescription.sdp, re.MULTILINE)
    return match[1] if match else None


def ice_servers(urls: list[str]) -> list[RTCIceServer]:
    """Return the STUN and TURN servers that `urls` name.

    Each is `stun:HOST[:PORT]` or `turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp]`. Raises `UserError` for anything
    else, without the text, which may hold a password.
    """
    servers = []
    for number, url in enumerate(urls, 1):
        match = ICE_SERVER.fullmatch(url)
        plain = match["scheme"] + match["address"] if match else url
        try:
            parse_stun_turn_uri(plain)
        except ValueError:
            raise UserError(
                f"ICE server number {number} is not understood; write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT, "
                "with @ and : in the password percent-encoded"
            ) from None
        servers.append(
            RTCIceServer(plain, username=match["username"], credential=match["credential"])
            if match
            else RTCIceServer(plain)
        )
    return servers


def _sent_kinds(description: SessionDescription) -> list[str]:
    """Return the kinds of media that the offer sends; what is neither sound nor picture counts as sent."""
    return [media.kind for media in description.media if media.direction not in ("recvonly", "inactive")]


def _codecs(description: SessionDescription) -> str:
    """Return what the offer would send in, for people: `H264 (profile 6e001f, packetization mode 1), opus`."""
    names = []
    for media in description.media:
        for codec in media.rtp.codecs:
            name = codec.mimeType.partition("/")[2]
            if name.lower() == "rtx":
                continue
            if name.lower() == "h264":
                profile = codec.parameters.get("profile-level-id", "not named")
                name += f" (profile {profile}, packetization mode {codec.parameters.get('packetization-mode', 0)})"
            names.append(name)
    return ", ".join(dict.fromkeys(names))[:300] or "nothing"
