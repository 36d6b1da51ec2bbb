"""What the page does to a session besides watching it: the neutral step, erasing, the report, its own choices."""

from pathlib import Path
from typing import Any

import pytest
from helpers.dashboard_page import (
    SAYS,
    findings,
    let_buttons_wait,
    opened,
    start_camera,
    wait_for_history,
    wait_for_numbers,
)  # fmt: skip
from helpers.kept_runtime import real_app
from helpers.live_server import LiveServer, serving

from service.runtime import Runtime


def watch_the_demo(page: Any) -> None:
    page.get_by_role("button", name="Watch the demo").click()
    wait_for_numbers(page)


def test_the_neutral_step_asks_for_ten_seconds_and_says_what_came_of_them(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        watch_the_demo(page)
        page.get_by_role("button", name="Look neutral").click()
        page.wait_for_function(SAYS, arg=["neutral-words", "Look neutral, please:"])
        assert page.get_by_role("button", name="Look neutral").is_disabled()
        page.wait_for_function(SAYS, arg=["neutral-words", "compared with this neutral face"], timeout=180_000)
        assert page.get_by_role("button", name="Look neutral").is_enabled()
        page.get_by_role("button", name="Stop").click()


def test_figures_from_before_the_neutral_step_do_not_end_it(browser: Any, server: LiveServer) -> None:
    looks: list[str] = []

    def from_before(route: Any) -> None:
        answer = route.fetch()
        listed = answer.json()
        for session in listed["sessions"]:
            session["figures"]["neutral"] = None
        looks.append(route.request.url)
        route.fulfill(response=answer, json=listed)

    def long(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "left_s": 600.0})

    with opened(browser, server) as page:
        watch_the_demo(page)
        page.route("**/v1/sessions", from_before)
        page.route("**/neutral", long)
        button = page.get_by_role("button", name="Look neutral")
        button.click()
        page.wait_for_function(SAYS, arg=["neutral-words", "Look neutral, please: 600 s"])
        before = len(looks)
        while len(looks) < before + 3:  # two of these have been shown by then
            page.wait_for_timeout(50)
        assert button.is_disabled()
        assert page.locator("#neutral-words").is_visible()
        page.unroute_all(behavior="wait")
        page.get_by_role("button", name="Stop").click()


