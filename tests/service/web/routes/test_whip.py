"""WHIP (RFC 9725) against the running service: what is answered, what is refused, what becomes of a session."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from helpers.live_server import PURPOSE, LiveServer, serving
from helpers.repository import ROOT
from helpers.webrtc_peer import Beeps, MovingPicture, make_offer
from helpers.whip import events_until, whip_app
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.web.routes import whip

SDP = {"content-type": "application/sdp"}
FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving(whip_app(max_sessions=3, ice_servers="stun:127.0.0.1:9,turn:ann:secret@127.0.0.1:9")) as server:
        server.app.state.settings.ice_servers = []  # gathering would wait for servers that are not there
        yield server


def offer(*kinds: str) -> str:
    async def make() -> str:
        peer, sdp = await make_offer(*(MovingPicture() if kind == "video" else Beeps() for kind in kinds))
        await peer.close()
        return sdp

    return asyncio.run(make())


@asynccontextmanager
async def sending(
    server: LiveServer, name: str, **options: Any
) -> AsyncIterator[tuple[RTCPeerConnection, httpx.Response]]:
    """A peer that sends picture and sound into session `name`."""
    purpose = {"purpose": options.pop("purpose")} if "purpose" in options else None
    peer, sdp = await make_offer(MovingPicture(), Beeps(), **options)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        response = await client.post(f"/whip/{name}", content=sdp, headers=SDP, params=purpose)
        assert response.status_code == 201, response.text
        await peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        try:
            yield peer, response
        finally:
            await peer.close()
            await client.delete(response.headers["location"])


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_an_offer_becomes_a_live_session_until_it_is_deleted(server: LiveServer, codec: str) -> None:
    async def scenario() -> None:
        async with sending(server, "desk", codec=codec) as (_, response):
            assert response.headers["content-type"] == "application/sdp"
            assert response.headers["etag"].startswith('"')
            assert response.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
            assert "a=candidate:" in response.text
            assert "a=end-of-candidates" in response.text
            assert "a=recvonly" in response.text
            events = await events_until(server, "desk", "live", 20, heard=True)
            assert [320, 240] in [event["image_size"] for event in events]
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                assert [s["source"] for s in (await client.get("/v1/sessions")).json()["sessions"]] == ["whip:"]
                location = response.headers["location"]
                assert (await client.delete(location)).status_code == 200
                assert (await client.get("/v1/sessions")).json() == {"sessions": []}
                assert (await client.delete(location)).status_code == 404

    asyncio.run(scenario())


def test_the_pictures_of_a_camera_that_hangs_upside_down_are_turned(server: LiveServer) -> None:
    async def scenario() -> None:
        for rotate, size in (("90", [240, 320]), ("180", [320, 240])):
            name = f"hanging-{rotate}"
            peer, sdp = await make_offer(MovingPicture())
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                response = await client.post(f"/whip/{name}?rotate={rotate}", content=sdp, headers=SDP)
                assert response.status_code == 201, response.text
                await peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
                *_, event = await events_until(server, name, "live", 2)
                assert event["image_size"] == size
                detail = (await client.get(f"/v1/sessions/{name}")).json()["detail"]
                assert detail == f"turned by {rotate} degrees as asked"
                assert (await client.delete(response.headers["location"])).status_code == 200
                await peer.close()

    asyncio.run(scenario())
    for rotate in ("45", "-90", "9e1", "x", ""):
        with httpx.Client(base_url=server.url, timeout=60) as client:
            assert client.post(f"/whip/hanging?rotate={rotate}", content="", headers=SDP).status_code == 422


def test_a_session_ends_when_the_sender_leaves_and_its_name_is_free_again(server: LiveServer) -> None:
    async def scenario() -> None:
        for _ in range(2):
            async with sending(server, "desk") as (peer, _):
                await events_until(server, "desk", "live", 5)
                await peer.close()
                await events_until(server, "desk", "ended")

    asyncio.run(scenario())


def test_closing_the_session_lets_the_sender_go(server: LiveServer) -> None:
    async def scenario() -> None:
        async with sending(server, "desk") as (peer, response):
            await events_until(server, "desk", "live", 5)
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                await client.delete("/v1/sessions/desk")
                async with asyncio.timeout(180):
                    while peer.connectionState != "closed" or server.app.state.whip_peers:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                assert (await client.delete(response.headers["location"])).status_code == 404

    asyncio.run(scenario())


def test_a_peer_says_what_it_is_for_and_the_events_say_so(server: LiveServer) -> None:
    async def scenario() -> None:
        for purpose, name in (("medical", "medical"), ("other: a call with Anna", "other"), (None, PURPOSE)):
            given = {} if purpose is None else {"purpose": purpose}
            async with sending(server, "desk", **given):
                assert {event["purpose"] for event in await events_until(server, "desk", "live", 3)} == {name}

    asyncio.run(scenario())


def test_a_peer_without_a_purpose_or_with_a_forbidden_one_is_refused() -> None:
    sdp = offer("video")
    with serving(whip_app(purpose=None)) as server, server.client() as client:
        refused = client.post("/whip/desk", content=sdp, headers=SDP)
        assert refused.status_code == 422
        assert "needs a purpose, one of" in refused.json()["detail"]
        forbidden = client.post("/whip/desk?purpose=proctoring", content=sdp, headers=SDP)
        assert forbidden.status_code == 403
        assert "Article 5(1)(f)" in forbidden.json()["detail"]
        assert client.get("/v1/sessions").json() == {"sessions": []}
        assert server.app.state.whip_peers == {}


def test_late_candidates_are_taken(server: LiveServer) -> None:
    async def scenario() -> None:
        peer, sdp = await make_offer(MovingPicture())
        lines = sdp.splitlines(keepends=True)
        early = "".join(x for x in lines if not x.startswith(("a=candidate", "a=end-of-candidates")))
        late = "".join(x for x in lines if x.startswith(("a=candidate", "a=end-of-candidates")))
        ufrag = next(x for x in lines if x.startswith("a=ice-ufrag"))
        pwd = next(x for x in lines if x.startswith("a=ice-pwd"))
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            response = await client.post("/whip/late", content=early, headers=SDP)
            location, etag = response.headers["location"], response.headers["etag"]
            fragment = f"{ufrag}{pwd}m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{late}"
            wrong = await client.patch(location, content=fragment, headers=FRAGMENT | {"if-match": '"x"'})
            assert wrong.status_code == 412
            right = await client.patch(location, content=fragment, headers=FRAGMENT | {"if-match": etag})
            assert right.status_code == 204
            connection = server.app.state.whip_peers[location.rpartition("/")[2]].connection
            ice = connection.getTransceivers()[0].receiver.transport.transport
            assert len(ice.getRemoteCandidates()) == late.count("a=candidate")
            await peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
            await events_until(server, "late", "live")
            await client.delete(location)
        await peer.close()

    asyncio.run(scenario())


def test_candidates_that_cannot_be_taken_are_refused_in_a_sentence(server: LiveServer) -> None:
    sdp = offer("video")
    with server.client() as client:
        location = client.post("/whip/desk", content=sdp, headers=SDP).headers["location"]
        restart = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
        candidate = "a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host\r\n"
        for body, headers, status in [
            (restart, {}, 422),
            (candidate, {"if-match": "*"}, 422),
            (candidate, {"content-type": "application/sdp"}, 415),
            ("a=candidate:nonsense\r\n", {}, 400),
            ("a=candidate:1 1 udp 1 192.0.2.9 port typ host\r\n", {}, 400),
            ("", {}, 400),
            (b"\xff\xfe", {}, 400),
            (candidate * 101, {}, 429),
        ]:
            answer = client.patch(location, content=body, headers=FRAGMENT | headers)
            assert (answer.status_code, type(answer.json()["detail"])) == (status, str), body
        assert client.patch("/whip/other/" + location.rpartition("/")[2], content=candidate).status_code == 404
        assert client.patch("/whip/desk/guess", content=candidate, headers=FRAGMENT).status_code == 404
        assert client.delete(location).status_code == 200


def test_what_is_no_offer_is_refused_in_a_sentence(server: LiveServer) -> None:
    video = offer("video")
    two = offer("video", "video")
    for name, body, headers, status in [
        ("desk", video, {"content-type": "application/json"}, 415),
        ("desk", "hello", SDP, 406),
        ("desk", "m=video", SDP, 400),
        ("desk", b"\xff\xfe", SDP, 400),
        ("desk", "", SDP, 406),
        ("desk", two, SDP, 406),
        ("desk", video.replace("a=sendonly", "a=recvonly"), SDP, 406),
        ("desk", video.replace("VP8", "AV1").replace("H264", "VP9"), SDP, 406),
        ("desk", "".join(x for x in video.splitlines(True) if "fingerprint" not in x), SDP, 400),
        ("no name", video, SDP, 400),
        ("x" * 65, video, SDP, 400),
        ("desk", video + "a=x\r\n" * 20_000, SDP, 413),
    ]:
        with server.client() as client:
            answer = client.post(f"/whip/{name}", content=body, headers=headers)
        assert (answer.status_code, type(answer.json()["detail"])) == (status, str), (answer.text, body[:40])
    assert server.app.state.whip_peers == {}
    assert server.live.sessions.list() == []


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_damaged_offer_never_breaks_the_server(server: LiveServer, data: st.DataObject) -> None:
    lines = _OFFER.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    kind = data.draw(st.sampled_from(["cut", "drop", "garble", "swap"]))
    line = lines[at]
    if kind == "cut":
        lines = lines[:at]
    elif kind == "drop":
        del lines[at]
    elif kind == "garble":
        lines[at] = data.draw(
            st.sampled_from([line[: len(line) // 2], line.replace(":", " "), line.replace(" ", "", 1)])
        )
    else:
        lines[at] = data.draw(
            st.sampled_from(["a=\r\n", "m=\r\n", "a=candidate:1\r\n", "a=fingerprint:x\r\n", "a=group:\r\n"])
        )
    with server.client() as client:
        answer = client.post("/whip/damaged", content="".join(lines), headers=SDP)
        assert answer.status_code in (201, 400, 406), answer.text
        if answer.status_code == 201:
            client.delete(answer.headers["location"])


_OFFER = offer("video", "audio")


def test_a_taken_name_and_a_full_house_are_refused(server: LiveServer) -> None:
    sdp = offer("video")
    with server.client() as client:
        opened = [client.post(f"/whip/desk{n}", content=sdp, headers=SDP) for n in range(3)]
        assert [answer.status_code for answer in opened] == [201] * 3
        assert client.post("/whip/desk1", content=sdp, headers=SDP).status_code == 409
        assert client.post("/whip/desk3", content=sdp, headers=SDP).status_code == 429
        for answer in opened:
            client.delete(answer.headers["location"])


def test_other_methods_are_not_allowed_and_options_tell_what_is(server: LiveServer) -> None:
    with server.client() as client:
        for method in ("GET", "HEAD", "PUT"):
            assert client.request(method, "/whip/desk").status_code == 405
            assert client.request(method, "/whip/desk/x").status_code == 405
        options = client.options("/whip/desk")
        assert options.status_code == 204
        assert options.headers["accept-post"] == "application/sdp"
        assert client.options("/whip/desk/x").headers["accept-patch"] == "application/trickle-ice-sdpfrag"


def test_clients_are_told_the_ice_servers(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = ["stun:192.0.2.1:3478", "turn:ann:s:cret@192.0.2.1:3478?transport=udp"]
    monkeypatch.setattr(server.app.state.settings, "ice_servers", servers)
    with server.client() as client:
        link = client.options("/whip/desk").headers["link"]
    assert link == (
        '<stun:192.0.2.1:3478>; rel="ice-server", '
        '<turn:192.0.2.1:3478?transport=udp>; rel="ice-server"; username="ann"; credential="s:cret"; '
        'credential-type="password"'
    )


def test_the_token_guards_and_allowed_origins_may_read() -> None:
    sdp = offer("video")
    page = "https://lab.example"
    with serving(whip_app(token="secret", allowed_origins=page)) as server, server.client() as client:
        assert client.post("/whip/desk", content=sdp, headers=SDP).status_code == 401
        asked = {"origin": page, "access-control-request-method": "POST", "access-control-request-headers": "if-match"}
        preflight = client.options("/whip/desk", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == page
        assert client.options("/whip/desk", headers=asked | {"origin": "https://evil.example"}).status_code == 403
        answer = client.post(
            "/whip/desk", content=sdp, headers=SDP | {"authorization": "Bearer secret", "origin": page}
        )
        assert answer.status_code == 201
        assert {"Location", "ETag", "Link"} <= {*answer.headers["access-control-expose-headers"].split(", ")}


def test_a_sender_may_change_and_close_its_own_session_alone() -> None:
    sdp = offer("video")
    ann, ben, viewer = ({"authorization": f"Bearer {name}"} for name in ("ann", "ben", "viewer"))
    tokens = ["send:ann", "send:ben", "view:viewer"]
    with serving(whip_app(token="boss", tokens=tokens)) as server, server.client() as client:
        assert client.post("/whip/desk", content=sdp, headers=SDP | viewer).status_code == 403
        assert client.post("/whip/desk", content=sdp, headers=SDP | ann).status_code == 201
        for somebody, status in ((ben, 403), (viewer, 403), (ann, 204)):
            assert client.post("/v1/sessions/desk/baseline", headers=somebody).status_code == status
        assert client.delete("/v1/sessions/desk", headers=ben).json()["code"] == "role_needed"
        assert client.delete("/v1/sessions/desk", headers=ann).status_code == 204
        opened = client.post(
            "/v1/sessions", json={"source": "demo:", "name": "desk"}, headers={"authorization": "Bearer boss"}
        )
        assert opened.status_code == 201
        assert client.delete("/v1/sessions/desk", headers=ann).status_code == 403  # the name is the operator's now


def test_stopping_the_server_lets_the_senders_go() -> None:
    async def scenario(server: LiveServer) -> RTCPeerConnection:
        peer, sdp = await make_offer(MovingPicture())
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            response = await client.post("/whip/desk", content=sdp, headers=SDP)
        await peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        await events_until(server, "desk", "live")
        return peer

    async def whole() -> None:
        running = serving(whip_app())
        server = await asyncio.to_thread(running.__enter__)
        peer = await scenario(server)
        await asyncio.to_thread(running.__exit__, None, None, None)
        async with asyncio.timeout(180):
            while peer.connectionState != "closed":  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    asyncio.run(whole())


SENDER = """
import asyncio, sys
import httpx
from aiortc import RTCSessionDescription
from helpers.webrtc_peer import MovingPicture, make_offer

