"""SDP that strangers send: damaged offers and fragments are answered in a sentence, and nothing is left of them."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from helpers.fuzz import cases, damaged
from helpers.live_server import LiveServer, serving
from helpers.webrtc_peer import Beeps, MovingPicture, make_offer
from helpers.whip import whip_app

OFFERS, FRAGMENTS = 60, 150
SDP = {"content-type": "application/sdp"}
FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}
CANDIDATE = (
    "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n"
    "a=candidate:3471623853 1 tcp 1518280447 a0b1.local 9 typ srflx raddr 0.0.0.0 rport 0 tcptype active\r\n"
    "a=end-of-candidates\r\n"
)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving(whip_app(max_sessions=3)) as running:
        yield running


def offer() -> bytes:
    async def make() -> str:
        peer, sdp = await make_offer(MovingPicture(), Beeps())
        await peer.close()
        return sdp

    return asyncio.run(make()).encode()


def test_damaged_offers_are_answered_and_leave_nothing(server: LiveServer) -> None:
    whole = offer()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for seed in range(cases(OFFERS)):
            answer = client.post("/whip/one", content=damaged(whole, seed), headers=SDP)
            assert answer.status_code in (201, 400, 406, 413), (seed, answer.text)
            if answer.status_code == 201:
                assert client.delete(answer.headers["location"]).status_code == 200
            else:
                assert isinstance(answer.json()["detail"], str)
    assert server.app.state.whip_peers == {}
    assert server.live.sessions.list() == []


def test_damaged_fragments_are_answered(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        location = ""
        for seed in range(cases(FRAGMENTS)):
            if seed % 40 == 0:  # a peer may send a hundred candidates
                if location:
                    client.delete(location)
                location = client.post("/whip/two", content=offer(), headers=SDP).headers["location"]
            answer = client.patch(location, content=damaged(CANDIDATE.encode(), seed), headers=FRAGMENT)
            assert answer.status_code in (204, 400, 413, 422, 429), (seed, answer.text)
        assert client.delete(location).status_code == 200
