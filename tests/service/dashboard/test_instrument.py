"""What makes the dashboard an instrument: all faces, markers, recordings, alerts, settings, languages, sizes."""

import contextlib
import csv
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser import chromium, write_camera
from helpers.dashboard_page import (
    PAGE,
    SAYS,
    findings,
    opened,
    picture,
    start_camera,
    wait_for_history,
    wait_for_numbers,
)  # fmt: skip
from helpers.live_server import LiveServer
from helpers.streams import until
from numpy.typing import NDArray
from playwright.sync_api import TimeoutError

from models.labels import ACTION_UNITS, EXPRESSIONS
from service import docs
from service.publish.table import COLUMNS
from service.purpose import PURPOSES
from service.roles import RoleNeeded
from service.web.problem import STATUS
from service.web.problem_details import details

SOURCES = PAGE / "src"
# Seconds that were recorded, beyond those that are wanted.
BEYOND = "wanted => Number(/0:([0-9]+)/.exec(document.getElementById('record-words').textContent)?.[1]) - wanted"
RECORDED = f"wanted => ({BEYOND})(wanted) >= 0"


@pytest.fixture(scope="module")
def demo(server: LiveServer) -> Iterator[str]:
    """The query of the page on a session that all tests here watch."""
    with server.client() as client:
        client.post("/v1/sessions", json={"source": "demo:", "name": "demo"}).raise_for_status()
        yield "?session=demo"
        client.delete("/v1/sessions/demo")


@pytest.fixture
def watched(browser: Any, server: LiveServer, demo: str) -> Iterator[Any]:
    """A tab that watches it."""
    with opened(browser, server, demo, accept_downloads=True) as page:
        wait_for_numbers(page)
        yield page


def test_each_person_has_a_card_with_a_name_a_picture_and_a_line(
    server: LiveServer, portrait: NDArray[np.uint8], tmp_path: Path
) -> None:
    two = np.tile(portrait[20:290, 60:380], (1, 2, 1))
    with (
        chromium(write_camera(tmp_path / "camera.y4m", two)) as browser,
        opened(browser, server) as page,
    ):
        start_camera(page)
        page.wait_for_function(SAYS, arg=["status-words", "Reading 2 faces"], timeout=180_000)
        page.get_by_role("tab", name="All faces").click()
        page.wait_for_function("() => document.querySelectorAll('#face-cards li').length === 2")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.card-picture')].every(canvas => { const {data} ="
            " canvas.getContext('2d').getImageData(0, 0, 96, 96); return data.some(value => value > 128); })"
        )
        valences = page.locator(".card-figures dd").all_inner_texts()
        assert all(re.fullmatch(r"[+−]?[01]\.\d\d", text) for text in valences)
        page.wait_for_function(SAYS, arg=["group-mean", "valence"])
        card = page.locator("#face-cards li").first
        card.get_by_role("textbox").fill("Ada")
        card.get_by_role("textbox").press("Enter")
        page.wait_for_function(SAYS, arg=["tracks", "Ada"])
        assert page.evaluate("() => Object.values({...localStorage}).join().includes('Ada')") is False
        assert findings(page) == []
        picture(page, "faces")
        page.get_by_role("tab", name="All faces").press("ArrowLeft")
        assert page.locator("#one-face").is_visible()


