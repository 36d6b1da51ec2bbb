"""The default microphone through PortAudio (sounddevice, imported only when used)."""

import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service.capture.media import SAMPLE_RATE, Sound
from service.capture.mono import MonoMixer
from service.capture.resample import SoundTrack

_BLOCK = 0.02  # seconds of sound a callback
_KEEP = 10.0  # seconds that may wait to be taken
_DRIFT = 0.1  # seconds between the count of samples and the clock before the count is placed anew


class Microphone:
    """Record from the default input device between `with` and its end; times are `time.monotonic` minus `origin`."""

    def __init__(self, origin: float) -> None:
        """Open nothing yet. `origin`: monotonic seconds at which the session clock shows 0.

        Raises `UserError` if PortAudio or an input device is missing.
        """
        try:
            import sounddevice
        except OSError as error:  # sounddevice raises it when the library is not found
            raise UserError(
                "The microphone needs PortAudio, which is not installed; `sudo apt-get install libportaudio2` installs "
                "it on Debian and Ubuntu, and camera:0?audio=0 does without sound."
            ) from error
        self._sounddevice: Any = sounddevice
        self._origin = origin
        self._lock = threading.Lock()
        self._chunks: deque[Sound] = deque(maxlen=int(_KEEP / _BLOCK))
        self._next: float | None = None  # session seconds at which the next sample is due
        self._track = SoundTrack()
        self._mono = MonoMixer()
        try:
            device = sounddevice.query_devices(kind="input")
            # Both channels of a pair, not the driver's sum of them, which is silence where one is inverted.
            channels = max(1, min(2, int(device.get("max_input_channels", 1))))
            self._rate = SAMPLE_RATE if self._takes(SAMPLE_RATE, channels) else int(device["default_samplerate"])
            self._stream = sounddevice.InputStream(
                samplerate=self._rate,
                blocksize=int(_BLOCK * self._rate),
                channels=channels,
                dtype="float32",
                callback=self._hear,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise UserError(f"No microphone can be opened ({error}); camera:0?audio=0 does without sound.") from error
        self.name = str(device["name"])

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def take(self) -> list[Sound]:
        """Return the sound since the last call, at most the last ten seconds of it."""
        with self._lock:
            chunks = list(self._chunks)
            self._chunks.clear()
        return chunks

    def _takes(self, rate: int, channels: int) -> bool:
        try:
            self._sounddevice.check_input_settings(samplerate=rate, channels=channels, dtype="float32")
        except (self._sounddevice.PortAudioError, ValueError):
            return False
        return True

    def _hear(self, block: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        """Take in (frames, channels) samples, valid only until this returns; called by PortAudio's thread."""
        began = time.monotonic() - self._origin - max(0.0, times.currentTime - times.inputBufferAdcTime)
        if self._next is None or abs(began - self._next) > _DRIFT:
            self._next = began
        channels = np.ascontiguousarray(block.T)
        for piece in [self._mono(channels)] if self._rate == SAMPLE_RATE else self._resampled(channels):
            with self._lock:
                self._chunks.append(Sound(piece, self._next))
            self._next += len(piece) / SAMPLE_RATE

    def _resampled(self, channels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        layout = "mono" if len(channels) == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        frame.sample_rate = self._rate
        return [piece.samples for piece in self._track.push(frame)]
