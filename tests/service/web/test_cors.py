"""Pages of the allowed origins may read every answer, early refusals too; other pages may read none."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from helpers.live_server import LiveServer, serving
from helpers.serve_process import PATIENCE

FRIEND, FOE = "https://lab.example", "https://evil.example"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving(
        token="open sesame", tokens="view:look", allowed_origins=[FRIEND], max_logins_per_minute=1,
        max_connections_per_client=8,
    ) as running:  # fmt: skip
        yield running


def refusals(server: LiveServer, origin: str) -> dict[int, str | None]:
    """The header that lets the page read, by the status of each kind of refusal."""
    right, look = ({"authorization": f"Bearer {word}"} for word in ("open sesame", "look"))
    page = {"origin": origin}
    large = b"x" * 70_000
    with server.client() as client:
        answers = [
            client.get("/v1/sessions", headers=page),
            client.get("/v1/sessions/desk/preview?ticket=none", headers=page),
            client.post("/v1/sessions", json={"source": "demo:"}, headers=page | look),
            client.post("/v1/sessions", content=large, headers=page | right),
            client.post("/login", json={"token": "wrong"}, headers=page),
            client.post("/login", json={"token": "wrong"}, headers=page),
            client.get("/nowhere", headers=page | right),
            client.get("/v1/sessions", headers=page | {"host": "other.example"}),
        ]
    return {answer.status_code: answer.headers.get("access-control-allow-origin") for answer in answers}


def test_a_listed_page_reads_every_refusal(server: LiveServer) -> None:
    assert refusals(server, FRIEND) == dict.fromkeys((401, 403, 404, 413, 429), FRIEND)


def test_no_other_page_reads_any(server: LiveServer) -> None:
    assert refusals(server, FOE) == {401: None, 403: None}  # a bad ticket is refused before anything else


@pytest.mark.parametrize(("origin", "readable"), [(FRIEND, True), (FOE, False)])
def test_a_head_that_is_too_large_is_refused_readably(server: LiveServer, origin: str, readable: bool) -> None:
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nX-A: ".encode() + b"a" * 40_000
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(head)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                answer += part
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert (f"access-control-allow-origin: {origin}".encode() in answer.lower()) == readable


@pytest.mark.parametrize(("origin", "readable"), [(FRIEND, FRIEND), (FOE, None)])
def test_a_server_that_is_full_says_so_readably(origin: str, readable: str | None) -> None:
    with (
        serving(max_connections_per_client=2, allowed_origins=[FRIEND]) as server,
        contextlib.ExitStack() as stack,
    ):
        server.open().show(0.0)
        for _ in range(2):  # in use: their answers do not end
            watching = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            watching.sendall(b"GET /v1/sessions/desk/preview HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"multipart" in watching.recv(4096)
        with server.client() as client:
            busy = client.get("/v1/sessions", headers={"origin": origin})
    assert (busy.status_code, busy.headers.get("access-control-allow-origin")) == (503, readable)


def test_a_preflight_is_answered_once(server: LiveServer) -> None:
    asked = {"origin": FRIEND, "access-control-request-method": "POST"}
    with server.client() as client:
        answer = client.options("/v1/sessions", headers=asked)
    assert answer.status_code == 200
    assert answer.headers.get_list("access-control-allow-origin") == [FRIEND]
