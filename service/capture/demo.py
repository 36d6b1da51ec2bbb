"""`demo:`, a source for machines without a camera: a real portrait that moves, and a voice-like tone that pauses."""

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import UserError
from service.capture.animation import animated
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.pace import Pace

WIDTH, HEIGHT = 640, 360  # pixels
RATE = 30  # frames/s
_FACE = (224.0, 118.0)  # pixels, centre of the face in the 512x512 portrait
_ZOOM = 1.5  # the face is then about 150 pixels wide
_VOICE_SECONDS = 6  # the sound repeats after this: 4 s of syllables, 2 s of pause
_PITCH = 120.0  # Hz, fundamental; a whole number of periods fits into the loop
_FORMANTS = ((730.0, 90.0, 1.0), (1090.0, 110.0, 0.5), (2440.0, 170.0, 0.25))  # Hz, Hz, gain: the vowel of "father"
_SYLLABLES = 4.0  # syllables/s, about the rate of speech


class DemoSource:
    """Shows the moving portrait at 640x360 and 30 frames/s with sound; every frame depends on its number only."""

    label = "demo:"

    def __init__(self, portrait: Path, *, realtime: bool, seconds: float = math.inf) -> None:
        """`portrait`: an image file, 512x512; `seconds`: where the demo ends. Raises `UserError` if unreadable."""
        image = cv2.imread(str(portrait), cv2.IMREAD_COLOR)
        if image is None:
            raise UserError(f"The demo's portrait {portrait} is no picture; `affectstream weights pull` gets it again.")
        self._portrait = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        self._realtime = realtime
        self._frames = seconds * RATE

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield frames with the sound up to each; see `Source.read`."""
        yield StateChange(State.LIVE, f"Demo: {WIDTH}x{HEIGHT} at {RATE} frames/s with synthetic sound")
        voice = demo_voice()
        step = SAMPLE_RATE // RATE
        pace = Pace(self._realtime)
        number = 0
        while number < self._frames:
            t = number / RATE
            if not pace.wait(t, stop):
                return
            if number:
                at = (number - 1) * step % len(voice)
                yield Sound(voice[at : at + step].copy(), (number - 1) / RATE)
            entered, captured_at = time.perf_counter(), time.time()
            yield Frame(demo_picture(self._portrait, number), t, entered, captured_at)
            number += 1
        yield StateChange(State.ENDED, f"The demo ended after {number / RATE:.1f} s")


def demo_picture(portrait: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return frame `number` of the demo, (360, 640, 3) RGB: the animated portrait, panned, zoomed, turned and lit."""
    t = number / RATE
    angle = 9.0 * math.sin(2 * math.pi * t / 5.3)  # degrees
    zoom = _ZOOM * (1.0 + 0.12 * math.sin(2 * math.pi * t / 7.9))
    matrix = cv2.getRotationMatrix2D(_FACE, angle, zoom)
    matrix[0, 2] += WIDTH / 2 - _FACE[0] + 70.0 * math.sin(2 * math.pi * t / 6.1)
    matrix[1, 2] += HEIGHT / 2 - _FACE[1] + 25.0 * math.sin(2 * math.pi * t / 4.7)
    image = cv2.warpAffine(
        animated(portrait, t), matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    light = 1.0 + 0.15 * math.sin(2 * math.pi * t / 11.0)
    return np.asarray(cv2.convertScaleAbs(image, dst=image, alpha=light), np.uint8)


def demo_voice() -> NDArray[np.float32]:
    """Return (264600,) float32 in [-1, 1]: six seconds of vowel-like syllables and a pause that loop seamlessly."""
    t = np.arange(_VOICE_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.zeros_like(t)
    for harmonic in range(1, int(4000 / _PITCH)):
        frequency = harmonic * _PITCH
        gain = sum(g / (1.0 + ((frequency - centre) / width) ** 2) for centre, width, g in _FORMANTS)
        tone += gain * np.sin(2 * np.pi * frequency * t)
    syllables = np.maximum(0.0, np.sin(2 * np.pi * _SYLLABLES * t)) ** 0.7
    tone *= syllables * (t < 4.0)
    return np.asarray(0.5 * tone / np.abs(tone).max(), np.float32)
