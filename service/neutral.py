"""The neutral step: ten seconds in which the people in view were asked to look neutral, and what came of it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

SECONDS = 10.0  # that the step takes
READ_AT_LEAST = 5.0  # s of it in which a face was read, before its median counts as that person's neutral
LONGEST_STEP = 1.0  # s that one reading may stand for at most; the slow systems read about once a second


@dataclass(frozen=True, slots=True)
class NeutralFace:
    """Describe what the neutral step found in one face."""

    track: Annotated[int, Field(description="Track of the face")]
    valence: Annotated[float | None, Field(description="Median of valence, -1 to 1; null if it was not read enough")]
    arousal: Annotated[float | None, Field(description="Median of arousal, -1 to 1; null if it was not read enough")]
    read_s: Annotated[float, Field(description="Seconds of the step in which the face was read; 5 are needed")]
    neutral_share: Annotated[
        float | None,
        Field(
            description="Part of those seconds, 0 to 1, in which the model too found neutral the likeliest expression; "
            "null for a model without expressions"
        ),
    ]


@dataclass(frozen=True, slots=True)
class NeutralStep:
    """Describe the step in which people are asked to look neutral, so that from_baseline is measured from that."""

    state: Annotated[
        Literal["running", "done", "failed"],
        Field(
            description="running: look neutral now; done: at least one face has its neutral; failed: no face was read "
            "for 5 s of the step, or it was ended early"
        ),
    ]
    t: Annotated[float | None, Field(description="Seconds on the session's clock at which it began; null before that")]
    left_s: Annotated[float, Field(description="Seconds that are left")]
    faces: Annotated[list[NeutralFace], Field(description="The faces that were read in it; empty while it runs")]


ASKED = NeutralStep("running", None, SECONDS, [])


def read_step(data: Mapping[str, Any]) -> NeutralStep:
    """Return the step in the JSON of an answer of the API."""
    return NeutralStep(**{**data, "faces": [NeutralFace(**face) for face in data["faces"]]})


@dataclass(slots=True)
class _Seen:
    """Hold the readings of one face: values, the seconds that each stands for, and whether it looked neutral."""

    valence: list[float] = field(default_factory=list)
    arousal: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    neutral: list[bool | None] = field(default_factory=list)
    last: float | None = None


class StepInProgress:
    """Collect what is read of the faces from second `t` on, for `SECONDS`."""

    def __init__(self, t: float) -> None:
        """Begin at second `t` of the session."""
        self.t = t
        self._seen: defaultdict[int, _Seen] = defaultdict(_Seen)

    def push(self, track: int, t: float, valence: float, arousal: float, neutral: bool | None) -> None:
        """Take a reading of a face at `t` seconds; `neutral` is whether the model finds it so, None if it cannot say.

        Readings of pictures from before the step count for nothing.
        """
        if t < self.t:
            return
        seen = self._seen[track]
        since = self.t if seen.last is None else seen.last
        seen.valence.append(valence)
        seen.arousal.append(arousal)
        seen.seconds.append(min(t - since, LONGEST_STEP))
        seen.neutral.append(neutral)
        seen.last = t

    def over(self, t: float) -> bool:
        """Return whether the step's time is over at `t` seconds."""
        return t >= self.t + SECONDS

    def now(self, t: float) -> NeutralStep:
        """Return the step as it is at `t` seconds, while it runs."""
        return NeutralStep("running", round(self.t, 3), round(min(max(self.t + SECONDS - t, 0.0), SECONDS), 1), [])

    def result(self) -> NeutralStep:
        """Return what came of the step, with what was read so far."""
        faces = [_face(track, seen) for track, seen in sorted(self._seen.items())]
        state: Literal["done", "failed"] = "done" if any(face.valence is not None for face in faces) else "failed"
        return NeutralStep(state, round(self.t, 3), 0.0, faces)


def _face(track: int, seen: _Seen) -> NeutralFace:
    weights = np.array(seen.seconds)
    read = float(weights.sum())
    enough = read >= READ_AT_LEAST
    known = [one for one in seen.neutral if one is not None]
    share = float(np.dot(weights, [bool(one) for one in seen.neutral])) / read if known and read else None
    return NeutralFace(
        track,
        _median(seen.valence, weights) if enough else None,
        _median(seen.arousal, weights) if enough else None,
        round(read, 2),
        None if share is None else round(share, 3),
    )


def _median(values: list[float], weights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    order = np.argsort(values)
    sums = weights[order].cumsum()
    return round(float(values[order[int(sums.searchsorted(0.5 * sums[-1]))]]), 4) + 0.0  # no -0.0
