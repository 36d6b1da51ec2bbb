"""JSON bodies by RFC 8259: what two readers could understand in two ways gets 400 and a sentence, on every route."""

import codecs
from collections.abc import Iterator

import httpx
import pytest
from helpers.live_server import serving

SESSION = '{"source": "demo:", "name": "fresh"}'
MARKER = '{"label": "door"}'
RULES = '{"rules": ["valence > 0.5"]}'
LOGIN = '{"token": "run it all"}'
BODIES = {
    "POST /v1/sessions": SESSION,
    "POST /v1/sessions/desk/markers": MARKER,
    "PUT /v1/sessions/desk/rules": RULES,
    "POST /login": LOGIN,
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(token="run it all", max_logins_per_minute=1000, allowed_sources=["demo:"]) as running:
        running.open("desk")
        with running.client() as client:
            yield client


def ask(client: httpx.Client, route: str, body: bytes) -> httpx.Response:
    method, path = route.split(" ")
    headers = {"content-type": "application/json", "authorization": "Bearer run it all"}
    return client.request(method, path, content=body, headers=headers)


def doubled(body: str) -> str:
    key = body[1 : body.index(":")]
    return f"{{{key}: null, {body[1:]}"


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("utf-16", "encoded as UTF-16"),
        ("utf-16-le", "encoded as UTF-16"),
        ("utf-16-be", "encoded as UTF-16"),
        ("utf-32", "encoded as UTF-32"),
        ("utf-32-le", "encoded as UTF-32"),
        ("latin-1", "not UTF-8 text"),
        ("twice", "twice"),
        ("nan", "NaN, which is no number of JSON"),
        ("infinity", "-Infinity, which is no number of JSON"),
    ],
)
def test_a_body_that_is_not_json_of_rfc_8259_gets_a_sentence(
    client: httpx.Client, route: str, kind: str, words: str
) -> None:
    body = BODIES[route]
    sent = {
        "latin-1": body.replace(": ", ': "é", "x": ', 1).encode("latin-1"),
        "twice": doubled(body).encode(),
        "nan": body.replace("{", '{"x": NaN, ', 1).encode(),
        "infinity": body.replace("{", '{"x": -Infinity, ', 1).encode(),
    }
    answer = ask(client, route, sent[kind] if kind in sent else body.encode(kind))
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("route", ["POST /v1/sessions", "POST /login"])
def test_a_byte_order_mark_before_utf8_is_ignored(client: httpx.Client, route: str) -> None:
    answer = ask(client, route, codecs.BOM_UTF8 + BODIES[route].encode())
    assert answer.status_code in (201, 204)
    client.delete("/v1/sessions/fresh", headers={"authorization": "Bearer run it all"})


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize("body", [b"[" * 5000, b'{"a":' * 5000, b"", b"\xff", b"null", b"1e999", b'"\\ud800"', b"\0\0"])
def test_other_nonsense_is_a_clients_mistake(client: httpx.Client, route: str, body: bytes) -> None:
    assert ask(client, route, body).status_code in (400, 422)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /v1/sessions", b'{"source": "demo:", "name": "\\ud800"}'),
        ("POST /v1/sessions", b'{"source": "demo:\\ud800"}'),
        ("POST /v1/sessions", b'{"source": "demo:", "purpose": "\\udfff"}'),
        ("POST /v1/sessions", b'{"source": "demo:", "rate": 1e999}'),
        ("POST /v1/sessions/desk/markers", b'{"label": "\\ud800"}'),
        ("POST /v1/sessions/desk/markers", b'{"label": "a", "t": 1e999}'),
        ("POST /v1/sessions/desk/markers", b'{"label": "a", "t": 1' + b"0" * 5000 + b"}"),
        ("PUT /v1/sessions/desk/rules", b'{"rules": ["\\ud800"]}'),
        ("PUT /v1/sessions/desk/rules", b'{"rules": ["valence > \\ud800"]}'),
        ("POST /login", b'{"token": "\\ud800"}'),
    ],
)
def test_half_characters_and_endless_numbers_are_refused(client: httpx.Client, route: str, body: bytes) -> None:
    answer = ask(client, route, body)
    assert answer.status_code in (400, 401, 403, 422)
    assert answer.json()["detail"]
