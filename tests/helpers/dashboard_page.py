"""The dashboard in a real browser, for tests: tabs that must not complain, and what they wait for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helpers.live_server import LiveServer
from helpers.repository import ROOT

PAGE = ROOT / "service" / "dashboard"
AXE = PAGE / "node_modules" / "axe-core" / "axe.min.js"
ARTEFACTS = ROOT / "test-artefacts"
HAS_NUMBER = "id => /^[+−]?[01]\\.\\d\\d$/.test(document.getElementById(id).textContent)"
SAYS = "([id, text]) => document.getElementById(id).textContent.includes(text)"
FINDINGS = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter(found => ['serious', 'critical'].includes(found.impact))
  .map(found => `${found.id}: ${found.nodes.map(node => node.target + ' ' + node.failureSummary).join(' | ')}`)"""


@contextmanager
def opened(browser: Any, server: LiveServer, query: str = "", **options: Any) -> Iterator[Any]:
    """A tab with the dashboard at an address with `query`, and contexts' `options`.

    It must not have complained when it is left, and leaves no session to the next.
    """
    before = _sessions(server)
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
    context.set_default_timeout(180_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(f"{server.url}/{query}")
    try:
        yield page
    finally:
        context.close()
        with server.client() as client:
            for session in _sessions(server) - before:
                client.delete(f"/v1/sessions/{session}")
    assert complaints == []


def _sessions(server: LiveServer) -> set[str]:
    """The names of the open sessions; none of a service that wants a token."""
    with server.client() as client:
        listed = client.get("/v1/sessions")
        return {one["id"] for one in listed.json()["sessions"]} if listed.is_success else set()


def agree(page: Any, button: str = "Start the camera", purpose: str = "research") -> None:
    """Say on the consent card what it is for, and agree."""
    card = page.get_by_role("dialog")
    card.get_by_label("What it is for").select_option(purpose)
    card.get_by_role("button", name=button).click()


def start_camera(page: Any) -> None:
    page.get_by_role("button", name="Start the camera…").click()
    agree(page)


def let_buttons_wait(page: Any) -> None:
    """Load the page anew, so that a button that asks waits for a minute: a machine may be held up for some seconds."""
    (usual,) = re.findall(r"const ASK_FOR = (\d+);", (PAGE / "src" / "sessions_list.ts").read_text("utf-8"))
    page.add_init_script(
        "const later = window.setTimeout;"
        f"window.setTimeout = (run, wait, ...rest) => later(run, wait === {usual} ? 60_000 : wait, ...rest);"
    )
    page.reload()


def wait_for_numbers(page: Any) -> None:
    for name in ("valence", "arousal"):
        page.wait_for_function(HAS_NUMBER, arg=name, timeout=180_000)


def wait_for_history(page: Any, rows: int) -> None:
    """Until the service has so many rows of the session that is watched."""
    name = page.inner_text("#watching-name")
    while len(page.request.get(f"{page.url.partition('?')[0]}v1/sessions/{name}/history").json()["rows"]) < rows:
        page.wait_for_timeout(200)


def picture(page: Any, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"dashboard-{name}.png")


def findings(page: Any) -> list[str]:
    """Serious and critical findings of axe-core."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE.read_text("utf-8") + ";undefined")
    found: list[str] = page.evaluate(FINDINGS)
    return found
