"""Where to look for faces, and when: the whole picture, overlapping tiles for small faces, and around lost ones.

One pass of a detector over the whole picture finds faces of 7 % of its longer side and more, and another one those that
fill it. Tiles find smaller faces, for one more pass each. The passes are spread over the frames, so that no frame takes
much longer than the others: all of them run about twice a second. Only the media clock counts, so that a recording is
searched exactly as the live stream was.
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
NEWCOMERS_PERIOD = 0.5  # s in which every pass runs once while there is a face
NOBODY_PERIOD = 0.2  # s, the same while there is none
MAX_PASSES = 2  # detector passes in one frame after the first
CLOSE_SCORE = 0.3  # of a detection in the thorough search of the first picture
CLOSE_PAD = 0.25  # border over side; the detectors were trained on faces with something around them
CLOSE_SIDE = 1.25  # region over picture, for a face that fills it


@dataclass(frozen=True, slots=True)
class DetectorPass:
    """Describe one run of a detector.

    Attributes:
        region: The part of the picture that is searched; None for all of it.
        near: Whether the detector is the one for faces that fill the picture.
    """

    region: Region | None
    near: bool = False


def passes_of(width: int, height: int) -> list[DetectorPass]:
    """Return all passes that search a picture of so many pixels."""
    return [DetectorPass(None), DetectorPass(None, near=True), *map(DetectorPass, tiles_of(width, height))]


def tiles_of(width: int, height: int) -> list[Region]:
    """Return overlapping square tiles that cover a large picture; none for one in which one pass finds small faces."""
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
    """Return the part of the picture within `factor` sides around `roi`, or None if none of it is in the picture."""
    half = roi.side * factor / 2
    x0, y0 = max(0, int(roi.x - half)), max(0, int(roi.y - half))
    x1, y1 = min(width, ceil(roi.x + half)), min(height, ceil(roi.y + half))
    return (x0, y0, x1 - x0, y1 - y0) if x1 - x0 > 1 and y1 - y0 > 1 else None


@dataclass
class Schedule:
    """Say which passes are due at which time, for one session."""

    _at: float | None = None  # s, the last frame
    _credit: float = 0.0  # passes that are due
    _next: int = 0  # index of the next pass

    def due(self, t: float, passes: int, anybody: bool) -> list[int]:
        """Return the indices of the passes to run at `t` seconds: all of them in the first frame, then one by one.

        Args:
            t: Seconds on the media clock.
            passes: Number of all passes.
            anybody: Whether there is a face, so that newcomers may be found a little later.
        """
        if self._at is None:
            self._at = t
            return list(range(passes))
        period = NEWCOMERS_PERIOD if anybody else NOBODY_PERIOD
        self._credit = min(self._credit + max(0.0, t - self._at) / period * passes, float(passes))
        self._at = t
        count = min(int(self._credit), passes, MAX_PASSES)
        self._credit -= count
        chosen = [(self._next + index) % passes for index in range(count)]
        self._next = (self._next + count) % passes
        return chosen


def run_pass(one: DetectorPass, networks: Networks, image: NDArray[np.uint8]) -> list[Detection]:
    """Return the faces that a pass finds in (height, width, 3) RGB `image`."""
    return detect(networks.short_range if one.near else networks.full_range, image, one.region)


def close_rois(networks: Networks, image: NDArray[np.uint8]) -> list[Roi]:
    """Return regions to try in a picture cut out around a face, best first; the last one is the whole picture."""
    height, width = image.shape[:2]
    border = max(1, round(CLOSE_PAD * max(height, width)))
    padded: NDArray[np.uint8] = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    found = detect(networks.short_range, padded, min_score=CLOSE_SCORE)[:2]
    rois = [roi_from_detection(detection).moved(-border, -border) for detection in found]
    return [*rois, Roi(width / 2, height / 2, CLOSE_SIDE * max(height, width), 0.0)]
