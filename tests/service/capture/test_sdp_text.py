"""What is changed in SDP so that aiortc takes what its decoders can read."""

import asyncio
import re

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from helpers.webrtc_peer import Beeps, MovingPicture, make_offer

from models.errors import UserError
from service.capture.media import Frame
from service.capture.sdp import NotAcceptable, answer_offer
from service.capture.sdp_text import START_BITRATE, answered, shown_to_aiortc
from service.capture.webrtc import WebRtcSource


def answer_to(change: "dict[str, str]", codec: str = "video/H264", extra: str = "") -> str:
    """The answer to an offer of picture and sound in which some texts were replaced."""

    async def scenario() -> str:
        sender, offer = await make_offer(MovingPicture(), Beeps(), codec=codec)
        for old, new in change.items():
            assert re.search(old, offer)
            offer = re.sub(old, new, offer)
        connection = RTCPeerConnection(RTCConfiguration([]))
        try:
            return await answer_offer(connection, offer + extra)
        finally:
            await connection.close()
            await sender.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize("profile", ["4d001f", "64001f", "640c28", "4D0032", "42001f", "42e034"])
@pytest.mark.parametrize("mode", ["0", "1"])
def test_every_profile_that_decodes_is_taken_and_answered_as_it_was_offered(profile: str, mode: str) -> None:
    answer = answer_to(
        {
            "profile-level-id=[0-9a-f]{6}": f"profile-level-id={profile}",
            "packetization-mode=1": f"packetization-mode={mode}",
        }
    )
    parameters = re.findall(r"a=fmtp:\d+ (.*profile-level-id.*)", answer)
    assert parameters
    for text in parameters:
        assert f"profile-level-id={profile}".lower() in text.lower() or profile.startswith("42")
        assert f"packetization-mode={mode}" in text


def test_a_profile_that_does_not_decode_is_refused_with_what_to_offer() -> None:
    with pytest.raises(NotAcceptable) as caught:
        answer_to({"profile-level-id=[0-9a-f]{6}": "profile-level-id=f4001f"})
    for word in ("f4001f", "packetization mode 1", "baseline", "packetization-mode=1", "Opus"):
        assert word in str(caught.value)


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_the_answer_asks_for_a_start_bitrate(codec: str) -> None:
    answer = answer_to({}, codec)
    video = answer[answer.index("m=video") :].split("m=audio")[0]
    payload = re.search(r"m=video \d+ \S+ (\d+)", video)
    assert payload
    assert re.search(rf"(?m)^a=fmtp:{payload[1]} .*x-google-start-bitrate={START_BITRATE}\b", video)
    assert "x-google" not in answer[answer.index("m=audio") :].split("m=video")[0]


def test_a_medium_that_the_peer_rejected_is_skipped_and_rejected_in_its_place() -> None:
    rejected = "m=video 0 UDP/TLS/RTP/SAVPF 120\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:9\r\n"
    answer = answer_to({r"(?m)^(?=m=video)": rejected.replace("\\", "")}, "video/VP8")
    assert next(line.split()[:2] for line in answer.splitlines() if line.startswith("m=")) == ["m=video", "0"]
    assert len(re.findall("(?m)^m=", answer)) == 3


def test_media_in_a_bundle_with_port_0_are_not_rejected() -> None:
    offer = "v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\na=rtpmap:96 VP8/90000\r\n"
    assert shown_to_aiortc(offer).rejected == {}
    assert shown_to_aiortc(offer).text == offer


def test_an_offer_that_aiortc_understands_is_not_touched() -> None:
    async def offer() -> str:
        sender, text = await make_offer(MovingPicture(), Beeps())
        await sender.close()
        return text

    text = asyncio.run(offer())
    shown = shown_to_aiortc(text)
    assert shown.text == text
    assert answered("v=0\r\nm=audio 9 X 0\r\n", shown) == "v=0\r\nm=audio 9 X 0\r\n"


@pytest.mark.parametrize(
    "text", ["", "m=", "m=video 0 ", "m=video 0 x\nm=", "\0", "m=video 9 x 1\na=rtpmap:1 H264/90000"]
)
def test_nonsense_gets_a_sentence(text: str) -> None:
    async def scenario() -> None:
        connection = RTCPeerConnection(RTCConfiguration([]))
        try:
            await answer_offer(connection, text)
        finally:
            await connection.close()

    with pytest.raises(UserError):
        asyncio.run(scenario())


def test_pictures_of_an_offer_that_says_high_profile_arrive() -> None:
    async def scenario() -> list[Frame]:
        sender, offer = await make_offer(MovingPicture(), codec="video/H264")
        offer = re.sub("profile-level-id=[0-9a-f]{6}", "profile-level-id=64001f", offer)
        connection = RTCPeerConnection(RTCConfiguration([]))
        source = WebRtcSource(connection, "whip:")
        answer = await answer_offer(connection, offer)
        assert "64001f" in answer
        back = re.sub("profile-level-id=[0-9a-f]{6}", "profile-level-id=42e01f", answer)
        await sender.setRemoteDescription(RTCSessionDescription(back, "answer"))

        def first() -> list[Frame]:
            import threading

            stop, frames = threading.Event(), []
            for item in source.read(stop):
                if isinstance(item, Frame):
                    frames.append(item)
                    stop.set()
            return frames

        try:
            return await asyncio.wait_for(asyncio.to_thread(first), 60)
        finally:
            await sender.close()
            await source.close()

    assert asyncio.run(scenario())[0].image.shape == (240, 320, 3)
