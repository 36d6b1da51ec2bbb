"""The sessions API: opening, listing, closing, and every way to ask wrongly."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from helpers.live_server import LiveServer, serving


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving(max_sessions=3) as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as http:
        yield http
    server.sessions.close_all()


def test_a_source_is_opened_listed_and_closed(client: httpx.Client) -> None:
    opened = client.post("/v1/sessions", json={"source": "demo:", "name": "desk", "purpose": "a rehearsal"})
    assert opened.status_code == 201
    assert opened.headers["location"] == "/v1/sessions/desk"
    info = opened.json()
    assert (info["id"], info["source"], info["state"], info["purpose"]) == ("desk", "demo:", "live", "a rehearsal")
    assert info["figures"]["latency_ms"] == {"p50": 9.0, "p95": 14.0}
    assert client.get("/v1/sessions").json() == {"sessions": [info]}
    assert client.get("/v1/sessions/desk").json() == info
    assert client.delete("/v1/sessions/desk").status_code == 204
    assert client.get("/v1/sessions/desk").status_code == 404
    assert client.get("/v1/sessions").json() == {"sessions": []}


def test_a_name_is_made_up_where_none_is_given(client: httpx.Client) -> None:
    assert client.post("/v1/sessions", json={"source": "demo:"}).json()["id"] == "s1"


def test_the_baseline_starts_anew(server: LiveServer, client: httpx.Client) -> None:
    desk = server.open()
    assert client.post("/v1/sessions/desk/baseline").status_code == 204
    assert desk.baselines == 1


def test_a_taken_name_and_one_too_many_are_refused(client: httpx.Client) -> None:
    for name in ("a", "b"):
        client.post("/v1/sessions", json={"source": "demo:", "name": name})
    taken = client.post("/v1/sessions", json={"source": "demo:", "name": "a"})
    assert (taken.status_code, "'a'" in taken.json()["detail"]) == (409, True)
    client.post("/v1/sessions", json={"source": "demo:", "name": "c"})
    assert client.post("/v1/sessions", json={"source": "demo:", "name": "d"}).status_code == 429


@pytest.mark.parametrize("path", ["", "/baseline", "/preview"])
def test_an_unknown_session_is_404_with_a_sentence(client: httpx.Client, path: str) -> None:
    method = "POST" if path == "/baseline" else "GET"
    answer = client.request(method, f"/v1/sessions/nobody{path}")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


@pytest.mark.parametrize("source", ["file:/etc/passwd", "/etc/passwd", "rtsp://camera.lab/1", "FILE:clip.mp4"])
def test_a_source_that_is_not_allowed_is_refused(client: httpx.Client, source: str) -> None:
    answer = client.post("/v1/sessions", json={"source": source})
    assert answer.status_code == 403
    assert "allowed" in answer.json()["detail"]
    assert client.get("/v1/sessions").json() == {"sessions": []}


def test_credentials_of_a_refused_source_are_not_repeated(client: httpx.Client) -> None:
    answer = client.post("/v1/sessions", json={"source": "rtsp://admin:hunter2@camera.lab/1"})
    assert "hunter2" not in answer.text


def test_a_source_that_cannot_be_opened_is_400_with_its_sentence(client: httpx.Client) -> None:
    answer = client.post("/v1/sessions", json={"source": "camera:99"})
    assert (answer.status_code, answer.json()["detail"][:12]) == (400, "there is no ")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "body"),
        (b"not json", "the body: JSON"),
        (b"[]", "body"),
        (b"{}", "source"),
        (b'{"source": 5}', "source"),
        (b'{"source": ""}', "source"),
        (b'{"source": "demo:", "colour": "red"}', "colour"),
        (b'{"source": "demo:", "purpose": "' + b"x" * 300 + b'"}', "purpose"),
    ],
)
def test_a_malformed_request_gets_one_sentence(client: httpx.Client, body: bytes, names: str) -> None:
    answer = client.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert names in answer.json()["detail"]
    assert isinstance(answer.json()["detail"], str)


def test_the_loop_is_for_io_a_source_that_opens_slowly_holds_up_nothing(server: LiveServer) -> None:
    server.sessions.gate.clear()
    answers: list[int] = []

    def open_slowly() -> None:
        with server.client() as http:
            answers.append(http.post("/v1/sessions", json={"source": "demo:", "name": "slow"}).status_code)

    opening = threading.Thread(target=open_slowly)
    opening.start()
    try:
        with server.client() as http:
            assert [http.get("/healthz").status_code for _ in range(3)] == [200] * 3
        assert answers == []
    finally:
        server.sessions.gate.set()
        opening.join()
        server.sessions.close_all()
    assert answers == [201]
