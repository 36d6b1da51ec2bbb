"""A part of a recording, between two times of its own clock."""

import math
from dataclasses import dataclass

from models.errors import UserError
from service.capture.media import SAMPLE_RATE, Frame, Sound

_SLACK = 1e-6  # s; a frame that lies on the edge but for rounding counts as on it
_SOUND_FIRST = 2.0  # s by which sound may come before the pictures of its time


@dataclass(frozen=True, slots=True)
class Span:
    """Hold the part from `start`, which belongs to it, to `end`, which does not; in seconds of the recording."""

    start: float = 0.0
    end: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.start < math.inf:
            raise UserError(f"the start {self.start:g} is no time of a recording; give seconds from its beginning")
        if not self.start < self.end:
            raise UserError(f"the end {self.end:g} s is not after the start {self.start:g} s; give a later one")

    @property
    def whole(self) -> bool:
        """Return whether nothing is left out."""
        return self.start == 0 and self.end == math.inf

    def has(self, t: float) -> bool:
        """Return whether second `t` belongs to the part."""
        return self.start - _SLACK <= t < self.end - _SLACK

    def over(self, item: Frame | Sound) -> bool:
        """Return whether nothing of the part comes after `item`. Sound comes before the pictures of its time."""
        return item.t >= self.end - _SLACK + (_SOUND_FIRST if isinstance(item, Sound) else 0.0)

    def cut(self, sound: Sound) -> Sound | None:
        """Return the samples of `sound` that belong to the part; None if there are none."""
        first = max(0, math.ceil((self.start - sound.t) * SAMPLE_RATE - _SLACK))
        last = len(sound.samples)
        if self.end < math.inf:
            last = min(last, math.ceil((self.end - sound.t) * SAMPLE_RATE - _SLACK))
        if first == 0 and last == len(sound.samples):
            return sound
        return Sound(sound.samples[first:last], sound.t + first / SAMPLE_RATE) if first < last else None


def seconds(text: str) -> float:
    """Return the seconds in "90", "1:30" or "0:01:30.5". Raise `ValueError` for any other text."""
    total = 0.0
    parts = text.strip().split(":")
    if len(parts) > 3:
        raise ValueError(text)
    for place, part in enumerate(parts):
        value = float(part)
        if not 0 <= value < math.inf or (place and value >= 60) or (place < len(parts) - 1 and value % 1):
            raise ValueError(text)
        total = total * 60 + value
    return total
