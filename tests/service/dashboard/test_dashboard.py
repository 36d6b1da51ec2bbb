"""The dashboard as users have it: a real browser, its camera, WHIP, the models, and the numbers on the page."""

import csv
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.browser import chromium, write_camera
from helpers.dashboard_page import (
    SAYS,
    agree,
    findings,
    let_buttons_wait,
    opened,
    picture,
    start_camera,
    wait_for_history,
    wait_for_numbers,
)  # fmt: skip
from helpers.kept_runtime import real_app
from helpers.live_server import LiveServer, serving
from numpy.typing import NDArray

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.purpose import PURPOSES
from service.runtime import Runtime


def test_a_camera_becomes_drawn_numbers(browser: Any, server: LiveServer, tmp_path: Path) -> None:
    with opened(browser, server, accept_downloads=True) as page:
        start_camera(page)
        wait_for_numbers(page)
        assert page.inner_text("#expression") in EXPRESSIONS
        assert "Reading face" in page.inner_text("#status")
        bars = page.locator("#expression-bars li")
        assert bars.count() == len(EXPRESSIONS)
        assert 95 <= sum(int(text.split("\n")[-1]) for text in bars.all_inner_texts()) <= 105
        named = {f"{code} {name}" for code, name in ACTION_UNITS.items()}
        units = page.locator("#unit-bars .name").all_inner_texts()
        assert units
        assert {" ".join(unit.split()) for unit in units} <= named
        missing = set(ACTION_UNITS) - {unit.split()[0] for unit in units}
        assert set(re.findall(r"AU\d\d", page.inner_text("#units-missing"))) == missing
        page.wait_for_function("() => /\\d+ \\/ \\d+ ms/.test(document.getElementById('latency').textContent)")
        page.check("#landmarks")
        page.wait_for_function("id => !document.getElementById(id).textContent.startsWith('no')", arg="sound")
        picture(page, "camera")

        page.get_by_role("button", name="Pause").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Export CSV").click()
        saved = tmp_path / "shown.csv"
        download.value.save_as(saved)
        rows = [*csv.DictReader(saved.read_text("utf-8").splitlines())]
        times = [float(row["timestamp"]) for row in rows]
        assert times == sorted(times)
        assert -1 <= float(rows[-1]["valence"]) <= 1
        assert rows[-1]["AU12_p"]
        assert page.inner_text("#pause") == "Back to live"

        page.get_by_role("button", name="Stop").click()
        while page.request.get(f"{server.url}/v1/sessions").json()["sessions"]:
            page.wait_for_timeout(200)


def test_a_filmed_smile_reads_as_happiness(server: LiveServer, shared: Path, tmp_path: Path) -> None:
    camera = tmp_path / "camera.y4m"
    with av.open(str(shared / "data/video/one_face_expressive.mp4")) as clip, camera.open("wb") as film:
        film.write(b"YUV4MPEG2 W640 H360 F24:1 Ip A1:1 C420jpeg\n")
        for frame in clip.decode(video=0):
            if 13 <= frame.time < 17:
                film.write(b"FRAME\n" + frame.to_ndarray(format="yuv420p").tobytes())
    with chromium(camera) as browser, opened(browser, server) as page:
        start_camera(page)
        wait_for_numbers(page)
        page.wait_for_function(SAYS, arg=["expression", "happiness"])
        assert page.inner_text("#valence").startswith("+")


