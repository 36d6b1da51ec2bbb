"""Decoded pictures as they are meant to be shown: square pixels, ordinary colours, upright, RGB."""

import math
import time
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from service import metrics
from service.capture.tone_map import NAMES, ToneMapper

_CONVERT = metrics.STAGE_SECONDS.labels("convert")
_WIDEST = 8  # a sample aspect ratio beyond 8:1 or 1:8 is a broken header, not a picture


class PictureConverter:
    """Convert the pictures of one stream and keep its conversion context: building one costs more than using it.

    `done` says in words what was done besides the conversion to RGB, for the session's detail.
    """

    def __init__(self, stream: VideoStream | None = None, rotate: int = 0) -> None:
        """Read the aspect ratio of the pixels from `stream`. `rotate`: degrees clockwise, one of `source.TURNS`."""
        self.done: tuple[str, ...] = ()
        self._stream = stream
        self._declared = stream.sample_aspect_ratio if stream is not None else None
        self._coded = stream.codec_context.sample_aspect_ratio if stream is not None else None
        self._rotate = rotate
        self._reformatter = VideoReformatter()
        self._tone_mapper = ToneMapper()
        self._rotation: float | None = None  # degrees, of the frame whose display matrix is kept
        self._matrix: NDArray[np.int32] | None = None
        self._coded_form: tuple[int, int, Fraction | None] | None = None  # of the frame that `_size` was computed for
        self._size = 0, 0  # width and height in square pixels

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8 RGB, contiguous.

        The pixels are made square, HDR is mapped to BT.709, and the picture is turned as the container's display
        matrix says and then by `rotate`.
        """
        began = time.perf_counter()
        done = []
        # A frame whose side data was touched refers to itself and keeps its memory until the garbage collector comes
        # by; so only the side data of the first frame and of frames whose rotation changed are read.
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            self._matrix = _display_matrix(frame)
        width, height = self._square_size(frame)
        if (width, height) != (frame.width, frame.height):
            done.append(f"{frame.width}x{frame.height} stretched to {width}x{height} with square pixels")
        if frame.color_trc in NAMES:
            done.append(f"HDR ({NAMES[ColorTrc(frame.color_trc)]}) mapped to BT.709")
            frame = self._tone_mapper(frame)
        if (width, height) == (frame.width, frame.height):
            rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        else:
            rgb = self._reformatter.reformat(
                frame, width, height, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
            )
        image = np.ascontiguousarray(rgb.to_ndarray(), np.uint8)
        if self._matrix is not None:
            image = upright(image, self._matrix)
            what = _turned_or_mirrored(self._matrix)
            if what:
                done.append(f"{what} as the file says")
        if self._rotate:
            image = turned(image, self._rotate)
            done.append(f"turned by {self._rotate} degrees as asked")
        self.done = tuple(done)
        _CONVERT.observe(time.perf_counter() - began)
        return image

    def _square_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return the width and height of `frame` in square pixels, computed anew only where something changed."""
        coded = None if self._stream is None else self._stream.codec_context.sample_aspect_ratio
        form = (frame.width, frame.height, coded)
        if form != self._coded_form:
            self._coded_form, self._size = form, square(frame.width, frame.height, self._pixel_aspect(coded))
        return self._size

    def _pixel_aspect(self, coded: Fraction | None) -> Fraction:
        """Return the width of a pixel in its heights: the container's, until the coded stream says something new."""
        if self._stream is None:
            return Fraction(1)
        if coded and coded != self._coded:
            return Fraction(coded)
        return Fraction(self._declared or coded or 1)


def square(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the size in square pixels of a picture whose pixels are `aspect` times as wide as they are high.

    The shorter side of the pixel is stretched, so that nothing is lost. An `aspect` beyond 8:1 or 1:8 counts as 1.
    """
    if not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def turned(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """Return `image` (h, w, 3) turned clockwise by `degrees`, a multiple of 90, contiguous."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90))


def _display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    sides = cast(SideDataContainer, frame.side_data)
    for index in range(len(sides)):
        data = sides[index]
        if data.type is SideDataType.DISPLAYMATRIX:
            return np.frombuffer(bytes(data), np.int32)
    return None


def upright(image: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return `image` (h, w, 3) turned to the nearest quarter and mirrored as the nine numbers of a display matrix say.

    A point (p, q) goes to x = a p + c q, y = b p + d q; `matrix` is a, b, u, c, d, v, x, y, w (ISO 14496-12).
    """
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        mirrored, upside_down = c < 0, b < 0
    else:
        mirrored, upside_down = a < 0, d < 0
    return np.ascontiguousarray(image[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _turned_or_mirrored(matrix: NDArray[np.int32]) -> str:
    """Return in words what `upright` does for `matrix`, mirroring before turning; "" if nothing."""
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    mirrored = a * d < b * c
    degrees = round(math.degrees(math.atan2(b, a)) / 90) * 90 + (180 if mirrored else 0)
    turning = f"turned by {degrees % 360} degrees" if degrees % 360 else ""
    return " and ".join(part for part in ("mirrored" if mirrored else "", turning) if part)
