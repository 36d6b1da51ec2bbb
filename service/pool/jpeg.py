"""Pictures as JPEG on their way to a replica, where `--pool` asks for it; what it costs is in docs/pools.md."""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Compressed:
    """Hold pictures as JPEG, and their fourth channel, a mask, without loss."""

    shape: tuple[int, ...]
    jpegs: list[bytes]
    masks: bytes


def compressed(pictures: NDArray[np.generic], quality: int) -> Compressed:
    """Return pictures (n, height, width, 3 or 4) of bytes as JPEG of that quality (1 to 100), in full colour."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    jpegs = [cv2.imencode(".jpg", np.ascontiguousarray(one[..., 2::-1]), options)[1].tobytes() for one in pictures]
    masks = zlib.compress(np.ascontiguousarray(pictures[..., 3:]).tobytes(), 1) if pictures.shape[-1] > 3 else b""
    return Compressed(pictures.shape, jpegs, masks)


def restored(given: Compressed) -> NDArray[np.uint8]:
    """Return the pictures."""
    pictures = np.empty(given.shape, np.uint8)
    for picture, jpeg in zip(pictures, given.jpegs, strict=True):
        decoded = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        picture[..., :3] = decoded[..., ::-1]
    if given.shape[-1] > 3:
        pictures[..., 3:] = np.frombuffer(zlib.decompress(given.masks), np.uint8).reshape(*given.shape[:-1], -1)
    return pictures
