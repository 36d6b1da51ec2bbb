"""Tickets, foreign pages and frames: over real sockets, and with a real browser whose page lies on another origin."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.browser import chromium
from helpers.live_server import LiveServer, driven_app, serving
from helpers.static_site import static_site
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from engines.errors import UserError
from service.register import TooMany
from service.roles import Role
from service.settings import Settings
from service.web import tickets

TOKEN = "a long enough token"
FRIEND = "https://lab.example"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    with serving(token=SecretStr(TOKEN), allowed_origins=[FRIEND]) as running:
        running.open()
        yield running


def ticket(server: LiveServer, **headers: str) -> str:
    with server.client() as client:
        answer = client.post("/v1/tickets", headers=BEARER | headers)
    assert answer.status_code == 201
    assert 0 < answer.json()["expires_s"] <= 60
    return str(answer.json()["ticket"])


def streamed(server: LiveServer, query: str, **headers: str) -> int:
    try:
        with connect(f"{server.ws}/v1/stream?{query}", additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_a_ticket_opens_the_stream_once(guarded: LiveServer) -> None:
    given = ticket(guarded)
    assert streamed(guarded, f"session=desk&ticket={given}") == 101
    assert streamed(guarded, f"session=desk&ticket={given}") == 401
    assert streamed(guarded, "ticket=made-up") == 401
    assert streamed(guarded, f"ticket={ticket(guarded)}&ticket={ticket(guarded)}") == 401


def test_a_ticket_needs_the_token_and_opens_nothing_but_stream_and_preview(guarded: LiveServer) -> None:
    with guarded.client() as client:
        assert client.post("/v1/tickets").status_code == 401
        for method, path in (("GET", "/v1/sessions"), ("DELETE", "/v1/sessions/desk"), ("POST", "/v1/tickets")):
            assert client.request(method, path, params={"ticket": ticket(guarded)}).status_code == 401
        guarded.sessions.get("desk").show(1.0)
        with client.stream("GET", "/v1/sessions/desk/preview", params={"ticket": ticket(guarded)}) as answer:
            assert answer.status_code == 200
        refused = client.get("/v1/sessions/desk/preview", params={"ticket": "made-up"})
        assert (refused.status_code, "POST /v1/tickets" in refused.json()["detail"]) == (401, True)


def test_a_page_that_is_listed_may_read_why_its_ticket_was_refused(guarded: LiveServer) -> None:
    with guarded.client() as client:
        for origin, readable in ((FRIEND, FRIEND), ("https://evil.example", None)):
            refused = client.get("/v1/sessions/desk/preview?ticket=made-up", headers={"origin": origin})
            assert refused.status_code == 401
            assert refused.headers.get("access-control-allow-origin") == readable


def test_a_ticket_does_not_let_a_foreign_page_in(guarded: LiveServer) -> None:
    assert streamed(guarded, f"ticket={ticket(guarded)}", Origin="http://evil.example") == 403
    assert streamed(guarded, f"ticket={ticket(guarded)}", Origin=FRIEND) == 101


def test_tickets_expire_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(tickets.time, "monotonic", lambda: now)
    held = tickets.Tickets()
    early = [held.give(Role.VIEW) for _ in range(tickets.MOST)]
    with pytest.raises(TooMany, match="tickets"):
        held.give(Role.VIEW)
    assert held.redeem(early[0]) is Role.VIEW
    now += tickets.LIFETIME
    assert held.redeem(early[1]) is None
    assert held.redeem(held.give(Role.SEND)) is Role.SEND


def test_credentials_are_for_allowed_origins_alone(guarded: LiveServer) -> None:
    with guarded.client() as client:
        friend = client.get("/v1/sessions", headers=BEARER | {"origin": FRIEND})
        assert friend.headers["access-control-allow-origin"] == FRIEND
        assert friend.headers["access-control-allow-credentials"] == "true"
        foreign = client.get("/v1/sessions", headers=BEARER | {"origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert not [name for name in foreign.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["*", "lab.example", "https://lab.example/page"])
def test_a_frame_ancestor_that_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(UserError, match="frame ancestor"):
        driven_app(Settings(frame_ancestors=[origin]))


PAGE = """<!doctype html><title>elsewhere</title><img id="preview"><iframe id="frame"></iframe><script>
const read = async (service, token) => {
  const headers = {Authorization: `Bearer ${token}`};
  const ticket = async () =>
    (await (await fetch(`${service}/v1/tickets`, {method: 'POST', headers, credentials: 'include'})).json()).ticket;
  const socket = new WebSocket(`${service.replace('http', 'ws')}/v1/stream?session=desk&ticket=${await ticket()}`);
  const event = await new Promise((resolve, reject) => {
    socket.onmessage = ({data}) => resolve(JSON.parse(data));
    socket.onclose = () => reject(new Error('closed'));
  });
  const image = document.getElementById('preview');
  image.src = `${service}/v1/sessions/desk/preview?ticket=${await ticket()}`;
  for (let n = 0; n < 1200 && !image.naturalWidth; n++) await new Promise(done => setTimeout(done, 50));
  return [event.session, image.naturalWidth];
};
</script>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the page above."""
    (tmp_path / "index.html").write_text(PAGE, "utf-8")
    return tmp_path


def test_a_page_of_an_allowed_origin_uses_a_guarded_service(site: Path) -> None:
    with (
        static_site(site) as elsewhere,
        serving(token=SecretStr(TOKEN), allowed_origins=[elsewhere]) as guarded,
        chromium() as browser,
    ):
        session = guarded.open()
        session.emit()
        filming = threading.Event()

        def film() -> None:  # a browser shows a part when the next one begins
            t = 1.0
            while not filming.wait(0.1):
                session.show(t := t + 0.1)

        camera = threading.Thread(target=film, daemon=True)
        camera.start()
        page = browser.new_page()
        page.goto(elsewhere)
        assert page.evaluate("([url, token]) => read(url, token)", [guarded.url, TOKEN]) == ["desk", 64]
        filming.set()
        camera.join()
        with static_site(site) as foreign:
            page.goto(foreign)
            with pytest.raises(Exception, match="Failed to fetch"):
                page.evaluate("([url, token]) => read(url, token)", [guarded.url, TOKEN])


def test_only_named_pages_may_show_the_dashboard_in_a_frame(site: Path) -> None:
    with (
        static_site(site) as friend,
        static_site(site) as foreign,
        serving(frame_ancestors=[friend]) as server,
        chromium() as browser,
    ):
        headers = httpx.get(server.url, timeout=60).headers
        assert f"frame-ancestors {friend}" in headers["content-security-policy"]
        assert "x-frame-options" not in headers
        page = browser.new_page()
        for origin, shown in ((friend, True), (foreign, False)):
            page.goto(origin)
            page.evaluate("url => { document.getElementById('frame').src = url; }", server.url)
            page.wait_for_timeout(1500)
            while shown and not page.frames[-1].url.startswith(server.url):
                page.wait_for_timeout(50)
            page.frames[-1].wait_for_load_state()
            framed = page.frames[-1]
            assert (framed.url.startswith(server.url) and "Affectstream" in framed.title()) is shown