def test_the_camera_waits_for_consent(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.evaluate("() => { const media = navigator.mediaDevices; window.asked = 0;"
                      " const give = media.getUserMedia.bind(media);"
                      " media.getUserMedia = (wish) => { window.asked++; return give(wish); }; }")  # fmt: skip
        page.get_by_role("button", name="Start the camera…").click()
        card = page.get_by_role("dialog")
        for promise in ("What is measured", "not what you feel", "No picture and no sound is stored", "at any time"):
            assert promise in card.inner_text()
        assert findings(page) == []
        picture(page, "consent")
        card.get_by_role("button", name="Not now").click()
        page.wait_for_function("() => !document.getElementById('consent').open")
        assert page.evaluate("window.asked") == 0


def test_the_camera_waits_for_a_purpose(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Start the camera…").click()
        card = page.get_by_role("dialog")
        purpose = card.get_by_label("What it is for")
        offered = [option.get_attribute("value") for option in purpose.locator("option").all()]
        assert offered == ["", *PURPOSES]
        card.get_by_role("button", name="Start the camera").click()
        assert card.is_visible()  # nothing was chosen
        purpose.select_option("other")
        card.get_by_label("In words").fill("watching my employees")
        assert findings(page) == []
        card.get_by_role("button", name="Start the camera").click()
        page.wait_for_function(SAYS, arg=["source-problem", "Article 5(1)(f) of the EU AI Act"])

        page.get_by_role("button", name="Start the camera…").click()
        card.get_by_label("In words").fill("a rehearsal")
        card.get_by_label("In words").press("Enter")
        wait_for_numbers(page)
        (session,) = page.evaluate("async () => (await (await fetch('/v1/sessions')).json()).sessions")
        assert session["purpose"] == "other: a rehearsal"
        page.get_by_role("button", name="Stop").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_consent_card_leads_to_the_notice(browser: Any, server: LiveServer, scheme: str) -> None:
    with opened(browser, server, color_scheme=scheme) as page:
        page.get_by_role("button", name="Start the camera…").click()
        picture(page, f"consent-{scheme}")
        with page.context.expect_page() as opening:
            page.get_by_role("link", name="notice").click()
        notice = opening.value
        notice.wait_for_load_state()
        assert notice.url == f"{server.url}/notice"
        assert "A camera here reads faces" in notice.inner_text("h1")
        assert notice.evaluate("getComputedStyle(document.body).maxWidth") == "680px"  # the policy allows its style
        assert findings(notice) == []
        picture(notice, f"notice-{scheme}")


def test_a_denied_camera_is_explained(server: LiveServer, portrait: NDArray[np.uint8], tmp_path: Path) -> None:
    camera = write_camera(tmp_path / "camera.y4m", portrait, seconds=0.2)
    with chromium(camera, allow=False) as browser, opened(browser, server) as page:
        start_camera(page)
        page.wait_for_function(SAYS, arg=["source-problem", "The camera was not allowed"])
        assert page.get_by_role("button", name="Start the camera…").is_enabled()


def test_without_a_face_no_number_is_made_up(server: LiveServer, tmp_path: Path) -> None:
    grey = np.full((360, 640, 3), 128, np.uint8)
    camera = write_camera(tmp_path / "camera.y4m", grey, seconds=0.5)
    with chromium(camera) as browser, opened(browser, server) as page:
        start_camera(page)
        page.wait_for_function(SAYS, arg=["status-words", "Looking for a face"], timeout=180_000)
        page.wait_for_function(SAYS, arg=["announcer", "Looking for a face"])
        assert page.inner_text("#valence") == page.inner_text("#arousal") == page.inner_text("#expression") == "–"
        picture(page, "no-face")


def test_two_tabs_have_a_session_each(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as first, opened(browser, server) as second:
        for page in (first, second):
            start_camera(page)
            wait_for_numbers(page)
        names = {page.inner_text("#watching-name") for page in (first, second)}
        assert len(names) == 2


def test_a_clip_is_played_and_sent_like_a_camera(
    browser: Any, server: LiveServer, portrait: NDArray[np.uint8], tmp_path: Path
) -> None:
    clip = tmp_path / "clip.webm"
    with av.open(clip, "w") as container:
        stream = container.add_stream("libvpx", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        small = np.ascontiguousarray(portrait[40:360:1, 60:380:1])
        for _ in range(72):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small, "rgb24")))
        container.mux(stream.encode(None))
    with opened(browser, server) as page:
        page.set_input_files("#clip", clip)
        agree(page, "Read the file", "own use")
        wait_for_numbers(page)
        assert page.inner_text("#watching-source") == "clip.webm"
        page.wait_for_timeout(4000)  # longer than the clip: it goes round
        page.wait_for_function(SAYS, arg=["status-words", "Reading face"])
        page.get_by_role("button", name="Stop").click()


def test_the_page_comes_back_after_the_service_does(browser: Any, runtime: Runtime) -> None:
    with serving(real_app(runtime)) as server:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.goto(server.url)
        start_camera(page)
        wait_for_numbers(page)
    page.wait_for_function(SAYS, arg=["status-words", "Reconnecting"])
    page.wait_for_function(SAYS, arg=["veil", "Reconnecting"])
    picture(page, "reconnecting")
    with serving(real_app(runtime), port=server.port):
        page.wait_for_function(SAYS, arg=["status-words", "Reading face"], timeout=180_000)
        wait_for_numbers(page)
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_demo_is_watched_without_serious_accessibility_findings(
    browser: Any, server: LiveServer, scheme: str
) -> None:
    with opened(browser, server, color_scheme=scheme) as page:
        assert findings(page) == []
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        assert page.get_attribute("html", "data-theme") == scheme
        assert findings(page) == []
        picture(page, f"demo-{scheme}")
        page.get_by_role("button", name="Sources").click()
        page.wait_for_function("() => document.querySelector('#sessions li')")
        assert findings(page) == []
        picture(page, f"sources-{scheme}")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Stop").click()


def test_a_phone_scrolls_one_way_only(browser: Any, server: LiveServer) -> None:
    wide = "() => document.documentElement.scrollWidth - innerWidth"
    with opened(browser, server, viewport={"width": 360, "height": 780}) as page:
        assert page.evaluate(wide) <= 0
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        assert page.evaluate(wide) <= 0
        assert findings(page) == []
        picture(page, "phone")
        page.get_by_role("button", name="Stop").click()


def test_a_refused_address_says_why(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_label("RTSP or HTTP address").fill("rtsp://camera.example/live")
        page.get_by_role("button", name="Open").click()
        agree(page, "Open the camera")
        page.wait_for_function(SAYS, arg=["source-problem", "may not be opened from here"])


def test_who_is_not_logged_in_is_asked_for_the_token(browser: Any, runtime: Runtime) -> None:
    with serving(real_app(runtime, token="t" * 24)) as server, opened(browser, server) as page:
        page.wait_for_url("**/login")
        page.get_by_label("Token").fill("t" * 24)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        page.context.clear_cookies()  # logged out elsewhere
        page.wait_for_url("**/login")


def test_the_consent_card_says_what_the_voice_is_read_for(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Start the camera…").click()
        said = page.inner_text("#consent")
        assert "how pleasant, how activated and which of the expressions the voice sounds like" in said
        assert "part of the numbers shown for the face" in said
        page.get_by_label("Use the microphone too").uncheck()
        agree(page)
        wait_for_numbers(page)
        assert page.input_value("#microphone") == "none"
        page.wait_for_function(SAYS, arg=["sound", "no sound"])
        page.get_by_role("button", name="Stop").click()


def test_one_time_cursor_moves_numbers_bars_and_units_together(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        wait_for_history(page, 4)
        page.focus("#charts")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        assert page.is_visible("#moment")  # the next frame shows the chosen moment, and all of it
        assert page.inner_text("#moment-words").startswith("At 0:")
        held = [
            page.inner_text(f"#{name}") for name in ("valence", "arousal", "expression", "unit-bars", "moment-words")
        ]
        page.wait_for_timeout(1500)
        assert held == [
            page.inner_text(f"#{name}") for name in ("valence", "arousal", "expression", "unit-bars", "moment-words")
        ]
        page.keyboard.press("Escape")
        page.wait_for_function("() => document.getElementById('moment').hidden")
        page.get_by_role("button", name="Stop").click()


def test_figures_are_not_read_out_each_time_they_change(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        live = page.evaluate(
            "() => [...document.querySelectorAll('output, [aria-live], [role=status], [role=alert]')]"
            ".filter(e => e.getAttribute('aria-live') !== 'off').map(e => e.id)"
        )
        assert set(live) == {"announcer", "untrained", "source-problem", "rule-problem", "toasts"}


def test_a_session_is_closed_only_when_asked_twice(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        let_buttons_wait(page)
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        page.get_by_role("button", name="Sources").click()
        close = page.locator("#sessions").get_by_role("button", name=re.compile("^Close"))
        stop, other, ending = (
            button.evaluate("button => getComputedStyle(button).color")
            for button in (page.locator("#stop"), page.locator("#open-settings"), close.first)
        )
        assert ending == stop != other  # what ends a session looks like it
        close.first.click()
        page.wait_for_timeout(1500)
        assert "Close for everybody?" in close.first.inner_text()
        assert page.locator("#sessions li").count() == 1
        close.first.click()
        page.wait_for_function("() => !document.querySelector('#sessions li')")


def test_where_the_service_does_not_answer_nobody_says_that_nothing_runs(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        with server.client() as client:
            client.post("/v1/sessions", json={"source": "demo:", "name": "left"}).raise_for_status()
        page.locator("#sessions .session-state", has_text="live").wait_for()
        page.route("**/v1/sessions", lambda route: route.abort())
        page.wait_for_function(SAYS, arg=["no-sessions", "not known now"])
        assert page.locator("#sessions .session-state").inner_text() == ""  # nor is it called live any more


def test_a_link_opens_its_session_and_a_pinned_unit_stays_pinned(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        name = page.inner_text("#watching-name")
        other = page.context.new_page()
        other.goto(f"{server.url}/?session={name}")
        wait_for_numbers(other)
        assert other.inner_text("#watching-name") == name
        unit = other.locator("#unit-bars button.name").first
        unit.click()
        assert unit.get_attribute("aria-pressed") == "true"
        assert findings(other) == []
        other.close()
        page.get_by_role("button", name="Stop").click()


def test_charts_are_labelled_in_whole_pixels_on_a_sharp_screen(browser: Any, server: LiveServer) -> None:
    fonts = "() => [...document.querySelectorAll('.u-axis')].length"
    with opened(browser, server, device_scale_factor=2, viewport={"width": 1440, "height": 900}) as page:
        spy = """() => { window.fonts = new Set(); const set = Object.getOwnPropertyDescriptor(
          CanvasRenderingContext2D.prototype, 'font').set; Object.defineProperty(CanvasRenderingContext2D.prototype,
          'font', {set(value) { window.fonts.add(value); set.call(this, value); }, get() { return ''; }}); }"""
        page.evaluate(spy)
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        assert page.evaluate(fonts) >= 4
        sizes = page.evaluate("() => [...window.fonts].map(f => parseFloat(f.match(/([\\d.]+)px/)[1]))")
        assert min(sizes) >= 9  # pixels of the canvas, of which a sharp screen has two for each pixel of the page
        page.get_by_role("button", name="Stop").click()


def test_who_comes_later_sees_the_session_from_its_beginning(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Watch the demo").click()
        wait_for_numbers(page)
        name = page.inner_text("#watching-name")
        wait_for_history(page, 4)
        past = page.request.get(f"{server.url}/v1/sessions/{name}/history").json()
        times = [row[past["columns"].index("t")] for row in past["rows"]]
        assert times == sorted(times)
        assert len(times) >= 4
        assert page.request.get(f"{server.url}/v1/sessions/nobody/history").status == 404
        assert page.request.get(f"{server.url}/v1/sessions/{name}/history?resolution=0").status == 422
        with page.context.expect_page() as opening:
            page.evaluate(f"() => void window.open('/?session={name}')")
        other = opening.value
        with other.expect_response("**/history") as answer:
            other.reload()
        assert answer.value.json()["rows"][0][0] == times[0]
        wait_for_numbers(other)
        other.close()
        page.get_by_role("button", name="Stop").click()


def test_a_wrong_token_is_said_and_who_logs_out_needs_the_token_again(browser: Any, runtime: Runtime) -> None:
    with serving(real_app(runtime, token="t" * 24)) as server, opened(browser, server) as page:
        page.wait_for_url("**/login")
        assert not page.locator("[role=alert]").count()
        page.get_by_label("Token").fill("x" * 24)
        page.get_by_role("button", name="Log in").click()
        assert "The token is wrong" in page.get_by_role("alert").inner_text()
        assert findings(page) == []
        page.get_by_label("Token").fill("t" * 24)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto(server.url)
        page.wait_for_url("**/login")


def test_where_no_token_is_asked_for_there_is_no_logging_out(browser: Any, server: LiveServer) -> None:
    with opened(browser, server) as page:
        page.wait_for_function(SAYS, arg=["no-sessions", "No session is running"])
        assert page.get_by_role("button", name="Log out").count() == 0
