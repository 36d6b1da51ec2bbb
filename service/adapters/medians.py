"""Trailing medians of valence and arousal by track: the causal form of the medians of Kollias et al. 2021, V-B."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from models.postprocess import TrailingMedian
from service.adapters.adapter import Estimate
from service.adapters.pacing import FORGET
from service.perception.face import Face


class TrackMedians:
    """Give each track the median of its last half second of valence and arousal; forget it after a second away."""

    def __init__(self) -> None:
        """Begin a session without tracks."""
        self._seen: dict[int, float] = {}  # s
        self._medians: dict[int, tuple[TrailingMedian, TrailingMedian]] = {}

    def smoothed(self, t: float, faces: Sequence[Face], estimates: Mapping[int, Estimate]) -> dict[int, Estimate]:
        """Return the estimates of `t` seconds with medians in place of their valence and arousal."""
        for track in [track for track, seen in self._seen.items() if t - seen > FORGET]:
            del self._seen[track], self._medians[track]
        self._seen |= {face.track: t for face in faces if face.track in estimates}
        found = {}
        for track, estimate in estimates.items():
            if estimate.valence is None or estimate.arousal is None or track not in self._seen:
                found[track] = estimate
                continue
            valence, arousal = self._medians.setdefault(track, (TrailingMedian(), TrailingMedian()))
            found[track] = replace(estimate, valence=valence(estimate.valence), arousal=arousal(estimate.arousal))
        return found
