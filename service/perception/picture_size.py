"""What a change of the picture's size means for places in it.

A sender of WebRTC begins with a small picture and enlarges it in steps (640, 960, 1280 pixels wide). As long as the
shape stays, the same things are seen in more pixels: places, lengths and speeds are multiplied, and nothing is lost. In
a picture of another shape something was cut off or added, and no old place means anything.
"""

from dataclasses import dataclass
from math import sqrt

Size = tuple[int, int]  # width, height in pixels

# Part by which the ratio of the sides may change: encoders round both sides to whole blocks of up to 16 pixels, which
# is 4 % of 426x240's width-to-height ratio at most; 4:3 differs from 16:10 by 17 %.
SAME_SHAPE = 0.04


@dataclass(frozen=True, slots=True)
class Scale:
    """Hold the factors from the pixels of one picture to those of another one of the same shape."""

    x: float
    y: float

    @property
    def mean(self) -> float:
        """Return the factor for lengths that have no direction."""
        return sqrt(self.x * self.y)


def scale_between(old: Size, new: Size) -> Scale | None:
    """Return the factors from a picture of size `old` to one of size `new`; None if their shapes differ.

    Sizes are (width, height) in pixels, each at least 1.
    """
    scale = Scale(new[0] / old[0], new[1] / old[1])
    ratio = scale.x / scale.y
    return scale if 1 - SAME_SHAPE <= ratio <= 1 / (1 - SAME_SHAPE) else None
