"""The demo as a film, as a camera would send it: what benchmarks read, the same on every machine."""

import threading
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE, Frame, Sound
from service.capture.open import open_source

DEMO_FPS = 30
Image = NDArray[np.uint8]


def write_demo(
    path: Path, *, seconds: int, fps: int = DEMO_FPS, size: tuple[int, int] = (640, 360), group: int = 250
) -> Iterator[Image]:
    """Write `seconds` of the demo as H.264 and AAC to `path`, and yield its pictures, (height, width, 3) uint8 RGB.

    The file is whole once the iterator has ended. `fps` divides 30; `size`: width and height in pixels; `group`:
    pictures from one key frame to the next.
    """
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "20", "g": str(group)}
        video = container.add_stream("libx264", rate=fps, options=options)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        seen = written = samples = 0
        for item in open_source("demo:", realtime=False).read(threading.Event()):
            if isinstance(item, Sound):
                sound = av.AudioFrame.from_ndarray(item.samples[None], "fltp", "mono")
                sound.sample_rate, sound.pts = SAMPLE_RATE, samples
                samples += len(item.samples)
                container.mux(audio.encode(sound))
            elif isinstance(item, Frame):
                seen += 1
                if (seen - 1) % (DEMO_FPS // fps):
                    continue
                image = _resized(item.image, size)
                picture = av.VideoFrame.from_ndarray(image, "rgb24")
                picture.pts = written
                container.mux(video.encode(picture))
                yield image
                written += 1
                if written == seconds * fps:
                    break
        container.mux(video.encode())
        container.mux(audio.encode())


def _resized(image: Image, size: tuple[int, int]) -> Image:
    """Return `image` in `size`; itself where it has it already."""
    if image.shape[1::-1] == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
