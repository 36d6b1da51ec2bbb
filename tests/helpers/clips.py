"""Real encoded files for tests, made on the spot: every picture says its number, and the sound says its second."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

SOUND_RATE = 48_000  # Hz; not the service's own, so that resampling takes part


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3): red left half, blue right half, a white bottom quarter in the left, brightness by number."""
    image = np.zeros((height, width, 3), np.uint8)
    level = 100 + number % 100
    image[:, : width // 2, 0] = level
    image[:, width // 2 :, 2] = level
    image[height * 3 // 4 :, : width // 2] = 255
    return image


def beep(seconds: float, at: float, rate: int = SOUND_RATE) -> NDArray[np.float32]:
    """(n,) silence with a tenth of a second of 1 kHz that begins at second `at`."""
    t = np.arange(round(seconds * rate)) / rate
    return np.where((t >= at) & (t < at + 0.1), 0.5 * np.sin(2 * np.pi * 1000 * t), 0.0).astype(np.float32)


def write_clip(
    path: Path,
    *,
    size: tuple[int, int] | None = (160, 90),
    seconds: float = 2.0,
    rate: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    stamps: Iterable[float] | None = None,
    sound: NDArray[np.float32] | None = None,
    sound_codec: str = "aac",
    channels: int = 1,
    options: dict[str, str] | None = None,
) -> Path:
    """Encodes `seconds` of `picture` (none with `size` None) and `sound`; `stamps`: times of the pictures instead of
    a constant rate. `options` go to the container. Returns `path`."""
    times = list(stamps) if stamps is not None else [n / rate for n in range(round(seconds * rate))]
    with av.open(str(path), "w", options=options or {}) as out:
        video = audio = None
        if size is not None:
            video = out.add_stream(codec, rate=rate)
            video.width, video.height, video.pix_fmt = *size, pixels
            video.codec_context.time_base = video.time_base = Fraction(1, 1000 if stamps is not None else rate)
            if codec == "libx264":
                video.options = {"preset": "ultrafast", "g": str(rate)}
        if sound is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
            audio = out.add_stream(sound_codec, rate=SOUND_RATE, layout=layout)
        step, sent = 960, 0
        for number, t in [*enumerate(times), (-1, float("inf"))]:
            while audio is not None and sound is not None and sent < len(sound) and sent / SOUND_RATE <= t:
                block = np.repeat(sound[None, sent : sent + step], channels, axis=0)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, sent, Fraction(1, SOUND_RATE)
                out.mux(audio.encode(frame))
                sent += step
            if video is not None and number >= 0:
                image = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")  # type: ignore[misc]
                image.time_base = video.codec_context.time_base
                image.pts = round(t / image.time_base)
                out.mux(video.encode(image))
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))
    return path
