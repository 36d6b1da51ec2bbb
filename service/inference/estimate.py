"""What a model says of one face at one time."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """Raw output of a model. What the model does not give is None (for `aus`: empty)."""

    track: int
    t: float  # seconds on the session clock: the newest input that was used
    valence: float | None = None  # [-1, 1]
    arousal: float | None = None  # [-1, 1]
    std: tuple[float, float] | None = None  # of valence, arousal
    expression: NDArray[np.float32] | None = None  # (7,) probabilities in the order of labels.EXPRESSIONS
    certainty: float | None = None  # of the likeliest class, all eight counted; None: the model was not taught to doubt
    other: float | None = None  # probability of an eighth class, before the seven were renormalised
    aus: dict[str, float] = field(default_factory=dict)  # "AU12" -> probability
    raw: tuple[float | None, float | None] | None = None  # valence, arousal of the face alone, where sound is in them
    compound: NDArray[np.float32] | None = None  # (11,) scores in the order of labels.COMPOUND_EXPRESSIONS
    missing: tuple[str, ...] = ()  # inputs that the model was trained with and did not get
