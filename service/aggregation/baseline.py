"""The neutral baseline: what valence and arousal are when this person looks neutral.

Resting faces differ: the same network reads one person's as -0.2 and another's as +0.1. OpenFace therefore subtracts a
running 10 % quantile from each action unit. A low quantile suits what only goes up from rest; valence and arousal go
both ways, so here it is the median of the frames so far, each weighted by how long it lasted and by how neutral the
model finds it. A median, because a laugh of ten seconds must not move it; weights instead of a threshold, because a
face that the model never calls neutral still gets a baseline, which the first neutral moments then correct.
"""

import numpy as np
from numpy.typing import NDArray

# s of readable face before there is a baseline: about the shortest stretch in which a person settles after looking up.
WARM_UP = 3.0
# s after which what was seen counts half: light and seat change within an hour, and a mood lasts longer than a minute.
HALF_LIFE = 300.0
# Weight of a frame that is not neutral at all; a frame that is certainly neutral weighs 1.
LEAST_WEIGHT = 0.02
# s that one frame may stand for at most, so that the frame after a gap does not stand for the gap.
LONGEST_STEP = 0.25
_BINS = 400  # over [-1, 1]: half a hundredth each, far below the noise of any estimate

Pair = tuple[float, float]


class Baseline:
    """Keep a running weighted median of valence and arousal in constant memory: a histogram, as OpenFace does."""

    def __init__(self) -> None:
        self._value: Pair | None = None
        self.reset()

    @property
    def value(self) -> Pair | None:
        """Valence and arousal of this person at rest; None until `WARM_UP` seconds were seen."""
        return self._value

    def reset(self) -> None:
        """Forget everything that was seen."""
        self._bins: NDArray[np.float64] = np.zeros((2, 2, _BINS))  # weights, and weights times values, of the pair
        self._seen = 0.0  # s
        self._t: float | None = None
        self._value = None

    def push(self, t: float, valence: float, arousal: float, neutral: float | None) -> None:
        """Take an unsmoothed estimate at `t` seconds; `neutral` is that expression's probability, None if unknown."""
        step = 0.0 if self._t is None else min(t - self._t, LONGEST_STEP)
        self._t = t
        self._seen += step
        decay = 0.5 ** (step / HALF_LIFE)
        self._bins *= decay
        weight = step * (1.0 if neutral is None else max(neutral, LEAST_WEIGHT))
        for row, x in enumerate((valence, arousal)):
            bin_ = min(int((x + 1.0) * 0.5 * _BINS), _BINS - 1)
            self._bins[0, row, bin_] += weight
            self._bins[1, row, bin_] += weight * x
        if self._seen >= WARM_UP:
            self._value = self._medians()

    def _medians(self) -> Pair:
        sums = self._bins[0].cumsum(1)
        rows, middles = (0, 1), [int(line.searchsorted(0.5 * line[-1])) for line in sums]
        weights, moments = self._bins[:, rows, middles].tolist()
        return moments[0] / weights[0], moments[1] / weights[1]
