"""The report: honest numbers, whole and harmless HTML, and no network."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import HEADLESS_SHELL, QUIET
from playwright.sync_api import sync_playwright

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.report import summary
from service.report.bins import divide
from service.report.page import page, write
from service.report.readings import NUMBERS, TEXTS, Readings, of_columns


def readings(
    name: str = "a", *, valence: list[float | None], participant: str = "", condition: str = "", fps: float = 10
) -> Readings:
    """A recording with one picture for each of `valence`; None was not read because the face was turned away."""
    n = len(valence)
    values = np.array([np.nan if one is None else one for one in valence], float)
    numbers = {column: np.full(n, np.nan) for column in NUMBERS}
    numbers |= {
        "frame": np.arange(1.0, n + 1), "timestamp": np.arange(n) / fps, "face_id": np.ones(n),
        "success": np.isfinite(values).astype(float), "valence": values, "arousal": values / 2, "trained": np.ones(n),
        "valence_std": np.full(n, 0.4), "arousal_std": np.full(n, 0.3),
    }  # fmt: skip
    numbers |= {one: np.full(n, 0.1 if one != "fear" else 0.4) for one in EXPRESSIONS}
    numbers |= {f"{one}_p": np.linspace(0, 1, n) for one in ACTION_UNITS if one != "AU11"}
    texts = {column: np.full(n, "", object) for column in TEXTS}
    texts["reasons"][~np.isfinite(values)] = "turned_away"
    made = of_columns(name, numbers, texts, {})
    made.participant = participant
    made.conditions = np.full(n, condition, object)
    return made


def test_what_was_not_read_is_no_zero_but_a_gap_with_its_reason() -> None:
    one = readings(valence=[0.5, 0.5, None, None, 0.1])
    whole = summary.stretch(one, "whole")
    assert whole.read == pytest.approx(0.6)
    assert whole.valence.mean == pytest.approx((0.5 + 0.5 + 0.1) / 3)
    assert whole.valence.stated == pytest.approx(0.4)
    assert summary.reasons(one) == [("turned away", pytest.approx(0.4))]
    assert whole.likeliest == "fear"
    assert page([one], "t").count('class="line valence"') == 2


def test_participants_count_alike_in_the_mean_of_a_condition_however_long_their_recordings_are() -> None:
    several = [
        readings("a", valence=[1.0] * 30, participant="p1", condition="calm"),
        readings("b", valence=[0.0] * 10, participant="p1", condition="calm"),
        readings("c", valence=[-0.5, -0.5], participant="p2", condition="calm"),
        readings("d", valence=[None], participant="p2", condition="loud"),
    ]
    calm, loud = summary.conditions(several)
    assert calm.participants["p1"].valence.mean == pytest.approx(0.75)
    assert calm.participants["p1"].valence.over_time == pytest.approx(np.std([1.0] * 30 + [0.0] * 10))
    assert calm.mean("valence") == pytest.approx((0.75 - 0.5) / 2)
    assert calm.spread("valence") == pytest.approx(np.std([0.75, -0.5], ddof=1))
    assert np.isnan(loud.mean("valence"))
    assert np.isnan(loud.spread("valence"))


def test_a_recording_in_which_nothing_was_read_or_without_pictures_is_said_and_not_drawn() -> None:
    never = page([readings("never", valence=[None] * 5)], "t")
    assert "A face was read in 0% of 0.5 s. Not read: turned away 100%." in never
    assert "<svg" not in never
    sound = page([readings("<sound>", valence=[]), readings("film", valence=[0.1] * 5)], "t")
    assert "&lt;sound&gt; has no pictures, and a report shows what was read in them." in sound
    assert sound.count("<section") == 1


def test_a_condition_says_of_how_many_participants_its_means_are() -> None:
    several = [
        readings("a", valence=[0.5] * 3, participant="p1", condition="calm"),
        readings("b", valence=[None] * 3, participant="p2", condition="calm"),
        readings("c", valence=[0.5] * 3, participant="p2", condition="loud"),
    ]
    text = page(several, "t")
    assert '<td class="t">calm</td><td >1 of 2</td>' in text
    assert '<td class="t">loud</td><td >1</td>' in text


def test_of_several_faces_the_one_counts_that_was_read_most() -> None:
    frames = np.array([1, 1, 2, 2, 3.0])
    numbers = {column: np.full(5, np.nan) for column in NUMBERS}
    numbers |= {
        "frame": frames,
        "timestamp": frames / 10,
        "face_id": np.array([2, 1, 2, 1, 1.0]),
        "trained": np.ones(5),
    }
    numbers |= {"success": np.array([1, 1, 1, 0, 1.0]), "valence": np.array([0.9, 0.1, 0.9, np.nan, 0.1])}
    texts = {column: np.full(5, "", object) for column in TEXTS}
    one = of_columns("a", numbers, texts, {})
    assert one.faces == 2
    assert one.columns["valence"].tolist() == [0.9, 0.9, 0.1] or one.columns["valence"].tolist() == [0.1, 0.9, 0.1]
    assert len(one.t) == 3


@pytest.mark.parametrize("fps", [0.5, 5, 30])
@pytest.mark.parametrize("pictures", [1, 2, 5000])
def test_any_rate_and_length_is_divided_into_stretches_that_a_page_can_show(fps: float, pictures: int) -> None:
    one = readings(valence=[0.2] * pictures, fps=fps)
    bins = divide(one)
    assert 1 <= bins.count <= 301
    assert np.nanmean(bins.mean(one.columns["valence"])) == pytest.approx(0.2)
    assert not np.isnan(bins.mean(one.columns["valence"])).any()


def test_eyes_gaze_stimuli_and_conditions_are_shown_where_there_are_some() -> None:
    one = readings(valence=[0.1] * 400, participant="p1", condition="calm")
    assert "Eye opening" not in page([one], "t")
    assert "Gaze" not in page([one], "t")
    one.columns["eye_openness"] = np.full(400, 0.9)
    one.columns["blink_ms"][[50, 250]] = 180.0
    one.columns["gaze_yaw"], one.columns["gaze_pitch"] = np.full(400, 12.0), np.full(400, -7.0)
    one.stimuli = [(10.0, 20.0, "film <A>"), (90.0, 95.0, "never shown")]
    one.conditions[100:200] = "climax"
    text = page([one], "t")
    assert "2 blinks in 40.0 s in which the eyes were read, 3 a minute." in text
    assert text.count('class="blink"') == 2
    assert "Gaze on average 12° right and 7° down; without calibration it is about 20° off." in text
    assert text.count('class="line plain"') == 3  # eye opening, gaze to the right, gaze up
    assert text.count('class="stimulus"') == 1
    assert "film &lt;A&gt;" in text
    assert "never shown" not in text
    assert "a · p1 · calm, climax" in text
    assert "<h3>Stimuli</h3>" in text
    assert '<td class="t">film &lt;A&gt;</td><td >10.0 s</td><td >100%</td><td >+0.10</td>' in text


def test_blinks_of_less_than_half_a_minute_have_no_rate() -> None:
    one = readings(valence=[0.1] * 50)
    one.columns["eye_openness"] = np.full(50, 0.9)
    assert "0 blinks in 5.0 s in which the eyes were read." in page([one], "t")


class _Tags(HTMLParser):
    """Checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_are_text_and_every_element_is_closed() -> None:
    text = page([readings("<b>&", valence=[0.1] * 5, participant='"p<1>', condition="<calm>")], "<t>", ["<note>"])
    parser = _Tags()
    parser.feed(text)
    assert parser.open == []
    assert "<b>" not in text
    assert "<calm>" not in text
    assert "<note>" not in text
    assert not re.search(r"(?:href|src)=|url\(|@import", text)


def test_a_browser_shows_it_in_both_themes_without_a_request_or_a_message(tmp_path: Path) -> None:
    people = [(who, what) for who in ("p1", "p2") for what in ("calm", "loud")]
    several = [readings(f"{who} {what}", valence=[0.3] * 40, participant=who, condition=what) for who, what in people]
    write(tmp_path / "report.html", several, "A study")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=HEADLESS_SHELL, args=[*QUIET])
        shown = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        messages: list[str] = []
        shown.on("console", lambda message: messages.append(message.text))
        shown.on("request", lambda request: messages.append(request.url))
        shown.goto((tmp_path / "report.html").as_uri())
        assert messages == [(tmp_path / "report.html").as_uri()]
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert shown.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(21, 24, 27)"
        shown.emulate_media(media="print")
        assert shown.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
        browser.close()
