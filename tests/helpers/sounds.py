"""Synthetic voice and noise."""

import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE

Samples = NDArray[np.float32]


def voice(seconds: float, seed: int = 0) -> Samples:
    """Syllables: a buzz of 120 Hz through two wandering resonances, four times a second, about -25 dBFS."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * 0.7 * t)) / SAMPLE_RATE
    formants = [500 + 200 * np.sin(2 * np.pi * 1.9 * t), 1500 + 400 * np.sin(2 * np.pi * 1.3 * t)]
    wave = sum(
        np.sin(k * phase + rng.uniform(0, 6)) * sum(np.exp(-(((120 * k - f) / 250) ** 2)) for f in formants)
        for k in range(1, 26)
    )
    syllables = np.clip(np.sin(2 * np.pi * 4 * t), 0, None) ** 1.5
    return np.asarray(0.05 * wave * syllables, np.float32)


def noise(seconds: float, amplitude: float, seed: int = 1) -> Samples:
    return (amplitude * np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)
