"""Where to look for faces, and when: the whole picture, overlapping tiles for small faces, and around lost ones.

One look at the whole picture reaches faces of about 7 % of its longer side, and another one those that fill it. Tiles
reach further, at the price of one more look each. Looks are spread over the frames, so that none takes much longer than
the others: about twice a second everything has been seen once. Only the media clock counts, so a recording is looked
at exactly as the live stream was.
"""

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.detector import Detection, Region, detect
from service.perception.mesh import Roi, roi_from_detection
from service.perception.networks import Networks

TILE = 512  # pixels; a face of 50 px is 19 px of the detector's input there
TILE_OVERLAP = 0.25  # of a tile; larger faces than that are seen in the whole picture
MAX_TILES = 8  # above, tiles grow with the picture, and so does the smallest face
NEWCOMERS_PERIOD = 0.5  # s in which everything is looked at once while somebody is there
NOBODY_PERIOD = 0.2  # s, the same while nobody is there
MAX_LOOKS = 2  # detector passes in one frame after the first
CLOSE_SCORE = 0.3  # of a detection in the thorough first look at a picture's middle
CLOSE_PAD = 0.25  # border over side; the detectors know faces with something around them
CLOSE_SIDE = 1.25  # region over picture, for a face that fills it


@dataclass(frozen=True, slots=True)
class Look:
    """A pass of a detector over a part of the picture, None for all of it; `near`: for faces that fill it."""

    region: Region | None
    near: bool = False


def looks_of(width: int, height: int) -> list[Look]:
    """All there is to look at in a picture of that size."""
    return [Look(None), Look(None, near=True), *map(Look, tiles_of(width, height))]


def tiles_of(width: int, height: int) -> list[Region]:
    """Overlapping square tiles that cover a picture in which one look does not reach small faces; else none."""
    if max(width, height) <= TILE * (1 + TILE_OVERLAP):
        return []
    side = TILE
    while True:
        step = round(side * (1 - TILE_OVERLAP))
        columns, rows = (1 + max(0, ceil((length - side) / step)) for length in (width, height))
        if columns * rows <= MAX_TILES:
            break
        side = round(side * 1.1)
    return [
        (x, y, min(side, width), min(side, height))
        for y in _starts(height, side, rows)
        for x in _starts(width, side, columns)
    ]


def _starts(length: int, side: int, count: int) -> list[int]:
    last = max(0, length - side)
    return [round(last * index / (count - 1)) if count > 1 else 0 for index in range(count)]


def region_around(roi: Roi, width: int, height: int, factor: float) -> Region | None:
    """The part of the picture within `factor` sides around `roi`, or None if nothing of it is in the picture."""
    half = roi.side * factor / 2
    x0, y0 = max(0, int(roi.x - half)), max(0, int(roi.y - half))
    x1, y1 = min(width, ceil(roi.x + half)), min(height, ceil(roi.y + half))
    return (x0, y0, x1 - x0, y1 - y0) if x1 - x0 > 1 and y1 - y0 > 1 else None


@dataclass
class Schedule:
    """Which looks are due at which time. One for each session."""

    _at: float | None = None  # s, the last frame
    _credit: float = 0.0  # looks that are due
    _next: int = 0  # index of the next look

    def due(self, t: float, looks: int, anybody: bool) -> list[int]:
        """Indices of the looks to take now, of `looks` that are taken in turn; all of them in the first frame."""
        if self._at is None:
            self._at = t
            return list(range(looks))
        period = NEWCOMERS_PERIOD if anybody else NOBODY_PERIOD
        self._credit = min(self._credit + max(0.0, t - self._at) / period * looks, float(looks))
        self._at = t
        count = min(int(self._credit), looks, MAX_LOOKS)
        self._credit -= count
        chosen = [(self._next + index) % looks for index in range(count)]
        self._next = (self._next + count) % looks
        return chosen


def take(look: Look, networks: Networks, image: NDArray[np.uint8]) -> list[Detection]:
    """The faces that a look finds in (height, width, 3) RGB `image`."""
    return detect(networks.short_range if look.near else networks.full_range, image, look.region)


def close_rois(networks: Networks, image: NDArray[np.uint8]) -> list[Roi]:
    """Regions to try in a picture that was cut out around a face, best first; the last one is the picture itself."""
    height, width = image.shape[:2]
    border = max(1, round(CLOSE_PAD * max(height, width)))
    padded: NDArray[np.uint8] = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    found = detect(networks.short_range, padded, min_score=CLOSE_SCORE)[:2]
    rois = [roi_from_detection(detection).moved(-border, -border) for detection in found]
    return [*rois, Roi(width / 2, height / 2, CLOSE_SIDE * max(height, width), 0.0)]
