"""RTSP sources that strangers name: where a server redirects to is checked before it is contacted."""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers.certificates import write_certificate
from helpers.clips import beep, write_clip
from helpers.rtsp import RtspServer
from helpers.watcher import PATIENCE, Watcher
from hypothesis import given
from hypothesis import strategies as st

from service.capture.allowed_sources import check_of
from service.capture.checked_rtsp import Leads, Replies, _Tunnel
from service.capture.media import State, StateChange

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=control:track1\r\n"
)


class Redirecting:
    """A small RTSP server that answers as it should, until a method comes that it redirects to `target`."""

    def __init__(self, target: str, method: str, before: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        """`before` is sent in front of the redirect."""
        self._target, self._method, self._before = target, method, before
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.url = f"rtsp{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}/live"
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            head: list[str] = []
            for line in lines:
                if line.strip():
                    head.append(line.decode().strip())
                    continue
                method = head[0].split()[0]
                self.asked.append(method)
                sequence = re.search(r"CSeq: (\d+)", " ".join(head))
                assert sequence is not None
                reply, body = "200 OK", ""
                if method == self._method:
                    connection.sendall(self._before)
                    reply = f"302 Moved\r\nLocation: {self._target}"
                elif method == "DESCRIBE":
                    reply, body = "200 OK\r\nContent-Type: application/sdp", SDP
                text = f"RTSP/1.0 {reply}\r\nCSeq: {sequence[1]}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                connection.sendall(text.encode())
                head = []


@contextlib.contextmanager
def redirecting(
    target: str, method: str, before: bytes = b"", tls: ssl.SSLContext | None = None
) -> Iterator[Redirecting]:
    server = Redirecting(target, method, before, tls)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def elsewhere() -> Iterator[tuple[str, list[object]]]:
    """An RTSP address, and the connections that were made to it."""
    contacted: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, peer = listener.accept()
                    contacted.append(peer)
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/secret", contacted
        listener.shutdown(socket.SHUT_RDWR)


def last_state(watcher: Watcher) -> StateChange:
    return [item for item in watcher.items if isinstance(item, StateChange)][-1]


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP"])
@pytest.mark.parametrize("before", [b"", b"$\0\0\x04RTSP"])
def test_a_server_is_not_followed_where_the_operator_does_not_allow_it(method: str, before: bytes) -> None:
    with elsewhere() as (other, contacted), redirecting(other, method, before) as server:
        with Watcher(server.url, check=check_of(server.url, [server.url])) as watcher:
            watcher.wait_for_state(State.FAILED)
        assert method in server.asked
        assert "leads to another address" in last_state(watcher).detail
        assert "secret" not in last_state(watcher).detail
        assert contacted == []


def test_an_encrypted_server_is_checked_alike(tmp_path: Path) -> None:
    """FFmpeg takes certificates that a camera signed itself, and so does the tunnel."""
    write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with elsewhere() as (other, contacted), redirecting(other, "SETUP", tls=context) as server:
        with Watcher(server.url, check=check_of(server.url, [server.url])) as watcher:
            watcher.wait_for_state(State.FAILED)
        assert "leads to another address" in last_state(watcher).detail
        assert contacted == []


def test_session_tickets_of_tls_hold_up_no_question(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with redirecting("", "none", tls=context) as server:
        tunnel = _Tunnel(server.url, PATIENCE)
        port = urlsplit(tunnel.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            time.sleep(0.3)  # the tunnel reads the tickets, which come before any answer
            client.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            assert client.recv(4096).startswith(b"RTSP/1.0 200 OK")
        tunnel.close()


def test_an_operators_own_camera_may_lead_anywhere() -> None:
    with elsewhere() as (other, contacted), redirecting(other, "DESCRIBE") as server, Watcher(server.url) as watcher:
        watcher.wait_for(lambda _: bool(contacted))


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "file:///etc/hostname", "", "rtsp://[::1", "rtsp://h:x/"])
def test_what_is_no_rtsp_is_not_followed(target: str) -> None:
    with redirecting(target, "DESCRIBE") as server:
        check = check_of(server.url, [server.url, "http:", "file:"])
        with Watcher(server.url, check=check) as watcher:
            watcher.wait_for_state(State.FAILED)


def test_servers_that_redirect_in_a_circle_are_left() -> None:
    with redirecting("", "OPTIONS") as server:
        server._target = server.url
        with Watcher(server.url, check=check_of(server.url, [server.url])) as watcher:
            watcher.wait_for_state(State.FAILED)
        assert "redirected more than 8 times" in last_state(watcher).detail


@pytest.mark.parametrize("udp", [False, True])
def test_a_redirect_within_what_is_allowed_is_followed(tmp_path: Path, udp: bool) -> None:
    camera = RtspServer(write_clip(tmp_path / "clip.mp4", seconds=20.0, sound=beep(20.0, at=1.0)), sound=True, udp=udp)
    camera.start()
    try:
        with redirecting(camera.url, "DESCRIBE") as server:
            with Watcher(server.url, check=check_of(server.url, [server.url, camera.url])) as watcher:
                watcher.wait_for_media(50)
                watcher.wait_for(lambda _: bool(watcher.sounds))
            assert watcher.states[:2] == [State.CONNECTING, State.LIVE]
            assert watcher.frames[0].image[80, 10].min() > 230
    finally:
        camera.stop()


def test_a_checked_camera_that_is_not_there_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"rtsp://127.0.0.1:{probe.getsockname()[1]}/x"
    with Watcher(url, check=check_of(url, [url])) as watcher:
        watcher.wait_for(lambda items: len(items) >= 2)
    assert "trying again" in last_state(watcher).detail


MESSAGES = (
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
    b"RTSP/1.0 200 OK\nCSeq: 2\ncontent-length: 5\n\n$v=0\n",
    b'\r\nRTSP/1.0 401 Unauthorized\r\nCSeq: 3\r\nWWW-Authenticate: Digest realm="a"\r\n\r\n',
    b"$\0\0\x03abc",
    b"OPTIONS * RTSP/1.0\r\nCSeq: 4\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;source=10.0.0.9;server_port=6970-6971\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
)
WRITTEN = (
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"
    b"RTSP/1.0 200 OK\r\nCSeq: 2\r\ncontent-length: 5\r\n\r\n$v=0\n"
    b'RTSP/1.0 401 Unauthorized\r\nCSeq: 3\r\nWWW-Authenticate: Digest realm="a"\r\n\r\n'
    b"$\0\0\x03abc"
    b"OPTIONS * RTSP/1.0\r\nCSeq: 4\r\n\r\n"
    b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;server_port=6970-6971;source=10.0.0.1\r\n\r\n"
    b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
)


@given(st.lists(st.integers(1, 400), min_size=1))
def test_messages_are_passed_on_however_they_are_cut(sizes: list[int]) -> None:
    replies, data, out = Replies("10.0.0.1"), b"".join(MESSAGES), b""
    for size in [*sizes, len(data)]:
        out += replies.feed(data[:size])
        data = data[size:]
    assert out == WRITTEN


@pytest.mark.parametrize(
    "reply",
    [
        b"RTSP/1.0 302 Moved\r\nLocation: rtsp://other/\r\n\r\n",
        b"rtsp/1.0 \t301\nlocation:rtsp://other/\n\n",
        b"R\rTSP/1.0 3\r02 Moved\nLocation : rtsp://other/\r\r\n\r\n",
    ],
)
def test_a_redirect_is_found_however_it_is_written(reply: bytes) -> None:
    with pytest.raises(Leads) as leads:
        Replies("10.0.0.1").feed(b"".join(MESSAGES) + reply)
    assert leads.value.target == "rtsp://other/"


@pytest.mark.parametrize(
    "reply",
    [
        b"RTSP/1.0 0x12e Moved\r\n\r\n",
        b"RTSP/1.0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n$: 1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nA: \0RTSP/1.0 302\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nA: " + 5000 * b"a" + b"\r\n\r\n",
        70_000 * b"a",
    ],
)
def test_what_could_be_read_in_two_ways_ends_the_connection(reply: bytes) -> None:
    with pytest.raises(ValueError):
        Replies("10.0.0.1").feed(reply)
