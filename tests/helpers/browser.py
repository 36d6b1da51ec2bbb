"""A real browser for tests: Debian's Chromium, driven by Playwright, with a camera and a microphone that play files."""

import shutil
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# The same engine without the parts that only a window needs: a page takes three quarters of the CPU time.
HEADLESS_SHELL = shutil.which("chromium-headless-shell") or CHROMIUM

# Nothing of what a browser does for itself: it would look for servers that tests have no business with.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium(camera: Path | None = None, microphone: Path | None = None, *, allow: bool = True) -> Iterator[Any]:
    """A browser whose camera plays `camera` (Y4M or MJPEG, looped) and whose microphone plays `microphone` (WAV).

    Without `camera` there is none at all; without `allow` pages that ask for it are refused. Several may run at once.
    Skips the test where Chromium or Playwright is missing. While one runs, `asyncio.run` works in other threads only.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    flags = [*QUIET]
    if camera is not None:
        flags += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
        if allow:
            flags.append("--use-fake-ui-for-media-stream")  # the question is answered with yes
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}")
    with _playwright() as driver:
        shell = HEADLESS_SHELL if allow else CHROMIUM  # to refuse a camera takes the part that asks for it
        browser = driver.chromium.launch(executable_path=shell, args=flags)
        try:
            yield browser
        finally:
            browser.close()


_drivers: list[Any] = []


@contextmanager
def _playwright() -> Iterator[Any]:
    """The driver that runs, or one of its own: Playwright allows one in a thread."""
    if _drivers:
        yield _drivers[0]
        return
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright's Python package")
    with playwright.sync_playwright() as driver:
        _drivers.append(driver)
        try:
            yield driver
        finally:
            _drivers.remove(driver)


def write_camera(
    path: Path, image: NDArray[np.uint8], *, size: tuple[int, int] = (640, 360), seconds: float = 4, fps: int = 30
) -> Path:
    """A Y4M film in which `image` (h, w, 3 RGB) fills the height and sways gently; it begins as it ends."""
    width, height = size
    scale = height / image.shape[0]
    count = round(seconds * fps)
    with path.open("wb") as film:
        film.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for n in range(count):
            turn = 2 * np.pi * n / count
            zoom = scale * (1 + 0.05 * np.sin(turn))
            left = (width - image.shape[1] * zoom) / 2 + 0.06 * width * np.sin(turn)
            top = (height - image.shape[0] * zoom) / 2
            move = np.array([[zoom, 0, left], [0, zoom, top]])
            picture = cv2.warpAffine(image, move, size, flags=cv2.INTER_AREA, borderValue=(96, 96, 96))
            film.write(b"FRAME\n")
            film.write(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


def write_microphone(path: Path, *, seconds: float = 4, rate: int = 48_000) -> Path:
    """A WAV file of half-second tones and half-second pauses."""
    times = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * 440 * times) * np.where(times % 1 < 0.5, 9000, 0)
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(tone.astype("<i2").tobytes())
    return path