async def send():
    peer, sdp = await make_offer(MovingPicture())
    answer = httpx.post(sys.argv[1], content=sdp, headers={"content-type": "application/sdp"}, timeout=60)
    await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    await asyncio.Event().wait()

asyncio.run(send())
"""


def test_a_peer_that_fell_silent_gives_way_to_a_new_one(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whip, "SILENT_AFTER", 60.0)  # a machine that is held up is no peer that is silent

    async def scenario() -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        command = [sys.executable, "-c", SENDER, f"{server.url}/whip/desk"]
        with subprocess.Popen(command, env=environment) as sender:  # noqa: ASYNC220 # started before anything waits
            try:
                await events_until(server, "desk", "live", 5)
                peer, sdp = await make_offer(MovingPicture())
                async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                    assert (await client.post("/whip/desk", content=sdp, headers=SDP)).status_code == 409  # it sends
                    sender.kill()
                    monkeypatch.setattr(whip, "SILENT_AFTER", 2.0)
                    statuses = []
                    while not statuses or statuses[-1] == 409:
                        statuses.append((await client.post("/whip/desk", content=sdp, headers=SDP)).status_code)
                        sessions = (await client.get("/v1/sessions")).json()["sessions"]
                        await asyncio.sleep(0.1)
                    assert statuses[-1] == 201
                    assert [one["incarnation"] for one in sessions if one["id"] == "desk"] != [1]
                    assert (await client.delete("/v1/sessions/desk")).status_code == 204
                await peer.close()
            finally:
                sender.kill()

    asyncio.run(scenario())


def test_a_peer_whose_candidates_are_unknown_names_is_waited_for(server: LiveServer) -> None:
    async def scenario() -> None:
        peer, sdp = await make_offer(MovingPicture())
        lines = []
        for line in sdp.splitlines(keepends=True):
            if line.startswith("a=candidate:"):
                parts = line.split(" ")
                parts[4] = "0b1c2d3e-nobody-here-knows.local"
                line = " ".join(parts)
            lines.append(line)
        assert any(line.strip() == "a=end-of-candidates" for line in lines)
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            answer = await client.post("/whip/desk", content="".join(lines), headers=SDP)
            assert answer.status_code == 201
            end = "a=ice-ufrag:" + re.search(r"a=ice-ufrag:(\S+)", sdp)[1] + "\r\na=end-of-candidates\r\n"  # type: ignore[index]
            patched = await client.patch(answer.headers["location"], content=end, headers=FRAGMENT)
            assert patched.status_code == 204
            await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
            await events_until(server, "desk", "live", 5)
            assert (await client.delete(answer.headers["location"])).status_code == 200
        await peer.close()

    asyncio.run(scenario())


def test_a_location_keeps_the_prefix_of_a_proxy(server: LiveServer) -> None:
    headers = {**SDP, "x-forwarded-prefix": "/affect"}
    with server.client() as client:
        location = client.post("/whip/desk", content=offer("video"), headers=headers).headers["location"]
        assert location.startswith("/affect/whip/desk/")
        assert client.delete(location.removeprefix("/affect")).status_code == 200


@pytest.mark.parametrize("resource", ["%01", "%FF%FE", "%ED%A0%80", "é", "%00", "a%2Fb"])
def test_a_location_that_is_nonsense_is_unknown(server: LiveServer, resource: str) -> None:
    with server.client() as client:
        for method in ("DELETE", "PATCH"):
            answer = client.request(method, f"/whip/desk/{resource}", content="a=end-of-candidates", headers=FRAGMENT)
            assert answer.status_code == 404
