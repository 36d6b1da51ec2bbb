"""Encoded files for tests from arrays, with the marks that decide how a picture is shown or a track is chosen."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray


def write_pictures(
    path: Path, pictures: Sequence[NDArray[np.uint8]], *, aspect: Fraction = Fraction(1), rate: int = 25
) -> Path:
    """Encode `pictures` (h, w, 3) RGB without loss, with pixels of `aspect`, and return `path`."""
    height, width = pictures[0].shape[:2]
    codec = ["-c:v", "ffv1"] if path.suffix == ".mkv" else ["-c:v", "libx264", "-qp", "0"]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r",
         str(rate), "-i", "-", "-vf", f"setsar={aspect.numerator}/{aspect.denominator},format=yuv444p", *codec,
         str(path)],
        input=b"".join(picture.tobytes() for picture in pictures), check=True,
    )  # fmt: skip
    return path


def write_tracks(
    path: Path, *, sounds: Sequence[NDArray[np.float32]], default: int, pictures: Sequence[NDArray[np.uint8]] = ()
) -> Path:
    """Write several sound tracks (or pictures, each a track of ten equal frames), of which one is marked as default."""
    with av.open(str(path), "w") as out:
        tracks: list[Any] = []
        for picture in pictures:
            video = out.add_stream("ffv1", rate=10)
            video.height, video.width, video.pix_fmt = *picture.shape[:2], "bgr0"
            tracks.append(video)
        tracks += [out.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in sounds]
        for number, track in enumerate(tracks):
            track.disposition = Disposition.default if number == default else Disposition(0)
        for video, picture in zip(tracks, pictures, strict=False):
            for n in range(10):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = n, Fraction(1, 10)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        for audio, samples in zip(tracks[len(pictures) :], sounds, strict=True):
            block = (samples * 32_767).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 16_000, 0, Fraction(1, 16_000)
            out.mux(audio.encode(sound))
            out.mux(audio.encode(None))
    return path
