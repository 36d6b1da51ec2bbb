"""Change recordings at 16 kHz as other rooms, noises, microphones, telephone lines and vocal tracts would.

One `Session` stands for one place and one line: everything that a speaker says there is changed alike, as it would be
live, so that the running baseline includes the place. All is drawn from the given generator, so that it can be
repeated.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from models.voice_mt.descriptors import RATE

Samples = NDArray[np.float32]

DIRECT = 0.0025  # s after the first sound that still counts as direct (Zahorik 2002)
_OCTAVES_HZ = np.array([60, 125, 250, 500, 1000, 2000, 4000, 8000])


@dataclass(frozen=True, slots=True)
class Codec:
    """Describe a line: encoder, its decoder, sample rate in Hz, bits per second or 0."""

    encoder: str
    decoder: str
    rate: int
    bits: int


# Opus as in WebRTC; AMR, the codec of GSM and UMTS telephones (PyAV encodes no older GSM); G.711 of telephone lines.
CODECS = (
    Codec("libopus", "libopus", 16_000, 8_000),
    Codec("libopus", "libopus", 16_000, 16_000),
    Codec("libopus", "libopus", 16_000, 24_000),
    Codec("libopencore_amrnb", "amrnb", 8_000, 7_950),
    Codec("libopencore_amrnb", "amrnb", 8_000, 12_200),
    Codec("pcm_mulaw", "pcm_mulaw", 8_000, 0),
)


def coded(samples: Samples, codec: Codec) -> Samples:
    """Return what comes out of a codec, as long as what went in."""
    encoder = cast(av.AudioCodecContext, av.CodecContext.create(codec.encoder, "w"))
    encoder.sample_rate, encoder.layout, encoder.format = codec.rate, "mono", "s16"
    encoder.time_base = Fraction(1, codec.rate)
    if codec.bits:
        encoder.bit_rate = codec.bits
    encoder.open()
    decoder = cast(av.AudioCodecContext, av.CodecContext.create(codec.decoder, "r"))
    decoder.sample_rate, decoder.layout = codec.rate, "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    whole = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(whole[None], "s16", "mono")
    frame.sample_rate, frame.pts = RATE, 0
    before = av.AudioResampler("s16", "mono", codec.rate, frame_size=encoder.frame_size or None)
    after = av.AudioResampler("flt", "mono", RATE)
    packets = [p for f in before.resample(frame) + before.resample(None) for p in encoder.encode(f)]
    packets += encoder.encode(None)
    frames = [g for packet in packets for f in decoder.decode(packet) for g in after.resample(f)]
    out = np.concatenate([f.to_ndarray()[0] for f in frames + after.resample(None)]).astype(np.float32)
    return np.pad(out, (0, max(0, len(samples) - len(out))))[: len(samples)]


def room(samples: Samples, response: Samples) -> Samples:
    """Return what is heard in a room of this impulse response."""
    size = len(samples) + len(response)
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return np.asarray(heard[: len(samples)], np.float32)


def response(rng: np.random.Generator, seconds: float, level: float) -> Samples:
    """Return the impulse response of a room of this reverberation time; `level` in dB of its echoes to direct sound."""
    t = np.arange(round(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / seconds) * (t > DIRECT)
    tail *= 10 ** (level / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return np.asarray(tail, np.float32)


def shifted(samples: Samples, factor: float) -> Samples:
    """Return the sound at `factor` times the speed: pitch, formants and rate change together."""
    at = np.arange(0, len(samples) - 1, factor)
    return np.asarray(np.interp(at, np.arange(len(samples)), samples), np.float32)


class Session:
    """Hold the place and the line of all that one speaker says there."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.factor = float(2 ** (rng.uniform(-1.5, 1.5) / 12)) if rng.random() < 0.5 else 1.0
        self._tilt, self._ripple = rng.normal(0, 1.2), rng.normal(0, 2.0, len(_OCTAVES_HZ))  # dB
        self._response = response(rng, rng.uniform(0.15, 0.7), rng.uniform(-12, -2)) if rng.random() < 0.4 else None
        self._noise_db = rng.uniform(8, 35) if rng.random() < 0.6 else None  # signal to noise
        self._colour = rng.uniform(-1.2, 0.2)
        self._codec = CODECS[rng.integers(len(CODECS))] if rng.random() < 0.4 else None

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Return the sound as it is heard there; `rng` makes its noise."""
        x = shifted(samples, self.factor) if self.factor != 1 else samples
        bins = np.fft.rfft(x)
        hertz = np.maximum(np.fft.rfftfreq(len(x), 1 / RATE), _OCTAVES_HZ[0])
        decibels = self._tilt * np.log2(hertz / 1000) + np.interp(np.log2(hertz), np.log2(_OCTAVES_HZ), self._ripple)
        x = np.fft.irfft(bins * 10 ** (decibels / 20), len(x)).astype(np.float32)
        if self._response is not None:
            x = room(x, self._response)
        if self._noise_db is not None:
            noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(x))) * hertz**self._colour, len(x))
            level = np.sqrt((x**2).mean() / max((noise**2).mean(), 1e-20)) * 10 ** (-self._noise_db / 20)
            x = x + (level * noise).astype(np.float32)
        x = np.clip(x, -1, 1)
        return x if self._codec is None else coded(x, self._codec)
