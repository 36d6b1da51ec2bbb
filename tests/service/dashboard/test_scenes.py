"""What the page says and draws of scenes that cameras show now and then: covered, dark, lost faces, voices, faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from helpers.dashboard_page import SAYS, findings, opened
from helpers.live_server import LiveServer, serving
from helpers.staged_scenes import Stage

STATUS = {  # scene -> tone and words of the status line
    "voice": ("good", "Reading face 1"),
    "occluded": ("wait", "Partly covered: a hand or a mask hides what would be read"),
    "dark": ("wait", "Too dark to read: more light is needed"),
    "lost": ("wait", "Face lost: holding its last value"),
    "nobody": ("wait", "Looking for a face"),
    "several": ("good", "Reading 4 faces, showing face 1"),
    "stalled": ("bad", "The pictures have stopped coming"),
    "source-lost": ("bad", "Reconnecting to the source: rtsp://camera.local does not answer"),
    "failed": ("bad", "Failed: rtsp://camera.local sends no video that can be read"),
}
BOXED = {"voice": True, "dark": True, "occluded": True, "lost": False, "nobody": False}
# Pixels of the first track's colour in the picture: its box and the chip with its name.
COLOURED = """() => {
  const canvas = document.getElementById('picture');
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let n = 0; n < data.length; n += 4)
    if (Math.abs(data[n] - 0xf0) + Math.abs(data[n + 1] - 0xb4) + Math.abs(data[n + 2] - 0x29) < 6) found++;
  return found; }"""
DRAWN = """id => {
  const canvas = document.getElementById(id);
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size; }"""


@pytest.fixture(scope="module")
def staged() -> Iterator[tuple[LiveServer, Stage]]:
    with serving() as server, Stage(server).playing() as stage:
        yield server, stage


@pytest.fixture(scope="module")
def page(browser: Any, staged: tuple[LiveServer, Stage]) -> Iterator[Any]:
    """A tab that watches the stage."""
    server, stage = staged
    stage.show("voice")
    with opened(browser, server, "?session=desk") as page:
        yield page


@pytest.mark.parametrize("scene", STATUS)
def test_the_status_line_says_what_can_be_read_and_what_not(
    page: Any, staged: tuple[LiveServer, Stage], scene: str
) -> None:
    staged[1].show(scene)
    tone, words = STATUS[scene]
    page.wait_for_function("words => document.getElementById('status-words').textContent === words", arg=words)
    page.wait_for_function("tone => document.getElementById('status').dataset.tone === tone", arg=tone)
    if tone == "bad":
        page.wait_for_function(SAYS, arg=["veil", words])  # the old picture is not taken for a live one


@pytest.mark.parametrize("scene", BOXED)
def test_a_face_has_a_box_while_it_is_in_view_also_where_it_is_not_read(
    page: Any, staged: tuple[LiveServer, Stage], scene: str
) -> None:
    staged[1].show(scene)
    page.wait_for_function(SAYS, arg=["status-words", STATUS[scene][1]])
    page.wait_for_function(f"want => ({COLOURED})() > 40 === want", arg=BOXED[scene])


def test_the_voice_is_shown_beside_what_it_changed(page: Any, staged: tuple[LiveServer, Stage]) -> None:
    staged[1].show("voice")
    page.wait_for_function(SAYS, arg=["voice-words", "voice −0.57, shown"])
    assert page.inner_text("#sound") == "speech"
    staged[1].show("nobody")
    page.wait_for_function("() => document.getElementById('voice-words').textContent === ''")


def test_ribbon_units_and_face_map_are_drawn_over_time(page: Any, staged: tuple[LiveServer, Stage]) -> None:
    staged[1].show("voice")
    page.wait_for_function(f"() => ({DRAWN})('lanes') > 8 && ({DRAWN})('overview') > 3")
    moving = "() => [...document.querySelectorAll('#face-map .part')].filter(part => Number(part.style.opacity) > 0.2)"
    page.wait_for_function(f"{moving}.length > 4")


@contextmanager
def reading(browser: Any, staged: tuple[LiveServer, Stage], query: str = "") -> Iterator[Any]:
    """A page of its own, at an address with `query`, that shows the reading of one face."""
    server, stage = staged
    stage.show("voice")
    with opened(browser, server, f"?session=desk{query}") as page:
        page.wait_for_function(SAYS, arg=["status-words", "Reading face 1"])
        yield page


def test_a_held_picture_stays_when_the_window_changes(browser: Any, staged: tuple[LiveServer, Stage]) -> None:
    with reading(browser, staged) as page:
        page.wait_for_function(f"() => ({DRAWN})('picture') > 500")
        page.keyboard.press(" ")
        staged[1].show("nobody")
        page.wait_for_function(SAYS, arg=["status-words", "Looking for a face"])
        page.wait_for_timeout(1500)  # the page has let go of every picture of then
        page.set_viewport_size({"width": 1000, "height": 700})
        page.wait_for_function(f"() => ({DRAWN})('picture') > 500")


def test_numbers_of_untrained_weights_are_said_to_mean_nothing(page: Any, staged: tuple[LiveServer, Stage]) -> None:
    staged[1].show("voice")
    page.wait_for_function("() => document.getElementById('untrained').hidden")
    staged[1].show("untrained")  # a session's own model, while the service's is trained
    page.wait_for_function("() => !document.getElementById('untrained').hidden")


def test_a_kiosk_shows_numbers_and_no_buttons(browser: Any, staged: tuple[LiveServer, Stage]) -> None:
    with reading(browser, staged, "&kiosk=1") as page:
        assert page.locator("button:not(.name):visible").count() == 0  # names of units do not look like buttons
        assert page.locator("#valence").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_scenes_have_no_accessibility_findings(browser: Any, staged: tuple[LiveServer, Stage], theme: str) -> None:
    server, stage = staged
    with opened(browser, server, "?session=desk", color_scheme=theme) as page:
        for scene in ("several", "occluded", "failed", "untrained"):
            stage.show(scene)
            page.wait_for_timeout(700)
            assert findings(page) == [], scene
        stage.show("several")
        page.get_by_role("tab", name="All faces").click()
        page.wait_for_function("() => document.querySelectorAll('#face-cards li').length === 4")
        assert findings(page) == []
        for button in ("Settings", "Sources", "Alerts", "Keys and what the numbers mean"):
            page.get_by_role("button", name=button).click()
            assert findings(page) == [], button
            page.keyboard.press("Escape")