def test_data_of_a_session_are_erased_only_when_asked_twice(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        let_buttons_wait(page)
        watch_the_demo(page)
        page.get_by_role("button", name="Sources").click()
        erase = page.locator("#sessions").get_by_role("button", name="Erase")
        erase.click()
        page.wait_for_function(SAYS, arg=["sessions", "Erase for everybody?"])
        erase.click()
        page.wait_for_function(SAYS, arg=["toasts", "Erased of"])
        page.get_by_role("button", name="Close", exact=True).first.click()
        wait_for_numbers(page)  # the session goes on
        page.get_by_role("button", name="Stop").click()


def test_the_report_of_the_session_is_saved_as_a_page(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        watch_the_demo(page)
        wait_for_history(page, 3)
        with page.expect_download() as saved:
            page.get_by_role("button", name="Report", exact=True).click()
        written = Path(saved.value.path()).read_text("utf-8")
        assert saved.value.suggested_filename.endswith(".html")
        assert "<svg" in written
        assert "one reading a second" in written
        page.get_by_role("button", name="Stop").click()


def test_sessions_that_this_page_opens_have_the_smoothing_that_was_chosen(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Smoothing").select_option("strong")
        page.wait_for_function(SAYS, arg=["session-model-note", "face-mt"])
        page.locator("#settings").get_by_role("button", name="Close").click()
        watch_the_demo(page)
        with server.client() as client:
            assert [one["smoothing"] for one in client.get("/v1/sessions").json()["sessions"]] == ["strong"]
        page.get_by_role("button", name="Stop").click()


TOKENS = {"view": "look at it only", "send": "show yourself", "manage": "run it all"}
MANAGED = ("Open", "Watch the demo")  # buttons that open a source on the service's side
SENT = ("Start the camera…", "Choose a file…")
CHANGES = ("Mark", "Look neutral", "Reset baseline")


def _seen(page: Any, names: tuple[str, ...]) -> list[str]:
    """Those of the buttons that can be seen."""
    return [name for name in names if page.get_by_role("button", name=name, exact=True).count()]


@pytest.mark.parametrize("role", TOKENS)
def test_what_a_token_may_not_do_is_not_offered(browser: Any, runtime: Runtime, role: str) -> None:
    tokens = [f"{name}:{token}" for name, token in TOKENS.items() if name != "manage"]
    app = real_app(runtime, token=TOKENS["manage"], tokens=tokens, max_logins_per_minute=100)
    with serving(app) as server, server.client(headers={"authorization": f"Bearer {TOKENS['manage']}"}) as manager:
        manager.post("/v1/sessions", json={"source": "demo:", "name": "demo"}).raise_for_status()
        with opened(browser, server) as page:
            page.get_by_label("Token").fill(TOKENS[role])
            page.get_by_role("button", name="Log in").click()
            page.locator("#sessions li").wait_for()
            assert _seen(page, MANAGED) == list(MANAGED if role == "manage" else ())
            assert _seen(page, SENT) == list(() if role == "view" else SENT)
            assert ("of the role manage" in page.locator("#role").inner_text()) is (role != "manage")
            page.get_by_role("button", name="Watch session demo").click()
            wait_for_numbers(page)
            assert _seen(page, CHANGES) == list(CHANGES if role == "manage" else ())
            page.get_by_role("button", name="Sources").click()
            offered = _seen(page.locator("#sessions"), ("Erase data session demo", "Close session demo"))
            assert len(offered) == (2 if role == "manage" else 0)
            assert findings(page) == []
            page.locator("#close-sources").click()
            page.keyboard.press("m")  # the key of a button that is not there
            said = "marker 1" if role == "manage" else "Your token may not mark moments of this session"
            page.wait_for_function(SAYS, arg=["toasts" if role == "manage" else "source-problem", said])
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Alerts").click()
            assert page.locator("#rule-form").is_visible() is (role == "manage")
            assert page.get_by_text("Your token may read the rules").is_visible() is (role != "manage")
            page.keyboard.press("Escape")
            if role == "send":  # what it sends is its own
                page.get_by_role("button", name="Stop").click()
                start_camera(page)
                wait_for_numbers(page)
                page.get_by_role("button", name="Mark", exact=True).wait_for()
                assert _seen(page, CHANGES) == list(CHANGES)
            assert findings(page) == []


def test_what_the_token_may_do_is_asked_when_it_may_have_changed_and_not_at_every_look(
    browser: Any, server: LiveServer
) -> None:
    listed: dict[str, Any] = {"sessions": []}  # said here: on a busy machine the service may take too long for the page
    with opened(browser, server) as page:
        page.goto("about:blank")  # so that the page before asks nothing more
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
        page.route("**/v1/sessions", lambda route: route.fulfill(json=listed))
        page.goto(f"{server.url}/?lang=en")

        def times(path: str) -> int:
            return asked.count(path)

        def asked_for(path: str, count: int) -> None:
            """Until it was asked for so often."""
            while times(path) < count:
                page.wait_for_timeout(100)

        def look(more: int) -> None:
            asked_for("/v1/sessions", times("/v1/sessions") + more)

        asked_for("/v1/access", 1)
        look(4)
        assert times("/v1/access") == 1
        with server.client() as client:
            client.post("/v1/sessions", json={"source": "demo:", "name": "another"}).raise_for_status()
            listed["sessions"] = [client.get("/v1/sessions/another").json()]
            asked_for("/v1/access", 2)
            look(3)
            assert times("/v1/access") == 2
            client.delete("/v1/sessions/another")


def test_the_camera_is_asked_for_the_size_that_was_chosen(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.evaluate(
            "() => navigator.mediaDevices.getUserMedia = async ({video}) => {"
            " document.body.dataset.asked = `${video.width.ideal}x${video.height.ideal}`;"
            " throw new DOMException('', 'NotFoundError'); }"
        )
        page.get_by_label("Size").select_option("1280x720")
        start_camera(page)
        page.wait_for_function("() => document.body.dataset.asked === '1280x720'")
        page.wait_for_function(SAYS, arg=["source-problem", "was not found"])
