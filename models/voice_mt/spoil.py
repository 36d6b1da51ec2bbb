"""What microphones, rooms and lines do to a recording, by degree: for the robustness curves of the voice network."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.voice_mt.sounds import RATE

Samples = NDArray[np.float32]
DIRECT = 0.0025  # s after the first sound that still counts as direct (Zahorik 2002)


def gain(samples: Samples, decibels: float) -> Samples:
    """Louder or softer, clipped at full scale."""
    return np.asarray(np.clip(samples * 10 ** (decibels / 20), -1, 1), np.float32)


def noise(samples: Samples, snr: float) -> Samples:
    """Pink noise; `snr` in dB to the mean power of the 3 s."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(len(samples)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), len(samples))
    power = float((samples**2).mean()) / float((pink**2).mean())
    return np.asarray(samples + pink * np.sqrt(power * 10 ** (-snr / 10)), np.float32)


def room(samples: Samples, seconds: float) -> Samples:
    """A room of this reverberation time, as loud as the direct sound."""
    t = np.arange(round(seconds * RATE)) / RATE
    tail = np.random.default_rng(1).standard_normal(len(t)) * 10 ** (-3 * t / seconds) * (t > DIRECT)
    response = tail / np.sqrt((tail**2).sum())
    response[0] = 1.0
    size = len(samples) + len(response)
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return np.asarray(heard[: len(samples)], np.float32)


def band(samples: Samples, hertz: float) -> Samples:
    """Nothing above `hertz`."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE) > hertz] = 0
    return np.asarray(np.fft.irfft(spectrum, len(samples)), np.float32)


# Name -> function, its degrees, what a degree is.
FAULTS: dict[str, tuple[Callable[[Samples, float], Samples], Sequence[float], str]] = {
    "none": (lambda samples, _: samples, (0,), ""),
    "gain": (gain, (-30, -20, -10, 10), "dB"),
    "pink noise": (noise, (20, 10, 5), "dB signal to noise"),
    "room": (room, (0.3, 0.6, 1.0), "s reverberation time"),
    "low-pass": (band, (8000, 4000, 3400), "Hz"),
}
