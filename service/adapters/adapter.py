"""What an adapter is: the part of a model family that makes its network's inputs and reads its outputs, live."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from service.perception.face import Face
from service.perception.mel import MelStream

Infer = Callable[[Arrays], tuple[Arrays, float]]  # inputs -> outputs and the seconds spent waiting for the engine


@dataclass(frozen=True, slots=True)
class Estimate:
    """Hold what a model reads from one face at one time. A value that the model does not give is None, or empty.

    Attributes:
        track: Number of the face's track.
        t: Seconds on the session clock of the newest input that was used.
        valence: -1 to 1.
        arousal: -1 to 1.
        std: One standard deviation of valence and of arousal.
        expression: (7,) probabilities in the order of `models.labels.EXPRESSIONS`.
        certainty: Probability of the likeliest class, all eight counted; None from a model that was not trained
            to be uncertain.
        other: Probability of an eighth class, before the seven were renormalised.
        aus: Probability that an action unit is present, by its name, such as "AU12".
        intensities: Intensity of an action unit, 0 to 5, by its name.
        intensity_std: One standard deviation of an intensity, by the unit's name.
        occluded: Probability that the face is covered in part, 0 to 1.
        openface: OpenFace's intensity of action units, 0 to 5, by name; None where its predictors were not imported.
        raw: Valence and arousal of the face alone, where `valence` and `arousal` include the voice.
        compound: (11,) scores in the order of `models.labels.COMPOUND_EXPRESSIONS`.
        missing: Inputs that the model was trained with and did not get.
    """

    track: int
    t: float
    valence: float | None = None
    arousal: float | None = None
    std: tuple[float, float] | None = None
    expression: NDArray[np.float32] | None = None
    certainty: float | None = None
    other: float | None = None
    aus: dict[str, float] = field(default_factory=dict)
    intensities: dict[str, float] = field(default_factory=dict)
    intensity_std: dict[str, float] = field(default_factory=dict)
    occluded: float | None = None
    openface: dict[str, float] | None = None
    raw: tuple[float | None, float | None] | None = None
    compound: NDArray[np.float32] | None = None
    missing: tuple[str, ...] = ()


class Adapter(Protocol):
    """Make a network's inputs from faces and sound, and estimates from its outputs, for one session.

    An adapter may keep state, but only of what lies at or before the times that it was given: it is causal.
    """

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return the network's inputs for all `faces` of the frame at `t` seconds, stacked along axis 0.

        None means that nothing is to be run now, and that the last estimates still hold.
        """

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return estimates by track, from the outputs for the inputs of the same `t` and `faces`."""

    def unanswered(self) -> None:
        """Note that the last inputs have no outputs and will have none."""
