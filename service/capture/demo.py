"""`demo:`, a source for machines without a camera: a real portrait that moves, and a synthetic voice that pauses."""

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
_ABOVE = 64  # pixels of the portrait's size that are added above it
_ZOOM = 1.5  # the face is then about 150 pixels wide
_VOICE_SECONDS = 6  # the sound repeats after this: 4 s of syllables, 2 s of pause
_PITCH, _FALL = 105.0, 0.2  # Hz, and the share by which it falls over a phrase
_SYLLABLES = 4.0  # syllables/s, about the rate of calm speech
_PHRASE = 4.0  # s of speech
# Formants of the vowels of one syllable after the other, Hz (Peterson & Barney 1952, men).
_VOWELS = (
    (730, 1090, 2440), (390, 1990, 2550), (570, 840, 2410), (530, 1840, 2480), (440, 1020, 2240), (640, 1190, 2390),
    (490, 1350, 1690), (530, 1840, 2480), (730, 1090, 2440), (570, 840, 2410), (390, 1990, 2550), (440, 1020, 2240),
    (640, 1190, 2390), (530, 1840, 2480), (490, 1350, 1690), (730, 1090, 2440),
)  # fmt: skip
_RESONANCES = ((1.0, 80.0), (0.6, 110.0), (0.25, 160.0))  # gain, width in Hz of each formant


class DemoSource:
    """Show the moving portrait at 640x360 and 30 frames/s with sound; every frame depends on its number only."""

    label = "demo:"

    def __init__(self, portrait: Path, *, realtime: bool, seconds: float = math.inf) -> None:
        """Read `portrait`, an image of 512x512. `seconds`: where the demo ends. Raise `UserError` if unreadable."""
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
    # Above the portrait its wall goes on; a reflection there would show a second head of hair.
    higher = cv2.copyMakeBorder(animated(portrait, t), _ABOVE, 0, 0, 0, cv2.BORDER_REPLICATE)
    matrix[:, 2] = matrix[:, 2] - matrix[:, 1] * _ABOVE
    image = cv2.warpAffine(higher, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    light = 1.0 + 0.15 * math.sin(2 * math.pi * t / 11.0)
    return np.asarray(cv2.convertScaleAbs(image, dst=image, alpha=light), np.uint8)


def demo_voice() -> NDArray[np.float32]:
    """Return (264600,) float32 in [-1, 1]: a calm, flat phrase of 4 s and 2 s of pause, to be repeated without a seam.

    A source of harmonics whose pitch falls, through formants that glide from vowel to vowel, with a little noise where
    a consonant would be: enough for the speech detector, and as near to neutral as a synthetic voice comes.
    """
    t = np.arange(_VOICE_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    syllable = np.minimum((t * _SYLLABLES).astype(np.int64), len(_VOWELS) - 1)
    inside = t * _SYLLABLES % 1  # of a syllable, 0 to 1
    pitch = _PITCH * (1 + _FALL * (0.5 - t / _PHRASE))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    glide = np.clip(inside / 0.35, 0, 1)[:, None]
    glide = glide**2 * (3 - 2 * glide)
    vowels = np.array(_VOWELS, np.float64)
    formants = vowels[np.maximum(syllable - 1, 0)] * (1 - glide) + vowels[syllable] * glide
    tone = np.zeros_like(t)
    for harmonic in range(1, int(4000 / _PITCH)):
        gains = [gain / (1 + ((harmonic * pitch - formants[:, k]) / w) ** 2) for k, (gain, w) in enumerate(_RESONANCES)]
        tone += sum(gains) / harmonic * np.sin(harmonic * phase)
    fade = np.clip(t / 0.05, 0, 1) * np.clip((_PHRASE - 0.05 - t) / 0.15, 0, 1)
    tone *= np.clip(1.6 * np.sin(np.pi * inside), 0, 1) ** 0.6 * (1 - 0.3 * t / _PHRASE) * fade
    hiss = np.diff(np.random.default_rng(1).standard_normal(len(t)), prepend=0)
    hiss *= 0.02 * np.exp(-(((inside - 0.02) / 0.05) ** 2)) * (fade > 0)
    voice = tone / np.abs(tone).max() + hiss
    return np.asarray(0.5 * voice / np.abs(voice).max(), np.float32)
