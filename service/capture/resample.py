"""Sound of any rate and any number of channels to mono at `SAMPLE_RATE`, on an unbroken count of samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE
from service.capture.mono import MonoMixer

_GAP = 0.05  # seconds: sound whose stamps jump further than this is not continued but placed anew


@dataclass(frozen=True, slots=True)
class Samples:
    """Hold decoded mono sound at `SAMPLE_RATE`."""

    samples: NDArray[np.float32]  # (n,)
    seconds: float | None  # media time of samples[0]


class SoundTrack:
    """Resample to `SAMPLE_RATE` and mix the channels to one, on an unbroken count of samples."""

    def __init__(self) -> None:
        self._resampler: av.AudioResampler | None = None
        self._mono = MonoMixer()
        self._form: tuple[str, str, int] | None = None
        self._anchor: float | None = None  # media seconds of the first sample since the last break
        self._taken = 0.0  # seconds of sound taken in since then
        self._given = 0  # samples given out since then

    def push(self, frame: AudioFrame) -> Iterator[Samples]:
        """Yield what `frame` makes ready, which lags behind it by a few samples."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        broken = (
            frame.time is not None and self._anchor is not None and abs(frame.time - self._anchor - self._taken) > _GAP
        )
        if form != self._form or broken:
            yield from self.flush()
            # Surround is folded to stereo first; `MonoMixer` does the rest, because FFmpeg's own way from stereo to
            # mono is 3 dB louder and makes silence of two channels of opposite phase.
            layout = "stereo" if frame.layout.nb_channels > 2 and "channels" not in form[1] else None
            # Channels side by side: PyAV reads planes of more than 8 channels from memory that is not theirs, and dies.
            self._resampler = av.AudioResampler(format="flt", layout=layout, rate=SAMPLE_RATE)
            self._form, self._anchor = form, frame.time
        assert self._resampler is not None
        self._taken += frame.samples / frame.sample_rate
        yield from self._samples(self._resampler.resample(frame))

    def flush(self) -> Iterator[Samples]:
        """Yield what was still held back; the next `push` begins anew."""
        if self._resampler is not None:
            yield from self._samples(self._resampler.resample(None))
        self._resampler, self._form, self._anchor, self._taken, self._given = None, None, None, 0.0, 0

    def _samples(self, frames: list[AudioFrame]) -> Iterator[Samples]:
        for frame in frames:
            if frame is None or not frame.samples:
                continue
            samples = self._mono(frame.to_ndarray().reshape(frame.samples, -1).T)
            at = None if self._anchor is None else self._anchor + self._given / SAMPLE_RATE
            self._given += len(samples)
            yield Samples(samples, at)
