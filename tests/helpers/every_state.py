"""Takes a picture of every state of the page, in both themes and at five sizes, to be looked at one by one.

`PYTHONPATH=tests python -m helpers.every_state FOLDER [DEVICE...]` writes FOLDER/STATE/SIZE-THEME.png and, for a first
look, FOLDER/sheets with the pictures of each state side by side. DEVICE is one of `DEVICES`; without any, both.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.browser import chromium, write_camera
from helpers.dashboard_page import SAYS, agree, wait_for_numbers
from helpers.live_server import LiveServer, serving
from helpers.staged_scenes import Stage, one_face, scenes
from PIL import Image

from service.settings import Settings
from service.web.app import create_app

TOKENS = {"view": "look at it only", "send": "show yourself"}
HISTORY = 10_000  # ms of a session that its charts have to show
SETTLE = 250  # ms for a transition or the next drawing
THEMES = ("light", "dark")
# What goes away by itself after some seconds, such as a message, stays until its pictures are taken.
PATIENT = """const later = window.setTimeout;
window.setTimeout = (act, delay, ...more) => later(act, delay >= 4000 ? 120000 : delay, ...more);"""
READ = "localStorage.setItem('affectstream-hints', 'read')"


@dataclass(frozen=True)
class Device:
    """The sizes of a kind of screen by their names; `touch`: it is used with fingers."""

    sizes: dict[str, tuple[int, int]]
    touch: bool = False


DEVICES = {
    "phone": Device({"390": (390, 844), "360": (360, 780)}, touch=True),
    "desk": Device({"1440": (1440, 900), "1024": (1024, 600), "4k": (3840, 2160)}),
}


class Camera:
    """Takes the pictures of one device."""

    def __init__(self, browser: Any, folder: Path, device: Device) -> None:
        self._browser, self._folder, self._sizes = browser, folder, device.sizes
        self._options = {"has_touch": device.touch, "is_mobile": device.touch}

    @contextmanager
    def tab(self, address: str, *, hints: bool = False, **more: Any) -> Iterator[Any]:
        """A tab of its own at `address`; `hints`: with the explanations of a first visit."""
        context = self._browser.new_context(**self._options | more)
        context.add_init_script(PATIENT if hints or not address.startswith("http") else f"{PATIENT};{READ}")
        page = context.new_page()
        self._shape(page)
        page.goto(address)
        try:
            yield page
        finally:
            context.close()

    def take(self, page: Any, state: str, *, whole: bool = False) -> None:
        """Write the pictures of a state; `whole`: all of the page, also what has to be scrolled to."""
        place = self._folder / state
        place.mkdir(parents=True, exist_ok=True)
        for name in self._sizes:
            self._shape(page, name)
            page.wait_for_timeout(SETTLE)
            if whole:
                width, height = self._sizes[name]
                tall = max(height, page.evaluate("document.documentElement.scrollHeight"))
                page.set_viewport_size({"width": width, "height": tall})
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                page.wait_for_timeout(SETTLE)
                page.screenshot(path=place / f"{name}-{theme}.png")
        self._shape(page)

    def _shape(self, page: Any, name: str | None = None) -> None:
        """Give the page a size of the device, the first without a name."""
        width, height = self._sizes[name or next(iter(self._sizes))]
        page.set_viewport_size({"width": width, "height": height})


def before_a_session(camera: Camera, server: LiveServer) -> None:
    """The first page and its card."""
    with camera.tab(server.url, hints=True) as page:
        page.wait_for_function(SAYS, arg=["no-sessions", "No session is running"])
        camera.take(page, "01-no-session")
        camera.take(page, "01-no-session-whole", whole=True)
        page.get_by_role("button", name="Start the camera…").click()
        camera.take(page, "02-consent")
    with camera.tab(server.url, locale="de-DE") as page:
        camera.take(page, "05-german-no-session", whole=True)
        page.locator("#start-camera").click()
        camera.take(page, "06-german-consent")


def refused(camera: Camera, server: LiveServer) -> None:
    """A purpose that the law forbids."""
    with camera.tab(server.url) as page:
        page.get_by_role("button", name="Start the camera…").click()
        page.get_by_role("dialog").get_by_label("What it is for").select_option("other")
        page.get_by_label("In words").fill("the mood of my employees")
        page.get_by_role("button", name="Start the camera", exact=True).scroll_into_view_if_needed()
        camera.take(page, "03-consent-other")
        page.get_by_role("button", name="Start the camera", exact=True).click()
        page.wait_for_function(SAYS, arg=["source-problem", "Article 5"], timeout=20_000)
        camera.take(page, "04-refused-purpose")


def live(camera: Camera, server: LiveServer) -> None:
    """A session that is really read."""
    desk = f"{server.url}/?session=desk"
    with camera.tab(desk, hints=True) as page:
        wait_for_numbers(page)
        camera.take(page, "10-first-visit")
        camera.take(page, "10-first-visit-whole", whole=True)
    with camera.tab(desk) as page:
        wait_for_numbers(page)
        page.wait_for_timeout(HISTORY)
        page.locator("#landmarks").check()
        camera.take(page, "11-live")
        camera.take(page, "11-live-whole", whole=True)
        page.locator("#unit-bars button").nth(3).click()
        page.locator("#charts").focus()
        for _ in range(5):
            page.keyboard.press("ArrowLeft")
        page.evaluate("scrollTo(0, 0)")
        camera.take(page, "12-earlier-moment")
        camera.take(page, "12-earlier-moment-whole", whole=True)
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        if page.locator("#marker-label").is_visible():  # phones have no room for it
            page.locator("#marker-label").fill("question 1")
        page.locator("#mark").click()
        page.wait_for_function(SAYS, arg=["record-words", "0:03"])
        camera.take(page, "13-marker-and-recording")
        page.locator("#record").click()
        camera.take(page, "14-summary")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.locator("#open-alerts").click()
        page.locator("#rule-threshold").fill("-0.99")
        page.locator("#rule-seconds").fill("0.5")
        page.locator("#rule-name").fill("always")
        page.locator("#add-rule").click()
        page.locator("#rules li").first.wait_for()
        camera.take(page, "15-alerts")
        page.locator("#rule-threshold").fill("nonsense")
        page.locator("#rule-name").fill("")
        page.locator("#add-rule").click()
        page.locator("#rule-problem").wait_for()
        camera.take(page, "16-refused-rule")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.wait_for_function(SAYS, arg=["toasts", "always"], timeout=20_000)
        camera.take(page, "17-alert-toast")
        page.locator("#open-settings").click()
        camera.take(page, "18-settings")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.locator("#help").click()
        camera.take(page, "19-keys")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.locator("#open-sources").click()
        page.locator("#sessions li").first.wait_for()
        camera.take(page, "20-sources")
        page.locator("#sessions button", has_text="Erase data").first.click()
        page.locator("#sessions button", has_text="Close").first.click()
        camera.take(page, "21-erase-asked-twice")
        page.locator("#close-sources").click()
        page.locator("#neutral-step").click()
        page.wait_for_function(SAYS, arg=["neutral-words", "Look neutral"])
        page.locator("#neutral-step").scroll_into_view_if_needed()
        camera.take(page, "22-neutral-step")
        page.locator("#tab-all").click()
        camera.take(page, "23-everybody-alone")
    with server.client() as client:
        client.put("/v1/sessions/desk/rules", json={"rules": []}).raise_for_status()
    with camera.tab(f"{desk}&kiosk=1") as page:
        wait_for_numbers(page)
        camera.take(page, "24-kiosk")
    with camera.tab(desk, locale="de-DE") as page:
        wait_for_numbers(page)
        camera.take(page, "25-german")
        camera.take(page, "25-german-whole", whole=True)
        page.locator("#open-settings").click()
        camera.take(page, "26-german-settings")
        page.locator("#settings button[type=submit]").click()
        page.locator("#open-sources").click()
        page.locator("#sessions li").first.wait_for()
        camera.take(page, "27-german-sources")
    with camera.tab(server.url) as page:
        page.get_by_role("button", name="Start the camera…").click()
        agree(page)
        wait_for_numbers(page)
        camera.take(page, "28-own-camera")
        page.locator("#stop").click()
        page.locator("#start").wait_for()


def other_pages(camera: Camera, server: LiveServer) -> None:
    """The notice, the description of the API and the report, which is a file."""
    with camera.tab(f"{server.url}/notice") as page:
        camera.take(page, "30-notice")
        camera.take(page, "30-notice-whole", whole=True)
    with camera.tab(f"{server.url}/docs") as page:
        page.locator("h2, h3").first.wait_for()
        camera.take(page, "31-docs")
    with tempfile.NamedTemporaryFile("wb", suffix=".html") as file, server.client() as client:
        file.write(client.get("/v1/sessions/desk/report").raise_for_status().content)
        file.flush()
        with camera.tab(Path(file.name).as_uri()) as page:
            camera.take(page, "32-report")
            camera.take(page, "32-report-whole", whole=True)


def staged(camera: Camera, server: LiveServer, stage: Stage) -> None:
    """What a camera shows now and then."""
    for name in scenes():
        stage.show("several" if name == "several" else "voice")
        with camera.tab(f"{server.url}/?session=desk") as page:
            page.wait_for_function(SAYS, arg=["status-words", "Reading"], timeout=20_000)
            page.wait_for_timeout(1500)
            stage.show(name)
            page.wait_for_timeout(1200)
            camera.take(page, f"40-{name}")
            if name == "several":
                page.locator("#tab-all").click()
                page.wait_for_timeout(1500)
                camera.take(page, "41-everybody")
                camera.take(page, "41-everybody-whole", whole=True)


def lost(camera: Camera) -> None:
    """The service goes away."""
    with ExitStack() as tabs:
        with serving() as server, Stage(server).playing():
            page = tabs.enter_context(camera.tab(f"{server.url}/?session=desk"))
            page.wait_for_function(SAYS, arg=["status-words", "Reading"], timeout=20_000)
            page.wait_for_timeout(1500)
        page.wait_for_function(SAYS, arg=["status-words", "Reconnecting"], timeout=20_000)
        camera.take(page, "50-connection-lost")
        page.locator("#open-sources").click()
        page.wait_for_timeout(1500)
        camera.take(page, "51-connection-lost-sources")


def guarded(camera: Camera, server: LiveServer) -> None:
    """The login, and the page as each role has it."""
    with camera.tab(server.url) as page:
        page.wait_for_url("**/login")
        camera.take(page, "60-login")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").wait_for()
        camera.take(page, "61-wrong-token")
    for n, (role, token) in enumerate(TOKENS.items()):
        with camera.tab(f"{server.url}/login") as page:
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Log in").click()
            page.get_by_role("button", name="Log out").wait_for()
            page.wait_for_timeout(1200)
            camera.take(page, f"6{2 + 2 * n}-{role}-no-session", whole=True)
            page.goto(f"{server.url}/?session=desk")
            page.wait_for_function(SAYS, arg=["status-words", "Reading"], timeout=20_000)
            page.wait_for_timeout(1200)
            camera.take(page, f"6{3 + 2 * n}-{role}")
            page.locator("#open-sources").click()
            camera.take(page, f"6{3 + 2 * n}-{role}-sources")
            page.locator("#close-sources").click()
            page.locator("#open-alerts").click()
            camera.take(page, f"6{3 + 2 * n}-{role}-alerts")


def sheets(folder: Path) -> None:
    """Write the pictures of each state side by side: phones at their own size, the larger screens smaller."""
    place = folder / "sheets"
    place.mkdir(exist_ok=True)
    for state in sorted(path for path in folder.iterdir() if path.is_dir() and path != place):
        for kind, screens, width in (("phones", ("390", "360"), 390), ("desks", ("1440", "1024", "4k"), 760)):
            paths = [path for screen in screens for path in sorted(state.glob(f"{screen}-*.png"))]
            shown = []
            for path in paths:
                with Image.open(path) as image:
                    image.load()
                    shown.append(image.resize((width, round(image.height * width / image.width))))
            if not shown:
                continue
            columns = 4 if kind == "phones" else 2
            rows = [shown[n : n + columns] for n in range(0, len(shown), columns)]
            heights = [max(image.height for image in row) for row in rows]
            sheet = Image.new("RGB", (columns * (width + 8), sum(heights) + 8 * len(rows)), "magenta")
            top = 0
            for row, height in zip(rows, heights, strict=True):
                for n, image in enumerate(row):
                    sheet.paste(image, (n * (width + 8), top))
                top += height + 8
            sheet.save(place / f"{state.name}-{kind}.png")


def main(folder: Path, devices: list[str]) -> int:
    """Take the pictures and return the exit code."""
    tokens = [f"{role}:{token}" for role, token in TOKENS.items()]
    with ExitStack() as stack:
        films = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = stack.enter_context(chromium(write_camera(films / "camera.y4m", one_face())))
        empty = stack.enter_context(serving())
        staging = stack.enter_context(serving())
        stage = stack.enter_context(Stage(staging).playing())
        closed = stack.enter_context(serving(tokens=tokens, max_logins_per_minute=1000))
        stack.enter_context(Stage(closed).playing())
        real = stack.enter_context(serving(create_app(Settings(source=["desk=demo:"], workers=1))))
        for device in devices or DEVICES:
            camera = Camera(browser, folder, DEVICES[device])
            before_a_session(camera, empty)
            refused(camera, real)
            live(camera, real)
            other_pages(camera, real)
            staged(camera, staging, stage)
            lost(camera)
            guarded(camera, closed)
            sys.stdout.write(f"{device}: taken\n")
    sheets(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
