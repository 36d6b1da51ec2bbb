"""What the perception tests share: the networks, compiled once, and pictures made of the public-domain portrait."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from service.capture.media import Frame
from service.perception.face import Face
from service.perception.networks import Networks
from service.perception.perceive import Perception

HEAD = (80, 0, 300, 300)  # x, y, width, height of head and shoulders in the portrait
FACE_CENTRE = (146.0, 123.0)  # of the face in HEAD, pixels
FACE_SIZE = 107.0  # pixels, longer side of the face box

Picture = NDArray[np.uint8]


@cache
def networks() -> Networks:
    """The networks out of the weights store."""
    return Networks()


def room(width: int = 1280, height: int = 720) -> Picture:
    """A picture with nobody in it: soft light from one side."""
    across = np.linspace(90, 160, width)[None, :, None]
    down = np.linspace(0, 30, height)[:, None, None]
    return np.broadcast_to(across + down, (height, width, 3)).astype(np.uint8)


def head(portrait: Picture, size: float, colours: tuple[int, int, int] = (0, 1, 2)) -> Picture:
    """Head and shoulders of the portrait with a face of `size` pixels, its colour channels in another order."""
    x, y, width, height = HEAD
    cut = portrait[y : y + height, x : x + width][:, :, list(colours)]
    scale = size / FACE_SIZE
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, None, fx=scale, fy=scale, interpolation=shrink), np.uint8)


def place(picture: Picture, person: Picture, x: float, y: float, size: float) -> None:
    """Puts `person` (a `head` of `size`) into `picture`, the middle of the face at (x, y); cut at the edges."""
    scale = size / FACE_SIZE
    left, top = round(x - FACE_CENTRE[0] * scale), round(y - FACE_CENTRE[1] * scale)
    height, width = picture.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + person.shape[1]), min(height, top + person.shape[0])
    if x1 > x0 and y1 > y0:
        picture[y0:y1, x0:x1] = person[y0 - top : y1 - top, x0 - left : x1 - left]


def centre(face: Face) -> tuple[float, float]:
    """The middle of a face's box in pixels."""
    x, y, width, height = face.box
    return x + width / 2, y + height / 2


def watch(pictures: list[Picture], fps: float = 30.0) -> list[list[Face]]:
    """What a new stream's perception sees in `pictures`."""
    perception = Perception(networks())
    return [perception(Frame(picture, index / fps)) for index, picture in enumerate(pictures)]
