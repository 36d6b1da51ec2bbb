"""The neutral baseline: what valence and arousal are when this person looks neutral.

Resting faces differ: the same network reads one person's as -0.2 and another's as +0.1. OpenFace therefore subtracts a
running 10 % quantile from each action unit. A low quantile suits what only goes up from rest; valence and arousal go
both ways, so here it is the median of the frames so far that the model itself finds neutral, each weighted by how long
it lasted and by how neutral it is. A face that never looks neutral to the model has no running baseline: what is not
known is not made up. The neutral step (`service.neutral`) replaces the running baseline by what the person showed when
asked to look neutral, which also serves faces whose rest the model takes for an expression, and models without
expressions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# s of neutral face before there is a baseline: about the shortest stretch in which a person settles after looking up.
WARM_UP = 3.0
# s after which what was seen counts half: light and seat change within an hour, and a mood lasts longer than a minute.
HALF_LIFE = 300.0
# s that one frame may stand for at most, so that the frame after a gap does not stand for the gap.
LONGEST_STEP = 0.25
_BINS = 400  # over [-1, 1]: half a hundredth each, far below the noise of any estimate

Pair = tuple[float, float]


class Baseline:
    """Keep a running weighted median of valence and arousal in constant memory, or what the neutral step gave.

    The median is taken from a histogram, as OpenFace does.
    """

    def __init__(self) -> None:
        self._value: Pair | None = None
        self.reset()

    @property
    def value(self) -> Pair | None:
        """Return valence and arousal of this person at rest; None until `WARM_UP` seconds of neutral were seen."""
        return self._value

    def entry(self) -> dict[str, Any]:
        """Return the baseline as events have it (`service.events.FaceBaseline`)."""
        valence, arousal = (None, None) if self._value is None else (round(x, 4) + 0.0 for x in self._value)
        source = None if self._value is None else "neutral_step" if self._asked else "running"
        missing = "not_neutral_yet" if self._can_tell else "not_in_model"
        return {
            "source": source,
            "valence": valence,
            "arousal": arousal,
            "neutral_s": round(self._seen, 1),
            "reasons": [] if self._value is not None else [missing],
        }

    def reset(self) -> None:
        """Forget everything that was seen, and what the neutral step gave."""
        self._bins: NDArray[np.float64] = np.zeros((2, 2, _BINS))  # weights, and weights times values, of the pair
        self._seen = 0.0  # s of neutral face
        self._t: float | None = None
        self._value = None
        self._asked = False  # the value is that of the neutral step
        self._can_tell = True  # the model gives expressions

    def set(self, value: Pair, seconds: float) -> None:
        """Keep `value`, which the neutral step read over so many seconds, until `reset`."""
        self._value, self._seen, self._asked = value, seconds, True

    def push(self, t: float, valence: float, arousal: float, neutral: float | None, *, can_tell: bool = True) -> None:
        """Take an unsmoothed estimate at `t` seconds.

        `neutral` is the probability of neutral where that is the likeliest expression, else None; `can_tell` says
        whether the model gives expressions at all.
        """
        step = 0.0 if self._t is None else min(t - self._t, LONGEST_STEP)
        self._t = t
        self._can_tell = can_tell
        if self._asked:
            return
        self._bins *= 0.5 ** (step / HALF_LIFE)
        if neutral is None:
            return
        self._seen += step
        for row, x in enumerate((valence, arousal)):
            bin_ = min(int((x + 1.0) * 0.5 * _BINS), _BINS - 1)
            self._bins[0, row, bin_] += step * neutral
            self._bins[1, row, bin_] += step * neutral * x
        if self._seen >= WARM_UP:
            self._value = self._medians()

    def _medians(self) -> Pair:
        sums = self._bins[0].cumsum(1)
        rows, middles = (0, 1), [int(line.searchsorted(0.5 * line[-1])) for line in sums]
        weights, moments = self._bins[:, rows, middles].tolist()
        return moments[0] / weights[0], moments[1] / weights[1]
