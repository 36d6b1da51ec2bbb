"""Sounds that are no voice, made by rule: what the speech detector must not take for speech.

Tones and music, hum, steady and gusty noise, breathing, knocks and clicks, silence; each clip is 3 s at 44.1 kHz.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE = 44_100  # Hz
SAMPLES = 3 * RATE

Samples = NDArray[np.float64]


def _time() -> Samples:
    return np.arange(SAMPLES) / RATE


def _note(rng: np.random.Generator, hertz: float, start: float, seconds: float) -> Samples:
    """(n,) from sample `start` * RATE on: a struck, bowed or blown tone with overtones and a little vibrato."""
    t = np.arange(max(0, min(round(seconds * RATE), SAMPLES - round(start * RATE)))) / RATE
    phase = 2 * np.pi * hertz * (t + rng.uniform(0, 4e-4) * np.sin(2 * np.pi * rng.uniform(4, 7) * t))
    decay = rng.uniform(0.5, 2.0)  # of the overtones
    tone = np.zeros(len(t))
    for partial in range(1, rng.integers(2, 12)):
        tone += np.sin(partial * phase + rng.uniform(0, 6)) / partial**decay
    envelope = np.clip(t / rng.uniform(0.005, 0.1), 0, 1) * np.exp(-t * rng.uniform(0, 5))
    return np.asarray(tone * envelope * np.clip((seconds - t) / 0.05, 0, 1), np.float64)


def _music(rng: np.random.Generator) -> Samples:
    """Notes of a scale at a steady beat, alone or as chords, often with a drum."""
    root, beat = 2 ** rng.uniform(6.5, 9.0), rng.uniform(0.15, 0.7)  # Hz, s
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 19, 24]) / 12
    out = np.zeros(SAMPLES)
    for start in np.arange(rng.uniform(0, beat), 3, beat):
        for step in rng.choice(scale, rng.integers(1, 4)):
            note = _note(rng, root * 2**step, start, beat * rng.uniform(0.8, 3))
            out[round(start * RATE) :][: len(note)] += note
    return out + (rng.random() < 0.4) * rng.uniform(0.2, 2) * _knocks(rng, beat)


def _tone(rng: np.random.Generator) -> Samples:
    """A beep, an alarm or a sweep."""
    t, low = _time(), 2 ** rng.uniform(7, 12)
    sweep = rng.choice([0.0, rng.uniform(-1, 1)]) * np.sin(2 * np.pi * rng.uniform(0.1, 2) * t)
    beep = (t * rng.uniform(0.5, 5) % 1 < rng.uniform(0.3, 1.2)).astype(float)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(low * 2**sweep) / RATE) * beep, np.float64)


def _hum(rng: np.random.Generator) -> Samples:
    """Mains and motors."""
    base = rng.choice([50.0, 60.0, rng.uniform(25, 300)])
    fall, out = rng.uniform(0.3, 1.5), np.zeros(SAMPLES)
    for partial in range(1, 16):
        out += rng.exponential() / partial**fall * np.sin(2 * np.pi * base * partial * _time())
    return out


def _coloured(rng: np.random.Generator) -> Samples:
    """Noise of a random colour, with one or two broad resonances."""
    bins = np.fft.rfft(rng.standard_normal(SAMPLES))
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE)
    shape = np.maximum(hertz, 40.0) ** rng.uniform(-1.5, 0.3)
    for _ in range(rng.integers(0, 3)):
        centre = 2 ** rng.uniform(7.5, 12.5)
        shape *= 1 + rng.uniform(1, 10) * np.exp(-((np.log2(np.maximum(hertz, 1) / centre) / rng.uniform(0.2, 1)) ** 2))
    noise = np.fft.irfft(bins * shape, SAMPLES)
    return np.asarray(noise / noise.std(), np.float64)


def _gusts(rng: np.random.Generator) -> Samples:
    """Wind, rustling, traffic: noise whose level wanders."""
    knots = rng.integers(4, 16)
    wander = np.interp(np.linspace(0, knots - 1, SAMPLES), np.arange(knots), rng.standard_normal(knots))
    return np.asarray(_coloured(rng) * 10 ** (rng.uniform(0.1, 0.7) * wander), np.float64)


def _breath(rng: np.random.Generator) -> Samples:
    """In and out through nose or mouth, every one to four seconds."""
    cycle = 2 * np.pi * (_time() / rng.uniform(1.0, 4.0) + rng.random())
    swell = np.maximum(np.sin(cycle), 0) ** rng.uniform(0.7, 2) + rng.uniform(0, 0.8) * np.maximum(-np.sin(cycle), 0)
    return np.asarray(_coloured(rng) * (swell + 10 ** rng.uniform(-3, -1)), np.float64)


def _knocks(rng: np.random.Generator, beat: float | None = None) -> Samples:
    """Keys, knocks, drums: short sounds that ring off, at a beat or without one."""
    out, t = 1e-3 * rng.standard_normal(SAMPLES), _time()
    starts = np.arange(rng.random() * 0.2, 3, beat) if beat else np.sort(rng.uniform(0, 3, rng.integers(1, 20)))
    hertz, ring, noise = 2 ** rng.uniform(6, 12), rng.uniform(0.005, 0.15), rng.random()
    body = noise * rng.standard_normal(SAMPLES) + (1 - noise) * np.sin(2 * np.pi * hertz * t)
    for start in starts:
        at = round(start * RATE)
        out[at:] += rng.uniform(0.3, 1) * body[: SAMPLES - at] * np.exp(-t[: SAMPLES - at] / ring)
    return out


def _silence(rng: np.random.Generator) -> Samples:
    """Digital silence, or the rustle of the last bit."""
    return float(rng.choice([0.0, 1e-5, 1e-4])) * rng.standard_normal(SAMPLES)


KINDS: dict[str, Callable[[np.random.Generator], Samples]] = {
    "music": _music, "tone": _tone, "hum": _hum, "noise": _coloured, "gusts": _gusts, "breath": _breath,
    "knocks": _knocks, "silence": _silence,
}  # fmt: skip


def make(kind: str, count: int, seed: int) -> NDArray[np.float32]:
    """(count, 132300) samples of `KINDS[kind]` at -60 to -15 dBFS over a faint floor; the same for the same seed."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    out = np.empty((count, SAMPLES), np.float32)
    for i in range(count):
        samples = KINDS[kind](rng)
        if kind != "silence":
            samples = samples / max(float(np.sqrt((samples**2).mean())), 1e-9) * 10 ** rng.uniform(-3, -0.75)
            samples = samples + 10 ** rng.uniform(-5, -3.5) * rng.standard_normal(SAMPLES)
        out[i] = samples
    return out
