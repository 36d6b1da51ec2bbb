"""Changes to SDP on its way to and from aiortc, which knows less than its decoders do.

aiortc takes H.264 of the baseline profile and packetization mode 1 only; FFmpeg decodes main and high as well, and mode
0 is a part of mode 1. So such an offer is shown to aiortc as baseline, and the answer names what was offered. Media
that the peer rejected itself (port 0) are left out for aiortc and rejected in the answer.
"""

import re
from dataclasses import dataclass

START_BITRATE = 2000  # kbit/s that the sender is asked to begin with, enough for 1280x720 at 30 frames/s
_BASELINE = "42e01f"  # profile-level-id: constrained baseline, level 3.1 (RFC 6184, 8.1)
_DECODED = ("42", "4d", "58", "64")  # profiles by their first byte: baseline, main, extended, high
_PARAMETERS = r"(?m)^a=fmtp:{} ([^\r\n]*)"


@dataclass(frozen=True)
class Shown:
    """Hold an offer as aiortc is shown it, and what its answer needs to be put right."""

    text: str
    parameters: dict[str, str]  # by payload type: the H.264 parameters that were offered
    rejected: dict[int, str]  # by position among the media: the m= line of media that the peer rejected itself


def shown_to_aiortc(offer: str) -> Shown:
    """Return `offer` with its rejected media left out and, where needed, its H.264 described as baseline, mode 1."""
    head, *media = re.split(r"(?m)^(?=m=)", offer)
    kept: list[str] = []
    parameters: dict[str, str] = {}
    rejected: dict[int, str] = {}
    for position, section in enumerate(media):
        if re.match(r"m=\S+ 0 ", section) and not re.search(r"(?m)^a=bundle-only", section):
            rejected[position] = section.splitlines()[0]
        else:
            kept.append(_as_baseline(section, parameters))
    return Shown("".join([head, *kept]), parameters, rejected)


def answered(answer: str, shown: Shown) -> str:
    """Return aiortc's `answer` in the terms of the offer, asking for a start bitrate of `START_BITRATE`.

    libwebrtc takes `x-google-start-bitrate` from an answer; without it, a camera is sent at 300 kbit/s at first, and so
    at a fraction of its size for half a minute. Others ignore it, as RFC 8866, 5.13 asks.
    """
    head, *media = re.split(r"(?m)^(?=m=)", answer)
    media = [_with_start_bitrate(_restored(section, shown.parameters)) for section in media]
    for position, line in sorted(shown.rejected.items()):
        media.insert(position, f"{line}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n")
    return "".join([head, *media])


def _as_baseline(section: str, parameters: dict[str, str]) -> str:
    """Return a medium of an offer, its H.264 shown as baseline, mode 1, if it has no codec that aiortc knows."""
    payloads = re.findall(r"(?mi)^a=rtpmap:(\d+) H264/90000", section)
    if re.search(r"(?mi)^a=rtpmap:\d+ VP8/90000", section):
        return section
    offered = {}
    for payload in payloads:
        match = re.search(_PARAMETERS.format(payload), section)
        offered[payload] = match[1] if match else ""
    if any(_is_baseline(text) for text in offered.values()):
        return section
    for payload, text in offered.items():
        if _profile(text).startswith(_DECODED):
            parameters[payload] = text
            line = f"a=fmtp:{payload} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={_BASELINE}"
            section = re.sub(_PARAMETERS.format(payload) + r"\r?\n", "", section)
            section = re.sub(rf"(?mi)^(a=rtpmap:{payload} [^\r\n]*(\r?\n))", rf"\g<1>{line}\g<2>", section)
    return section


def _profile(parameters: str) -> str:
    match = re.search(r"profile-level-id=([0-9a-fA-F]{6})", parameters)
    return match[1].lower() if match else _BASELINE


def _is_baseline(parameters: str) -> bool:
    mode = re.search(r"packetization-mode=(\d)", parameters)
    return _profile(parameters).startswith("42") and mode is not None and mode[1] == "1"


def _restored(section: str, parameters: dict[str, str]) -> str:
    for payload, text in parameters.items():
        match = re.search(_PARAMETERS.format(payload) + r"\r?\n", section)
        if match is not None and text:
            section = section[: match.start(1)] + text + section[match.end(1) :]
        elif match is not None:
            section = section[: match.start()] + section[match.end() :]
    return section


def _with_start_bitrate(section: str) -> str:
    if not section.startswith("m=video"):
        return section
    wish = f"x-google-start-bitrate={START_BITRATE}"
    for payload in re.findall(r"(?mi)^a=rtpmap:(\d+) (?:H264|VP8)/90000", section):
        if re.search(_PARAMETERS.format(payload), section):
            section = re.sub(_PARAMETERS.format(payload), rf"\g<0>;{wish}", section)
        else:
            section = re.sub(
                rf"(?m)^(a=rtpmap:{payload} [^\r\n]*(\r?\n))", rf"\g<1>a=fmtp:{payload} {wish}\g<2>", section
            )
    return section
