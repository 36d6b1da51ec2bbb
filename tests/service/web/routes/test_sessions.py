"""The sessions API: opening, listing, closing, and every way to ask wrongly."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from helpers.live_server import PURPOSE, LiveServer, serving

from service.purpose import PURPOSES


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
    opened = client.post("/v1/sessions", json={"source": "demo:", "name": "desk", "purpose": "other: a rehearsal"})
    assert opened.status_code == 201
    assert opened.headers["location"] == "/v1/sessions/desk"
    info = opened.json()
    assert (info["id"], info["source"], info["state"], info["purpose"]) == (
        "desk",
        "demo:",
        "live",
        "other: a rehearsal",
    )
    assert info["figures"]["latency_ms"] == {"p50": 9.0, "p95": 14.0}
    assert client.get("/v1/sessions").json() == {"sessions": [info]}
    assert client.get("/v1/sessions/desk").json() == info
    assert client.delete("/v1/sessions/desk").status_code == 204
    assert client.get("/v1/sessions/desk").status_code == 404
    assert client.get("/v1/sessions").json() == {"sessions": []}


@pytest.mark.parametrize("part", ["history", "report", "rules", "preview"])
def test_what_a_closed_session_showed_is_refused_with_a_sentence(client: httpx.Client, part: str) -> None:
    client.post("/v1/sessions", json={"source": "demo:", "name": "desk"}).raise_for_status()
    assert client.get("/v1/sessions/desk/history").status_code == 200
    client.delete("/v1/sessions/desk").raise_for_status()
    answer = client.get(f"/v1/sessions/desk/{part}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no session is called 'desk'; GET /v1/sessions lists them"


def test_a_name_is_made_up_where_none_is_given(client: httpx.Client) -> None:
    assert client.post("/v1/sessions", json={"source": "demo:"}).json()["id"] == "s1"


def test_the_baseline_starts_anew(server: LiveServer, client: httpx.Client) -> None:
    desk = server.open()
    assert client.post("/v1/sessions/desk/baseline").status_code == 204
    assert desk.baselines == 1


def test_the_neutral_step_begins(server: LiveServer, client: httpx.Client) -> None:
    server.open()
    answer = client.post("/v1/sessions/desk/neutral")
    assert answer.status_code == 202
    assert answer.json() == {"state": "running", "t": None, "left_s": 10.0, "faces": []}
    assert client.get("/v1/sessions/desk").json()["figures"]["neutral"] is None
    assert client.post("/v1/sessions/nobody/neutral").status_code == 404


def test_a_taken_name_and_one_too_many_are_refused(client: httpx.Client) -> None:
    for name in ("a", "b"):
        client.post("/v1/sessions", json={"source": "demo:", "name": name})
    taken = client.post("/v1/sessions", json={"source": "demo:", "name": "a"})
    assert (taken.status_code, "'a'" in taken.json()["detail"]) == (409, True)
    client.post("/v1/sessions", json={"source": "demo:", "name": "c"})
    assert client.post("/v1/sessions", json={"source": "demo:", "name": "d"}).status_code == 429


def test_who_reads_people_says_what_for(client: httpx.Client) -> None:
    answer = client.post("/v1/sessions", json={"source": "camera:0"})
    assert answer.status_code == 422
    for name in PURPOSES:
        assert name in answer.json()["detail"]
    assert client.post("/v1/sessions", json={"source": "camera:0", "purpose": "fun"}).status_code == 422
    assert client.get("/v1/sessions").json() == {"sessions": []}
    opened = client.post("/v1/sessions", json={"source": "camera:0", "purpose": "Own-use"})
    assert (opened.status_code, opened.json()["purpose"]) == (201, "own use")
    demo = client.post("/v1/sessions", json={"source": "demo:"})
    assert (demo.status_code, demo.json()["purpose"]) == (201, None)


@pytest.mark.parametrize("purpose", ["workplace", "education", "other: the mood of our employees"])
def test_what_the_law_forbids_is_refused_with_the_article(client: httpx.Client, purpose: str) -> None:
    for source in ("camera:0", "demo:"):
        answer = client.post("/v1/sessions", json={"source": source, "purpose": purpose})
        assert answer.status_code == 403
        assert "Article 5(1)(f) of the EU AI Act" in answer.json()["detail"]
    assert client.get("/v1/sessions").json() == {"sessions": []}


def test_a_session_inherits_the_servers_purpose() -> None:
    with serving(purpose="art", allowed_sources="camera:") as server, server.client() as client:
        assert client.post("/v1/sessions", json={"source": "camera:0"}).json()["purpose"] == "art"
        own = client.post("/v1/sessions", json={"source": "camera:1", "purpose": "medical"})
        assert own.json()["purpose"] == "medical"


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
    answer = client.post("/v1/sessions", json={"source": "camera:99", "purpose": PURPOSE})
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
        (b'{"source": "demo:", "purpose": "' + b"x" * 301 + b'"}', "purpose"),
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
