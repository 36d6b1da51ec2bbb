"""The guards, over real sockets: foreign hosts and pages, the token, sizes, and what browsers are told."""

import http.client
import json
from collections.abc import Iterator

import pytest
from helpers.live_server import LiveServer, driven_app, serving
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from engines.errors import UserError
from service.settings import Settings
from service.web.guard import COOKIE, cookie_for

TOKEN = "a long enough token"
FOREIGN_HOSTS = [
    "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:80", "192.168.1.7",
    "localhost@evil.example", "localhost:8000:80", "[::1", "::1", "", " ", "localhost/", "0.0.0.0", "xn--localhost-x",
]  # fmt: skip
FOREIGN_ORIGINS = [
    "http://evil.example", "null", "", "http://localhost", "http://127.0.0.1:1", "https://127.0.0.1.evil.example",
    "file://", "chrome-extension://abcdef", "http://[::1", "http://127.0.0.1:PORT@evil.example", "ftp://127.0.0.1:PORT",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    with serving(token=SecretStr(TOKEN)) as running:
        yield running


@pytest.fixture(scope="module")
def with_friends() -> Iterator[LiveServer]:
    with serving(allowed_origins=["https://lab.example", "http://localhost:5173/"]) as running:
        yield running


def ask(
    server: LiveServer, method: str = "GET", path: str = "/v1/sessions", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """A request with exactly these headers: no client puts them right."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    lines = {"host": f"127.0.0.1:{server.port}"} | {name.replace("_", "-"): text for name, text in headers.items()}
    if body is not None:
        lines.setdefault("content-length", str(len(body)))
    for name, text in lines.items():
        connection.putheader(name, text)
    connection.endheaders(body)
    response = connection.getresponse()
    answer = response.status, {name.lower(): text for name, text in response.getheaders()}, response.read()
    connection.close()
    return answer


def status(server: LiveServer, method: str = "GET", path: str = "/v1/sessions", **headers: str) -> int:
    return ask(server, method, path, **headers)[0]


def websocket_status(server: LiveServer, **headers: str) -> int:
    try:
        with connect(f"{server.ws}/v1/stream", additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_host_is_refused(server: LiveServer, host: str) -> None:
    code, _, body = ask(server, host=host)
    assert code in (400, 403)
    if code == 403:
        assert "host" in json.loads(body)["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:PORT", "127.0.0.1", "[::1]:PORT", "localhost.", "127.8.9.1"])
def test_the_names_of_loopback_are_its_own(server: LiveServer, host: str) -> None:
    assert status(server, host=host.replace("PORT", str(server.port))) == 200


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_foreign_page_is_refused_by_request_and_websocket(server: LiveServer, origin: str) -> None:
    origin = origin.replace("PORT", str(server.port))
    for method, path in (("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("GET", "/metrics"), ("POST", "/whip/a")):
        code, _, body = ask(server, method, path, origin=origin)
        assert code == 403, (method, path)
        assert "origin" in json.loads(body)["detail"]
    assert websocket_status(server, Origin=origin) == 403


def test_its_own_pages_are_not_refused(server: LiveServer) -> None:
    for name in ("127.0.0.1", "localhost"):
        place = f"{name}:{server.port}"
        assert status(server, host=place, origin=f"http://{place}") == 200
        assert status(server, host=place, origin=f"https://{place}") == 200  # TLS ended before us
    assert websocket_status(server, Origin=server.url) == 101
    assert status(server, origin=f"http://localhost:{server.port}") == 403  # another name is another origin


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_can_neither_embed_nor_load_what_is_here(server: LiveServer, site: str) -> None:
    fetch = {"sec_fetch_site": site, "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
    assert status(server, path="/v1/sessions/desk/preview", **fetch) == 403
    followed = {"sec_fetch_site": site, "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert status(server, path="/", **followed) == 200
    framed = followed | {"sec_fetch_dest": "iframe"}
    assert status(server, path="/", **framed) == 403


def test_allowed_origins_may_call_and_read_the_answers(with_friends: LiveServer) -> None:
    for origin in ("https://lab.example", "http://localhost:5173"):
        code, headers, _ = ask(with_friends, origin=origin)
        assert (code, headers["access-control-allow-origin"]) == (200, origin)
        assert websocket_status(with_friends, Origin=origin) == 101
    assert status(with_friends, origin="https://lab.example:8443") == 403
    assert status(with_friends, origin="http://lab.example") == 403
    code, headers, _ = ask(
        with_friends, "OPTIONS", "/v1/sessions", origin="https://lab.example",
        access_control_request_method="POST", access_control_request_headers="authorization, content-type",
    )  # fmt: skip
    assert code == 200
    assert "authorization" in headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("origin", ["*", "lab.example", "ftp://lab.example", "https://", "https://lab.example/page"])
def test_an_allowed_origin_that_is_none_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(UserError, match="origin"):
        driven_app(Settings(allowed_origins=[origin]))


def test_a_server_that_binds_every_address_knows_addresses_but_not_foreign_names() -> None:
    with serving(host="0.0.0.0", token=SecretStr(TOKEN)) as everywhere:
        bearer = f"Bearer {TOKEN}"
        assert status(everywhere, host="192.168.1.7:8000", authorization=bearer) == 200
        assert status(everywhere, host="evil.example", authorization=bearer) == 403


ROUTES = [
    ("GET", "/"), ("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("GET", "/v1/sessions/desk"),
    ("DELETE", "/v1/sessions/desk"), ("POST", "/v1/sessions/desk/baseline"),
    ("POST", "/v1/sessions/desk/neutral"), ("GET", "/v1/sessions/desk/preview"),
    ("GET", "/v1/models"), ("GET", "/v1/schema"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"),
    ("POST", "/whip/desk"), ("GET", "/nowhere"), ("GET", "//healthz"), ("GET", "/healthz/"), ("GET", "/login/.."),
    ("GET", "/healthz/../metrics"), ("GET", "/%68ealthz/"), ("GET", "/assets/main.js"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_the_token(guarded: LiveServer, method: str, path: str) -> None:
    code, headers, _ = ask(guarded, method, path)
    assert (code, headers["www-authenticate"]) == (401, "Bearer")


def test_liveness_and_login_want_none(guarded: LiveServer) -> None:
    assert status(guarded, path="/healthz") == 200
    assert status(guarded, path="/login") == 200


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ÿ",
    ],
)
def test_a_wrong_token_is_refused(guarded: LiveServer, given: str) -> None:
    assert status(guarded, authorization=given) == 401
    if given.isascii():
        assert websocket_status(guarded, Authorization=given) == 401


def test_the_token_opens_routes_and_stream(guarded: LiveServer) -> None:
    assert status(guarded, authorization=f"Bearer {TOKEN}") == 200
    assert status(guarded, authorization=f"bearer {TOKEN}") == 200
    assert status(guarded, path="/metrics", authorization=f"Bearer {TOKEN}") == 200
    assert websocket_status(guarded, Authorization=f"Bearer {TOKEN}") == 101
    assert websocket_status(guarded) == 401


def test_a_token_in_the_address_is_no_token(guarded: LiveServer) -> None:
    assert status(guarded, path=f"/v1/sessions?token={TOKEN.replace(' ', '+')}") == 401


def test_login_gives_a_cookie_that_opens_routes_and_stream(guarded: LiveServer) -> None:
    code, headers, _ = ask(
        guarded, "POST", "/login", json.dumps({"token": TOKEN}).encode(), content_type="application/json"
    )
    assert code == 204
    cookie, *attributes = [part.strip() for part in headers["set-cookie"].split(";")]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert TOKEN not in headers["set-cookie"]
    assert status(guarded, cookie=f"other=1; {cookie}") == 200
    assert websocket_status(guarded, Cookie=cookie) == 101
    assert status(guarded, cookie=f"{COOKIE}={cookie_for('another token')}") == 401
    assert status(guarded, cookie=cookie, origin="http://evil.example") == 403


def test_the_login_form_leads_to_the_dashboard(guarded: LiveServer) -> None:
    form = {"content_type": "application/x-www-form-urlencoded"}
    code, headers, _ = ask(guarded, "POST", "/login", b"token=a+long+enough+token", **form)
    assert (code, headers["location"]) == (303, "/")
    assert COOKIE in headers["set-cookie"]
    code, headers, body = ask(guarded, "POST", "/login", b"token=wrong", **form)
    assert code == 401
    assert b"<form" in body
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    ("body", "named"),
    [
        *((body, "token") for body in (b"", b"{", b"[]", b"{}", b'{"token": 5}', b'"token"', b"null")),
        (b"\xff", "not UTF-8 text"),
    ],
)
def test_a_malformed_login_gets_a_sentence(guarded: LiveServer, body: bytes, named: str) -> None:
    code, _, answer = ask(guarded, "POST", "/login", body, content_type="application/json")
    assert code == 400
    assert named in json.loads(answer)["detail"]


def test_a_browser_without_the_cookie_is_led_to_the_login(guarded: LiveServer) -> None:
    code, headers, _ = ask(guarded, path="/", accept="text/html,*/*")
    assert (code, headers["location"]) == (303, "/login")


def test_a_body_that_is_too_large_is_refused(server: LiveServer) -> None:
    code, _, body = ask(server, "POST", "/v1/sessions", b"x" * 70_000, content_type="application/json")
    assert code == 413
    assert "65536" in json.loads(body)["detail"]


def test_a_body_that_hides_its_length_is_refused_too(server: LiveServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b"x" * 1000

    with server.client() as http_client:
        for path in ("/v1/sessions", "/login"):
            answer = http_client.post(path, content=chunks(), headers={"content-type": "application/json"})
            assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/sessions", "/nowhere"])
def test_browsers_are_told_to_run_and_frame_nothing_foreign(server: LiveServer, path: str) -> None:
    headers = ask(server, path=path)[1]
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "*" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


def test_refusals_carry_the_headers_too(guarded: LiveServer) -> None:
    for headers in (ask(guarded)[1], ask(guarded, host="evil.example")[1]):
        assert headers["x-content-type-options"] == "nosniff"
