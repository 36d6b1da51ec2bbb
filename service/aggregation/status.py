"""When a face is not read, and why. Every limit has a second one for coming back, so that no status flickers."""

from collections.abc import Callable
from dataclasses import dataclass

from service.perception.face import Face


@dataclass(frozen=True, slots=True)
class Limit:
    """Let a reason hold once the measure is beyond `enter`, and until it is back within `leave`."""

    reason: str
    measure: Callable[[Face], float]
    enter: float
    leave: float

    def holds(self, face: Face, held: bool) -> bool:
        """Return whether the reason holds for `face`, given whether it held for the frame before."""
        x, edge = self.measure(face), self.leave if held else self.enter
        return x > edge if self.enter > self.leave else x < edge


# The limits stand where the pictures end that networks of this field are trained on, measured by this very perception
# on 700 web photographs and 489 pictures of FER+, and 454 walkers' faces of 48 to 123 pixels can still be read.
LIMITS = (
    # Degrees. 99.5 % of the photographs lie below 40 and 28, of FER+ below 49 and 33; the mesh follows to about 60.
    Limit("turned_away", lambda face: abs(face.head_pose.yaw), enter=50.0, leave=45.0),
    Limit("turned_away", lambda face: abs(face.head_pose.pitch), enter=35.0, leave=31.0),
    # Pixels. 99 % of FER+'s faces are larger than 30 in pictures of 48.
    Limit("too_small", lambda face: face.quality.size, enter=30.0, leave=34.0),
    # Grey² in the crop of 112 pixels. Sharp photographs have 140 to 2,000, the walkers 12 to 225; a Gaussian blur of 2
    # crop pixels leaves 13, of 3 leaves 5, where eyelids and mouth corners are gone.
    Limit("blurred", lambda face: face.quality.sharpness, enter=6.0, leave=8.0),
    # Of 255. The darkest of the 1,189 pictures, dark skin in dim light among them, has 25: what is below is not dark
    # skin but a picture without light.
    Limit("too_dark", lambda face: face.quality.brightness, enter=16.0, leave=20.0),
)


# Probability of the likeliest of eight classes, below which the model recognises nothing. Chosen on what face-mt-4's
# folds said of the photographs that each never saw. With face-mt-5's folds 16 of 2,200 photographs lie below 0.22,
# where the likeliest class is right for 6, and 52 below 0.24, where it is right for 13. Of noise, cut-up and drawn
# faces 83 to 98 % lie below 0.22.
UNCLEAR, CLEAR = 0.22, 0.25
# Probability that a part of the face is covered, above which what is left is not read: more likely covered than not.
# Of web photographs 3 % lie above it, most of them covered by hands, pacifiers or beards; of faces upside down all do.
OCCLUDED, UNCOVERED = 0.5, 0.4


class Doubt:
    """Decide for one track, from the model's own certainty in each estimate, whether its face can be read."""

    def __init__(self) -> None:
        self._unclear = self._occluded = False

    def __call__(self, certainty: float | None, occluded: float | None) -> list[str]:
        """Return the reasons that hold for the newest estimate; none where it can be used.

        Args:
            certainty: Probability of the likeliest class, 0 to 1; None from a model that was not trained for that.
            occluded: Probability that the face is covered in part, 0 to 1; None from a model without that output.
        """
        self._unclear = certainty is not None and certainty < (CLEAR if self._unclear else UNCLEAR)
        self._occluded = occluded is not None and occluded > (UNCOVERED if self._occluded else OCCLUDED)
        return [name for name, holds in (("unclear", self._unclear), ("occluded", self._occluded)) if holds]


class QualityGate:
    """Find the reasons for abstaining from one track, frame by frame."""

    def __init__(self) -> None:
        self._holds = [False] * len(LIMITS)

    def __call__(self, face: Face) -> list[str]:
        """Return the reasons that hold for `face` now, each once; none where it can be read."""
        self._holds = [limit.holds(face, held) for limit, held in zip(LIMITS, self._holds, strict=True)]
        held = (limit.reason for limit, holds in zip(LIMITS, self._holds, strict=True) if holds)
        return list(dict.fromkeys(held))
