"""Makes the dashboard's pictures of README from the weights that ship: `make screenshots`.

Each picture says in its metadata which weights its numbers come from, so that a test finds it stale.
"""

import io
import sys
from pathlib import Path
from typing import Any

from helpers.browser import chromium
from helpers.dashboard_page import wait_for_numbers
from helpers.live_server import serving
from helpers.repository import ROOT
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.settings import Settings
from service.web.app import create_app

FOLDER = ROOT / "docs" / "images"
WEIGHTS = "Affectstream weights"  # key of the PNG's text
WATCHED = 32_000  # ms before a picture is taken: its charts are full of what the page itself has seen
# Smoothed numbers follow the face a moment later; a smile lasts long enough that both show the same.
SMILES = """() => [...document.querySelectorAll('#expression-bars li')].some(bar =>
  bar.innerText.startsWith('happiness') && Number(bar.innerText.split('\\n').pop()) >= 65)"""
PICTURES: dict[str, dict[str, Any]] = {  # name -> options of the browser's tab
    "dashboard-light": {"color_scheme": "light", "viewport": {"width": 1440, "height": 900}},
    "dashboard-dark": {"color_scheme": "dark", "viewport": {"width": 1440, "height": 900}},
}


def weights_of(path: Path) -> str | None:
    """Return the names of the weights that a picture was made with; None where it does not say."""
    with Image.open(path) as image:
        text: str | None = getattr(image, "text", {}).get(WEIGHTS)
        return text


def names_of(model: dict[str, Any]) -> str:
    """Return the names of a model's weights, the voice's too."""
    return " ".join(filter(None, (model["weights"], model.get("voice"))))


def main() -> int:
    """Take the pictures and return the exit code."""
    app = create_app(Settings(source=["desk=demo:"], workers=1))
    with serving(app) as server, chromium() as browser:
        for name, options in PICTURES.items():
            context = browser.new_context(**options)
            page = context.new_page()
            page.goto(f"{server.url}/?session=desk")
            wait_for_numbers(page)
            page.get_by_role("button", name="Got it").first.click()
            page.wait_for_timeout(WATCHED)
            page.wait_for_function(SMILES)
            taken = page.screenshot()
            context.close()
            notes = PngInfo()
            notes.add_text(WEIGHTS, names_of(dict(server.live.runtime.info)))
            path = FOLDER / f"{name}.png"
            with Image.open(io.BytesIO(taken)) as image:
                image.save(path, pnginfo=notes, optimize=True)
            sys.stdout.write(f"{path.relative_to(ROOT)}: {weights_of(path)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