def test_numbers_are_recorded_summed_up_and_saved_as_analyze_saves_them(watched: Any, tmp_path: Path) -> None:
    watched.keyboard.press("r")
    watched.wait_for_function(RECORDED, arg=2)
    watched.keyboard.press("m")
    watched.wait_for_function(SAYS, arg=["toasts", "marker 1"])
    watched.wait_for_function(RECORDED, arg=watched.evaluate(BEYOND, 0) + 2)  # the marker came before that
    watched.keyboard.press("r")
    card = watched.get_by_role("dialog", name="What was recorded")
    assert "Face" in card.inner_text()
    assert "marker 1" in watched.inner_text("#summary-markers")
    assert findings(watched) == []
    picture(watched, "summary")
    with watched.expect_download() as download:
        card.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "numbers.csv")
    table = csv.DictReader((tmp_path / "numbers.csv").read_text("utf-8").splitlines())
    rows = list(table)
    assert table.fieldnames == [column.name for column in COLUMNS]
    assert [int(row["frame"]) for row in rows] == list(range(1, len(rows) + 1))
    times = [float(row["timestamp"]) for row in rows]
    assert times == sorted(times)
    assert times[-1] - times[0] > 2
    assert sum("marker 1" in row["marker"] for row in rows) == 1
    assert {row["last_marker"] for row in rows} == {"", "marker 1"}
    read = [row for row in rows if row["success"] == "1"]
    assert all(row["expression"] in EXPRESSIONS and -1 <= float(row["valence"]) <= 1 for row in read)
    assert all(int(row["AU12_c"]) == (float(row["AU12_p"]) >= 0.5) for row in read)
    with watched.expect_download() as download:
        card.get_by_role("button", name="JSON").click()
    download.value.save_as(tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    mean = np.mean([float(row["valence"]) for row in read])
    assert summary["faces"][0]["valence"]["mean"] == pytest.approx(mean, abs=0.001)
    assert summary["pictures"] == len({row["frame"] for row in rows})


def test_a_marker_stands_in_the_history_at_the_chosen_moment(watched: Any, server: LiveServer) -> None:
    wait_for_history(watched, 3)
    watched.focus("#charts")
    watched.keyboard.press("ArrowLeft")
    watched.wait_for_function("() => !document.getElementById('moment').hidden")
    watched.get_by_label("Label of the next marker").fill("smile")
    watched.get_by_role("button", name="Mark", exact=True).click()
    watched.wait_for_function(SAYS, arg=["toasts", "Marked: smile"])
    with server.client() as client:  # it is in the history once an event has reported it
        marker = until(
            lambda: next(
                (one for one in client.get("/v1/sessions/demo/history").json()["markers"] if one["label"] == "smile"),
                None,
            )
        )
    shown = watched.inner_text("#moment-words").split()[1].rstrip(".").split(":")
    assert marker["t"] == pytest.approx(60 * float(shown[0]) + float(shown[1]), abs=0.06)


def test_a_rule_raises_an_alert_on_the_page(watched: Any) -> None:
    watched.get_by_role("button", name="Alerts").click()
    watched.select_option("#rule-value", "valence")
    watched.fill("#rule-threshold", "-0.95")
    watched.fill("#rule-seconds", "0,2")
    watched.fill("#rule-name", "awake")
    watched.get_by_role("button", name="Add").click()
    watched.wait_for_function(SAYS, arg=["rules", "valence > -0.95 for 0.2 s"])
    assert findings(watched) == []
    picture(watched, "alerts")
    watched.wait_for_function(SAYS, arg=["toasts", "Alert awake"])
    watched.fill("#rule-threshold", "7")
    watched.get_by_role("button", name="Add").click()
    watched.wait_for_function(SAYS, arg=["rule-problem", "7"])
    watched.get_by_role("button", name="Remove the rule awake").click()
    watched.wait_for_function("() => !document.getElementById('no-rules').hidden")


def test_a_rule_on_a_unit_that_the_model_does_not_give_is_said_to_raise_nothing(watched: Any) -> None:
    watched.get_by_role("button", name="Alerts").click()
    card = watched.get_by_role("dialog")
    card.get_by_label("Value").select_option("AU11")
    card.get_by_label("for seconds").fill("0")
    card.get_by_role("button", name="Add").click()
    # At once, or once the service has read the face for long enough to tell.
    watched.wait_for_function("() => document.getElementById('alerts').innerText.includes('not give')")
    for remove in card.get_by_role("button", name="Remove the rule").all():
        remove.click()
    card.get_by_text("This session has no rules.").wait_for()


def test_the_names_of_the_weights_lead_to_their_cards(watched: Any) -> None:
    for name, weights in ("model", "face-mt"), ("voice-model", "voice-mt"):
        with watched.expect_popup() as opened_card:
            watched.locator(f"#{name}").click()
        card = opened_card.value
        card.wait_for_load_state()
        assert card.inner_text("h1").startswith(f"{weights}-")
        assert findings(card) == []
        card.close()


def test_the_picture_is_graded_and_the_deviation_put_into_words(watched: Any) -> None:
    for name in ("Light", "Size", "Turned", "Covered", "Dropped"):
        watched.wait_for_function(
            "name => [...document.querySelectorAll('#quality div')].some(row => row.innerText.startsWith(name)"
            " && /\\d/.test(row.innerText))",
            arg=name,
        )
    assert re.search(r"± \d\.\d\d, (very un|un|fairly )?sure", watched.inner_text("#valence-std"))
    watched.wait_for_function(SAYS, arg=["certainty", "two thirds of people would rate"])


def test_a_first_visit_explains_the_numbers_until_they_were_read(watched: Any) -> None:
    assert "Valence is how unpleasant" in watched.locator(".hint").first.inner_text()
    assert "one movement of the face" in watched.locator(".hint").last.inner_text()
    watched.get_by_role("button", name="Got it").first.click()
    assert watched.locator(".hint:visible").count() == 0
    watched.reload()
    assert watched.locator(".hint:visible").count() == 0


FORBIDDEN = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }"


