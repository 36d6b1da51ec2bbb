"""When a face cannot be read, and why. Every limit has a second one for coming back, so that no status flickers."""

from collections.abc import Callable
from dataclasses import dataclass

from service.perception.face import Face


@dataclass(frozen=True, slots=True)
class Limit:
    """A reason holds once the measure reaches `enter`, and until it is back beyond `leave`."""

    reason: str
    measure: Callable[[Face], float]
    enter: float
    leave: float

    def holds(self, face: Face, held: bool) -> bool:
        """Whether the reason holds for `face`, given whether it held for the frame before."""
        x, edge = self.measure(face), self.leave if held else self.enter
        return x > edge if self.enter > self.leave else x < edge


LIMITS = (
    Limit("turned_away", lambda face: abs(face.head_pose.yaw), enter=55.0, leave=48.0),  # degrees
    Limit("turned_away", lambda face: abs(face.head_pose.pitch), enter=40.0, leave=35.0),  # degrees
    Limit("too_small", lambda face: face.quality.size, enter=36.0, leave=42.0),  # pixels
    Limit("blurred", lambda face: face.quality.sharpness, enter=8.0, leave=12.0),  # grey² of the 112-pixel crop
    Limit("too_dark", lambda face: face.quality.brightness, enter=16.0, leave=22.0),  # of 255
)


class QualityGate:
    """Reasons for abstaining from one track, frame by frame."""

    def __init__(self) -> None:
        self._holds = [False] * len(LIMITS)

    def __call__(self, face: Face) -> list[str]:
        """Reasons that hold for `face` now, each once; none where it can be read."""
        self._holds = [limit.holds(face, held) for limit, held in zip(LIMITS, self._holds, strict=True)]
        held = (limit.reason for limit, holds in zip(LIMITS, self._holds, strict=True) if holds)
        return list(dict.fromkeys(held))
