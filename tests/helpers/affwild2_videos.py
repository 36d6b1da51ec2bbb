"""Aff-Wild2 as its owners distribute it, drawn: encoded videos with sound, annotations, and no more."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.training import affwild2, synthetic

FPS = synthetic.FPS
SIZE = (640, 360)  # pixels of a video
FACE = 224  # pixels of a drawn face in it
_RATE = 44_100  # Hz


def write(root: Path, videos: int, seconds: float, validation: int) -> None:
    """As `synthetic.write`, but each recording is a video with sound as loud as arousal is high, not yet prepared."""
    synthetic.write(root, videos=videos, seconds=seconds, validation=validation)
    for split in ("train", "validation"):
        for name, annotation in affwild2.read_annotations(root, split).items():
            faces = drawn(root, name, len(annotation))
            corner = (340, 60) if name.endswith("_right") else (60, 60)
            scenes = [scene(face, corner) for face in faces]
            loudness = np.clip(annotation.va[:, 1], -1, 1)
            encode(root / "videos" / f"{annotation.video}.mp4", scenes, loudness)
    for folder in ("masks", "landmarks", "mel", "cropped_aligned"):
        shutil.rmtree(root / folder)


def drawn(root: Path, name: str, frames: int) -> list[NDArray[np.uint8]]:
    """The faces of a drawn recording, (112, 112, 3) RGB each."""
    return [cv2.imread(str(affwild2.picture(root / "cropped_aligned", name, i)))[..., ::-1] for i in range(frames)]


def scene(*faces_and_corners: object) -> NDArray[np.uint8]:
    """(360, 640, 3): faces, each followed by the corner at which it is."""
    picture = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
    for face, (x, y) in zip(faces_and_corners[::2], faces_and_corners[1::2], strict=True):
        large = cv2.resize(np.ascontiguousarray(face), (FACE, FACE), interpolation=cv2.INTER_CUBIC)
        picture[y : y + FACE, x : x + FACE] = large
    return picture


def encode(path: Path, scenes: list[NDArray[np.uint8]], loudness: NDArray[np.floating] | None = None) -> None:
    """An H.264 file of `scenes` and, with `loudness` (n,) in -1..1 by frame, AAC noise of -50 to -10 dB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "12", "g": str(FPS)})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = out.add_stream("aac", rate=_RATE, layout="mono") if loudness is not None else None
        if audio is not None and loudness is not None:
            gain = np.repeat(10 ** ((loudness - 1.5) * 20 / 20), _RATE // FPS)
            noise = np.random.default_rng(0).uniform(-1, 1, len(gain)) * gain
            for start in range(0, len(noise), 1024):
                block = noise[None, start : start + 1024].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = _RATE, start, Fraction(1, _RATE)
                out.mux(audio.encode(frame))
        for picture in scenes:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))
