"""Limits that hold before anybody has shown a token: heads, bodies, times, connections, tries; and health checks."""

import contextlib
import json
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from helpers.live_server import LiveServer, serving
from helpers.serve_process import PATIENCE, process

from service.web.connections import OTHER_CONNECTIONS

HOST = b"Host: localhost\r\n"


def talk(server: LiveServer, *parts: bytes, pause: float = 0.0) -> bytes:
    """Everything that is answered to `parts` until the server closes the connection, or says no more for long."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        return read(connection)


def read(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while part := connection.recv(65_536):
            answer += part
    return answer


@pytest.fixture(scope="module")
def hasty() -> Iterator[LiveServer]:
    """A server that waits for little. On a busy machine it gives up whole requests too."""
    with serving(header_seconds=0.5, body_seconds=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def patient() -> Iterator[LiveServer]:
    """A server that waits for longer than any test does."""
    limits = {"max_subscribers": 8, "max_connections_per_client": 32}
    with serving(header_seconds=600.0, body_seconds=600.0, **limits) as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    with serving(token="open sesame", max_logins_per_minute=3) as running:
        yield running


def test_a_head_that_is_too_large_is_refused_without_being_taken(patient: LiveServer) -> None:
    endless = b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 2_000_000
    assert talk(patient, endless).startswith(b"HTTP/1.1 431 ")
    many = b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(100_000))
    assert talk(patient, many).startswith(b"HTTP/1.1 431 ")
    with patient.client() as client:
        assert client.get("/healthz", headers={"x-a": "a" * 20_000}).status_code == 200


@pytest.mark.parametrize("begun", [b"GET /heal", b"POST /login HTTP/1.1\r\nHost: lo"])
def test_a_head_that_does_not_end_is_answered_and_closed(hasty: LiveServer, begun: bytes) -> None:
    assert talk(hasty, begun).startswith(b"HTTP/1.1 408 ")


def test_a_connection_on_which_nothing_comes_is_closed(hasty: LiveServer) -> None:
    assert talk(hasty) == b""


@pytest.mark.parametrize(
    "head", [b"POST /login HTTP/1.1\r\n", b"POST /v1/sessions HTTP/1.1\r\nContent-Type: application/json\r\n"]
)
def test_a_body_that_does_not_end_is_no_fault_of_ours(
    hasty: LiveServer, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    talk(hasty, head + HOST + b'Content-Length: 100\r\n\r\n{"tok')
    assert caplog.records == []


def test_a_chunked_body_without_an_end_is_not_taken(patient: LiveServer) -> None:
    head = b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    trailers = b"0\r\nX-Trailer: " + b"a" * 4_000_000
    talk(patient, head, trailers)
    with patient.client() as client:
        assert client.get("/healthz").status_code == 200


def test_half_open_connections_give_way_to_whole_requests(patient: LiveServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8 + OTHER_CONNECTIONS + 40):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", patient.port)))
            half.sendall(b"GET / HT")
            if _ % 40 == 0:
                with patient.client() as client:
                    assert client.get("/healthz").status_code == 200
        with patient.client() as client:
            assert client.get("/v1/sessions").status_code == 200


def test_where_every_connection_is_in_use_only_health_checks_are_answered() -> None:
    with serving(max_connections_per_client=3) as server, contextlib.ExitStack() as stack:
        server.open().show(0.0)
        for _ in range(3):  # in use: their answers do not end
            watching = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            watching.sendall(b"GET /v1/sessions/desk/preview HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b"multipart" in watching.recv(4096)
        with server.client() as client:
            assert client.get("/healthz").status_code == 200
            busy = client.get("/v1/sessions")
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_health_check_may_be_of_the_plainest_kind(patient: LiveServer, method: str, path: str) -> None:
    answer = talk(patient, f"{method} {path} HTTP/1.0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    _, _, body = answer.partition(b"\r\n\r\n")
    assert (body == b"") == (method == "HEAD")
    assert talk(patient, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_a_length_of_thousands_of_digits_is_refused(patient: LiveServer) -> None:
    head = b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"0" * 5000 + b"2\r\nConnection: close\r\n\r\n{}"
    assert b" 413 " in talk(patient, head).splitlines()[0] or b" 400 " in talk(patient, head).splitlines()[0]


def test_what_follows_a_refused_body_on_the_same_connection_is_answered() -> None:
    body = b"x" * 70_000
    refused = b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
    asked = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    with serving() as server:
        answer = talk(server, refused, body[:40_000], body[40_000:], asked, pause=0.05)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"413", b"200"]


def test_wrong_tokens_at_the_login_are_counted(guarded: LiveServer) -> None:
    with guarded.client() as client:
        wrong = [client.post("/login", json={"token": f"guess {n}"}).status_code for n in range(5)]
        assert wrong == [401, 401, 401, 429, 429]
        right = client.post("/login", json={"token": "open sesame"})
        assert right.status_code == 429  # else the right guess would show among the wrong ones
        assert 0 < int(right.headers["retry-after"]) <= 60
        assert "try again in" in right.json()["detail"]
        with_token = {"Authorization": "Bearer open sesame"}
        assert client.get("/v1/sessions", headers=with_token).status_code == 200


def test_wrong_tokens_elsewhere_are_counted_for_those_who_never_had_the_right_one() -> None:
    with serving(token="open sesame", max_logins_per_minute=1) as server, server.client() as client:
        wrong, right = ({"Authorization": f"Bearer {token}"} for token in ("guess", "open sesame"))
        statuses = [client.get("/v1/sessions", headers=wrong).status_code for _ in range(8)]
        assert statuses == [401] * 6 + [429] * 2
        assert client.get("/v1/sessions", headers=right).status_code == 429
        assert client.get("/v1/sessions").status_code == 401  # no token is no guess
    with serving(token="open sesame", max_logins_per_minute=1) as server, server.client() as client:
        assert client.get("/v1/sessions", headers=right).status_code == 200
        assert [client.get("/v1/sessions", headers=wrong).status_code for _ in range(8)] == [401] * 6 + [401] * 2
        assert client.get("/v1/sessions", headers=right).status_code == 200


@pytest.mark.parametrize(
    "body", ['{"token": "\\ud800"}', "[" * 990 + "]" * 990, '{"token": ' + "[" * 990, "\\", '"', ""]
)
def test_a_login_that_is_nonsense_is_refused(guarded: LiveServer, body: str) -> None:
    with guarded.client() as client:
        answer = client.post("/login", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 401, 429)
    assert isinstance(json.loads(answer.text)["detail"], str)


def test_a_method_that_is_not_allowed_is_told_which_ones_are(patient: LiveServer) -> None:
    with patient.client() as client:
        answer = client.put("/v1/sessions")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
        assert client.request("PUT", "/v1/sessions/desk").headers["allow"] == "DELETE, GET, HEAD"


def test_a_prefix_of_a_proxy_is_kept_in_addresses(patient: LiveServer) -> None:
    with patient.client() as client:
        for prefix, wanted in (("/affect", "/affect/v1/sessions/x"), ("//evil.example", "/v1/sessions/x")):
            answer = client.post(
                "/v1/sessions", json={"source": "demo:", "name": "x"}, headers={"x-forwarded-prefix": prefix}
            )
            assert answer.headers["location"] == wanted
            assert client.delete("/v1/sessions/x").status_code == 204


def test_many_who_send_nothing_do_not_hold_up_one_who_asks(patient: LiveServer) -> None:
    ends = threading.Event()

    def idle() -> None:
        while not ends.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", patient.port)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n")
                ends.wait(0.05)

    idlers = [threading.Thread(target=idle) for _ in range(16)]
    for idler in idlers:
        idler.start()
    try:
        with patient.client() as client:
            assert {client.get("/healthz").status_code for _ in range(20)} == {200}
    finally:
        ends.set()
        for idler in idlers:
            idler.join()


def test_what_follows_a_body_that_is_too_large_is_a_request_of_its_own() -> None:
    with serving() as server, server.client() as client:
        for _ in range(3):
            assert client.post("/v1/sessions", content=b"x" * 150_000).status_code == 413
            assert client.get("/healthz").status_code == 200


def test_the_answer_of_a_request_whose_connection_was_closed_meanwhile_is_dropped(
    patient: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    one = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    talk(patient, one * 3 + b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000)
    talk(patient, one * 50 + b"\x16\x03\x01")
    chunked = b"POST /v1/sessions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    for rest in (b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}ZZ"):
        for pause in (0.0, 0.05):
            talk(patient, chunked + rest[:30], rest[30:], pause=pause)
    with patient.client() as client:
        assert client.get("/healthz").status_code == 200
    assert "Exception" not in caplog.text


FRAMES = {
    "no mask": b"\x81\x05hello",
    "reserved bits": b"\xf1\x80aaaa",
    "endless": b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd",
    "bad close": b"\x88\x82aaaa\x00\x00",
    "large": b"\x81\xff" + (1 << 20).to_bytes(8, "big") + b"aaaa" + b"x" * (1 << 20),
    "pings": b"\x89\x80aaaa" * 20_000,
    "closed, and more": b"\x88\x80aaaa" + b"\xf1\x80aaaa" * 10,
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_are_none_end_one_stream_and_nothing_else(
    patient: LiveServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    upgrade = b"GET /v1/stream HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    for parts in ([upgrade + FRAMES[name]], [upgrade, FRAMES[name]]):
        with socket.create_connection(("127.0.0.1", patient.port), timeout=1.0) as connection:
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    connection.sendall(part)
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.recv(65_536)
    with patient.client() as client:
        assert client.get("/healthz").status_code == 200
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_requests_of_clients_that_have_left_are_dropped_without_a_word() -> None:
    """With the loop of the real server, which refuses to write to a connection that is closed."""
    with process("--workers", "1") as running, running.client() as client:
        running.wait(client)
        for number in range(20):
            with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE) as connection:
                connection.sendall((b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n") * 50)
                time.sleep(0.005 * number)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert client.get("/healthz").status_code == 200
        code, log = running.stop(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in log
