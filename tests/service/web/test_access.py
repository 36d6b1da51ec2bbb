"""What each role may do, route by route, over real sockets: a table, held against the application's routes."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from helpers.live_server import LiveServer, driven_app, serving
from starlette.routing import Mount, Route, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from service.roles import Role
from service.settings import Settings
from service.web.access import MOST_OWNED, Owners, need_of
from service.workers import metrics as merged_metrics
from service.workers import proxy

OPEN, VIEW, SEND, OWN, MANAGE = "open", "view", "send", "own", "manage"
TABLE = {
    "DELETE /v1/sessions/{id}": OWN,
    "DELETE /v1/sessions/{id}/data": OWN,
    "DELETE /whip/{session}/{resource}": SEND,
    "GET /": VIEW,
    "GET /assets/{file:path}": VIEW,
    "GET /client.js": OPEN,
    "GET /docs": VIEW,
    "GET /healthz": OPEN,
    "GET /icon.svg": VIEW,
    "GET /login": OPEN,
    "GET /metrics": VIEW,
    "GET /notice": OPEN,
    "GET /openapi.json": VIEW,
    "GET /readyz": VIEW,
    "GET /v1/access": VIEW,
    "GET /v1/models": VIEW,
    "GET /v1/models/{name}/card": VIEW,
    "GET /v1/schema": VIEW,
    "GET /v1/sessions": VIEW,
    "GET /v1/sessions/{id}": VIEW,
    "GET /v1/sessions/{id}/history": VIEW,
    "GET /v1/sessions/{id}/preview": VIEW,
    "GET /v1/sessions/{id}/report": VIEW,
    "GET /v1/sessions/{id}/rules": VIEW,
    "OPTIONS /whip/{session}": SEND,
    "OPTIONS /whip/{session}/{resource}": SEND,
    "PATCH /whip/{session}/{resource}": SEND,
    "POST /login": OPEN,
    "POST /logout": VIEW,
    "POST /v1/sessions": MANAGE,
    "POST /v1/sessions/{id}/baseline": OWN,
    "POST /v1/sessions/{id}/markers": OWN,
    "POST /v1/sessions/{id}/neutral": OWN,
    "POST /v1/tickets": VIEW,
    "POST /whip/{session}": SEND,
    "PUT /v1/sessions/{id}/rules": OWN,
}
BESIDE_THE_PAGE = {"GET /assets/{file:path}", "GET /client.js", "GET /icon.svg"}  # routes only where the page was built
TOKENS = {"view": "look at it", "send": "show yourself", "manage": "run it all"}
SOMEBODY = {name: {"authorization": f"Bearer {token}"} for name, token in TOKENS.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    tokens = [f"{name}:{token}" for name, token in TOKENS.items() if name != "manage"]
    with serving(token=TOKENS["manage"], tokens=tokens, max_logins_per_minute=100) as running:
        yield running


def routes_of(routes: Any) -> Iterator[str]:
    """METHOD and path of each route, those of included routers too; those of a WebSocket as GET."""
    for route in routes:
        assert not isinstance(route, Mount), "name what is mounted in the table"
        if isinstance(route, WebSocketRoute):
            yield f"WEBSOCKET {route.path}"
        elif isinstance(route, Route):
            yield from (f"{method} {route.path}" for method in sorted((route.methods or set()) - {"HEAD"}))
        else:
            yield from routes_of(route.routes if hasattr(route, "routes") else route.original_router.routes)


def test_the_table_has_every_route_and_no_other() -> None:
    app = driven_app(Settings())
    here = {*routes_of(app.routes), *routes_of(proxy.router.routes), *routes_of(merged_metrics.router.routes)}
    assert {route for route in here if not route.startswith("WEBSOCKET")} | BESIDE_THE_PAGE == set(TABLE)
    assert {route for route in here if route.startswith("WEBSOCKET")} == {"WEBSOCKET /v1/stream"}


def ask(client: httpx.Client, route: str, **more: Any) -> httpx.Response:
    method, path = route.split(" ")
    path = path.replace("{file:path}", "none.js").replace("{name}", "none")
    for name in ("{id}", "{session}", "{resource}"):
        path = path.replace(name, "none")
    with client.stream(method, path, **more) as answer:
        answer.read()
    return answer


def is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and answer.json()["code"] == "role_needed"


@pytest.mark.parametrize("route", sorted(TABLE))
def test_each_role_may_do_what_the_table_says_and_no_more(server: LiveServer, route: str) -> None:
    needed = TABLE[route]
    allowed = {
        OPEN: {"nobody", "view", "send", "manage"},
        VIEW: {"view", "send", "manage"},
        SEND: {"send", "manage"},
        OWN: {"manage"},  # a session of somebody else's
        MANAGE: {"manage"},
    }[needed]
    with server.client() as client:
        let_in = {name for name, headers in SOMEBODY.items() if not is_refused(ask(client, route, headers=headers))}
        if ask(client, route).status_code != 401:
            let_in.add("nobody")
    assert let_in == allowed


@pytest.mark.parametrize("path", ["/v1/sessions", "/metrics", "/readyz", "/v1/schema"])
def test_a_head_needs_what_its_get_needs(server: LiveServer, path: str) -> None:
    with server.client() as client:
        assert client.head(path, headers=SOMEBODY["view"]).status_code == 200
        assert client.head(path).status_code == 401


@pytest.mark.parametrize("route", ["GET /v1/settings", "DELETE /v1/sessions", "TRACE /"])
def test_what_no_table_names_needs_manage(server: LiveServer, route: str) -> None:
    need, _ = need_of(*route.split(" "))
    assert need.role is Role.MANAGE
    added = APIRoute("/v1/settings", lambda: "secret")
    server.app.router.routes.append(added)
    try:
        with server.client() as client:
            assert is_refused(ask(client, route, headers=SOMEBODY["send"]))
            assert ask(client, route, headers=SOMEBODY["manage"]).status_code in (200, 405)
    finally:
        server.app.router.routes.remove(added)


@pytest.mark.parametrize("route", ["GET /v1/nothing", "POST /v1/new", "GET /worker/x", "HEAD /v1/sessions/desk/x"])
def test_where_nothing_is_every_role_is_told_so(server: LiveServer, route: str) -> None:
    """No token helps there, so none is asked for besides one that lets in at all."""
    with server.client() as client:
        statuses = {name: ask(client, route, headers=headers).status_code for name, headers in SOMEBODY.items()}
        assert statuses == dict.fromkeys(SOMEBODY, 404)
        assert ask(client, route).status_code == 401


@pytest.mark.parametrize(
    ("prefix", "method", "path"),
    [
        ("/v1/sessions", "POST", "/v1/sessions"),
        ("/whip", "POST", "/v1/sessions"),
        ("/v1", "DELETE", "/v1/sessions/desk"),
        ("/healthz", "GET", "/healthz/../metrics"),
        ("/login", "GET", "/v1/sessions"),
    ],
)
def test_a_made_up_prefix_of_a_proxy_opens_nothing(server: LiveServer, prefix: str, method: str, path: str) -> None:
    forged = {"x-forwarded-prefix": prefix}
    with server.client() as client:
        assert client.request(method, path, headers=forged).status_code == 401
        if method != "GET":
            assert is_refused(client.request(method, path, headers=forged | SOMEBODY["send"]))


def test_a_refusal_says_which_role_is_needed(server: LiveServer) -> None:
    with server.client() as client:
        answer = client.post("/v1/sessions", json={"source": "demo:"}, headers=SOMEBODY["view"])
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank", "title": "Forbidden", "status": 403, "code": "role_needed",
        "detail": "this needs a token of the role manage, and the one that was sent has the role view; "
        "ask whoever runs the service for one",
    }  # fmt: skip


@pytest.mark.parametrize("role", TOKENS)
def test_a_token_is_told_what_it_may_do(server: LiveServer, role: str) -> None:
    with server.client(headers=SOMEBODY[role]) as client:
        assert client.get("/v1/access").json() == {"role": role, "own": []}


def test_every_role_reads_the_stream_by_token_cookie_and_ticket(server: LiveServer) -> None:
    with server.client() as client:
        for name, token in TOKENS.items():
            with connect(f"{server.ws}/v1/stream", additional_headers=SOMEBODY[name]):
                pass
            cookie = client.post("/login", json={"token": token}).headers["set-cookie"].partition(";")[0]
            client.cookies.clear()
            with connect(f"{server.ws}/v1/stream", additional_headers={"cookie": cookie}):
                pass
            opened = client.post("/v1/sessions", json={"source": "demo:"}, headers={"cookie": cookie})
            assert is_refused(opened) == (name != "manage")
            ticket = client.post("/v1/tickets", headers=SOMEBODY[name]).json()["ticket"]
            with connect(f"{server.ws}/v1/stream?ticket={ticket}"):
                pass
    with pytest.raises(InvalidStatus):
        connect(f"{server.ws}/v1/stream")


def test_a_low_role_in_the_header_does_not_hide_a_higher_one_in_the_cookie(server: LiveServer) -> None:
    with server.client() as client:
        client.post("/login", json={"token": TOKENS["manage"]})
        assert client.post("/v1/sessions/none/baseline", headers=SOMEBODY["view"]).status_code == 404


def test_without_a_manage_token_nobody_manages() -> None:
    with serving(tokens="view:look at it") as server, server.client() as client:
        assert client.get("/v1/sessions").status_code == 401
        assert client.get("/v1/sessions", headers=SOMEBODY["view"]).status_code == 200
        assert is_refused(client.post("/v1/sessions", json={"source": "demo:"}, headers=SOMEBODY["view"]))


def test_whoever_opened_a_session_last_owns_it() -> None:
    def opened(path: str, location: str, status: int = 201) -> tuple[dict[str, Any], dict[str, Any]]:
        headers = [(b"location", location.encode())]
        return {"path": path}, {"type": "http.response.start", "status": status, "headers": headers}

    owners = Owners()
    owners.note("ann", *opened("/whip/desk", "/whip/desk/secret"))
    assert owners.owns("ann", "desk")
    assert not owners.owns("ben", "desk")
    assert not owners.owns("ann", "door")
    assert (owners.owned("ann"), owners.owned("ben")) == (["desk"], [])
    owners.note("ben", *opened("/whip/desk", "", 409))
    assert owners.owns("ann", "desk")
    owners.note("boss", *opened("/v1/sessions", "/affect/v1/sessions/desk"))
    assert not owners.owns("ann", "desk")
    for number in range(MOST_OWNED + 1):
        owners.note("ann", *opened(f"/whip/s{number}", ""))
    assert not owners.owns("ann", "s0")
    assert owners.owns("ann", f"s{MOST_OWNED}")


def test_the_description_says_which_role_each_operation_needs(server: LiveServer) -> None:
    with server.client() as client:
        document = client.get("/openapi.json", headers=SOMEBODY["view"]).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = TABLE.get(f"{method.upper()} {path}", VIEW)
            roles = {next(iter(value)) for one in operation["security"] for value in one.values()}
            assert roles == ({MANAGE} if needed == OWN else set() if needed == OPEN else {needed}), (method, path)
            assert needed == OPEN or "403" in operation["responses"], (method, path)