@pytest.mark.parametrize("storage", [FORBIDDEN, FULL])
def test_without_storage_settings_last_until_the_page_is_closed(browser: Any, server: LiveServer, storage: str) -> None:
    with opened(browser, server, color_scheme="light") as page:
        page.add_init_script(storage)
        page.reload()
        page.get_by_role("button", name="Settings").click()
        page.select_option("#theme", "dark")
        assert page.get_attribute("html", "data-theme") == "dark"
        assert "stores nothing" in page.inner_text("#storage-note")
        page.select_option("#theme", "system")
        assert page.get_attribute("html", "data-theme") == "light"
        assert findings(page) == []
        picture(page, "settings")


class _Texts(HTMLParser):
    """Every sentence of the page that people read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        self.found |= {value for name, value in attrs if name in ("aria-label", "placeholder") and value}
        if tag in ("meta", "link", "input", "br"):
            self._inside.pop()

    def handle_endtag(self, tag: str) -> None:
        self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] not in ("script", "title", "code", "kbd"):
            self.found.add(" ".join(data.split()))


SAME_EVERYWHERE = {"Affectstream", "English", "Deutsch", "rtsp://camera.local/stream"}


def test_no_sentence_of_the_page_lacks_its_translation() -> None:
    texts = _Texts()
    texts.feed((PAGE / "index.html").read_text("utf-8"))
    catalogue = (SOURCES / "german.ts").read_text("utf-8")
    known = set(re.findall(r'^  (?:"(.+?)"|(\w+)):', catalogue, re.MULTILINE))
    keys = {quoted or bare for quoted, bare in known} | SAME_EVERYWHERE
    wanted = {text for text in texts.found if re.search(r"[A-Za-z]{2}", text)} | {*EXPRESSIONS, *ACTION_UNITS.values()}
    wanted |= {*PURPOSES, *PURPOSES.values()}
    assert wanted - keys == set()


def test_every_kind_of_refusal_has_a_sentence_that_can_be_translated() -> None:
    sentences = (SOURCES / "refusals.ts").read_text("utf-8")
    codes = {details(400, "", kind)["code"] for kind in (*STATUS, RoleNeeded)}
    assert codes - set(re.findall(r"^  (\w+):", sentences, re.MULTILINE)) == set()


def test_refusals_are_in_the_language_of_the_page(browser: Any, server: LiveServer, demo: str) -> None:
    with opened(browser, server, locale="de-DE") as page:
        page.locator("#address").fill("rtsp://camera.local/")
        page.get_by_role("button", name="Öffnen", exact=True).click()
        page.get_by_label("Wofür es ist").select_option("other")
        page.get_by_label("In Worten").fill("ein Versuch")
        page.get_by_role("button", name="Kamera öffnen").click()
        page.wait_for_function(SAYS, arg=["source-problem", "„rtsp://camera.local/“ darf von dieser Seite nicht"])
        page.get_by_role("button", name="Kamera starten…").click()
        page.get_by_label("In Worten").fill("watching my employees")
        page.get_by_role("button", name="Kamera starten", exact=True).click()
        page.wait_for_function(SAYS, arg=["source-problem", "Der Zweck nennt „employees“"])
        page.goto(f"{server.url}/{demo}")
        page.get_by_role("button", name="Alarme").click()
        page.get_by_label("Grenze").fill("nichts")
        page.get_by_role("button", name="Hinzufügen").click()
        page.wait_for_function(SAYS, arg=["rule-problem", "Grenze und Sekunden sind Zahlen"])


def test_a_german_browser_has_the_page_in_german(browser: Any, server: LiveServer, demo: str) -> None:
    with opened(browser, server, locale="de-DE") as page:
        assert page.get_attribute("html", "lang") == "de"
        assert page.get_by_role("button", name="Beispiel ansehen").count() == 1
        page.goto(f"{server.url}/{demo}")
        page.wait_for_function(SAYS, arg=["status-words", "Lese Gesicht"])
        assert "Mundwinkel ziehen" in page.inner_text("#unit-bars")
        assert findings(page) == []
        picture(page, "german")
        page.goto(f"{server.url}/?lang=en")
        assert page.get_by_role("button", name="Watch the demo").count() == 1


SCREENS = [(3840, 2160), (1440, 900), (1024, 600)]
PHONES = [(390, 844), (360, 780)]
BELOW = """() => ['valence', 'arousal', 'expression'].filter(id => {
  const {top, bottom, left, right, width} = document.getElementById(id).getBoundingClientRect();
  return !width || top < 0 || bottom > innerHeight || left < 0 || right > innerWidth; })"""
WIDE = "() => document.documentElement.scrollWidth - innerWidth"
SMALL = """() => [...document.querySelectorAll('button, select, summary, input, a[href]')].filter(element => {
    const target = element.type === 'checkbox' ? element.closest('label') : element;
    const {width, height, top} = target.getBoundingClientRect();
    return width > 1 && top > -40 && (width < 43.5 || height < 43.5)
  }).map(element => `${element.id || element.className || element.textContent}`)"""


def settle(page: Any, *wrong: str) -> None:
    """Wait until the page has the size of its window, and until nothing is `wrong`, or for a while if it stays so."""
    page.wait_for_timeout(300)
    nothing = " && ".join(f"(found => found.length === 0 || found <= 0)(({one})())" for one in wrong)
    with contextlib.suppress(TimeoutError):
        page.wait_for_function(f"() => {nothing}", timeout=20_000)


def test_every_main_number_is_above_the_fold(watched: Any) -> None:
    watched.get_by_role("button", name="Got it").first.click()
    for width, height in SCREENS:
        watched.set_viewport_size({"width": width, "height": height})
        settle(watched, BELOW, WIDE)
        assert watched.evaluate(BELOW) == [], (width, height)
        assert watched.evaluate(WIDE) <= 0, (width, height)
        picture(watched, f"{width}")


def test_on_a_phone_too_and_everything_can_be_hit_with_a_finger(browser: Any, server: LiveServer, demo: str) -> None:
    phone = {"width": PHONES[0][0], "height": PHONES[0][1]}
    with opened(browser, server, viewport=phone, has_touch=True, is_mobile=True) as page:
        assert page.evaluate(SMALL) == []
        page.goto(f"{server.url}/{demo}")
        wait_for_numbers(page)
        assert page.evaluate(SMALL) == []
        page.get_by_role("button", name="Got it").first.click()
        for width, height in PHONES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => scrollTo(0, 0)")
            settle(page, BELOW, WIDE, SMALL)
            assert page.evaluate(BELOW) == [], (width, height)
            assert page.evaluate(WIDE) <= 0, (width, height)
            assert page.evaluate(SMALL) == [], (width, height)
            picture(page, f"{width}")
        page.get_by_role("tab", name="All faces").click()
        assert page.evaluate(SMALL) == []
        page.get_by_role("button", name="Alerts").click()
        assert page.evaluate(SMALL) == []
        assert findings(page) == []
        page.goto(f"{server.url}/{demo}&lang=de")  # longer words
        wait_for_numbers(page)
        assert page.evaluate(WIDE) <= 0
        assert page.evaluate(SMALL) == []
        page.locator("#open-sources").click()
        page.locator("#sessions button").nth(1).click()
        page.locator("#sessions button").nth(2).click()  # both ask again, in more words
        assert page.locator("#drawer").evaluate("drawer => drawer.scrollWidth - drawer.clientWidth") <= 0


def test_the_columns_of_the_page_are_those_of_analyze() -> None:
    assert docs.TABLE_TYPESCRIPT.read_text("utf-8") == docs.table_typescript(), "run make docs"
