"""Face and voice at decision level: a mean with weights proportional to validation CCC (Kollias et al. 2020, eq. 3).

The weight of the voice fades as its reading gets older and where the network doubts that there is a voice. The
expressions are pooled linearly by validation F1. The deviation is that of the mixture: it grows where the two disagree,
and claims no independence of two looks at one person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np

from models.labels import EXPRESSIONS
from service.adapters.adapter import Estimate
from service.adapters.voice import HOLD, Trust, Voice, VoiceReader
from service.perception.face import Face
from service.perception.mel import MelStream
from service.perception.speech import AudioStatus

_DIGITS = 4


def freshness(t: float, voice: Voice) -> float:
    """What is left at `t` of the voice's weight, 0 to 1."""
    age = max(t - voice.t, 0.0)
    return max(1.0 - age / HOLD, 0.0) * (1.0 - voice.no_speech)


def fuse(t: float, face: Estimate, voice: Voice, of_face: Trust, of_voice: Trust) -> Estimate:
    """The face's estimate with the voice in it; `raw` keeps what the face network gave. What it did not give stays
    unknown.
    """
    left = freshness(t, voice)
    means: list[float | None] = []
    deviations: list[float] = []
    for x, y, sx, sy, a, b in (
        (face.valence, voice.valence, _std(face, 0), voice.std[0], of_face.valence, of_voice.valence),
        (face.arousal, voice.arousal, _std(face, 1), voice.std[1], of_face.arousal, of_voice.arousal),
    ):
        if x is None:
            means.append(None)
            continue
        share = _share(a, b, left)
        mean = (1 - share) * x + share * y
        means.append(mean)
        if sx is not None:
            second = (1 - share) * (sx**2 + x**2) + share * (sy**2 + y**2)
            deviations.append(sqrt(max(second - mean**2, 0.0)))
    expression = face.expression
    if expression is not None:
        share = _share(of_face.expression, of_voice.expression, left)
        expression = np.asarray((1 - share) * expression + share * voice.expression, np.float32)
    return replace(
        face,
        valence=means[0],
        arousal=means[1],
        std=(deviations[0], deviations[1]) if len(deviations) == 2 else face.std,
        expression=expression,
        raw=(face.valence, face.arousal),
    )


class Fusion:
    """Of one session: hears its voice, and fuses it where one face is in view. Causal; driven by one thread."""

    def __init__(self, reader: VoiceReader, of_face: Trust, of_voice: Trust) -> None:
        self._reader = reader
        self._of_face, self._of_voice = of_face, of_voice
        self._voice: Voice | None = None
        self._fused_into: int | None = None

    def hear(self, t: float, audio: AudioStatus, mel: MelStream) -> None:
        """What is heard at `t` seconds, which never goes back."""
        self._voice = self._reader(t, audio, mel)
        self._fused_into = None

    def __call__(self, t: float, faces: Sequence[Face], estimates: Mapping[int, Estimate]) -> dict[int, Estimate]:
        """`estimates` with the voice in the only face in view. With several, nobody knows who speaks."""
        if self._voice is None or len(faces) != 1 or faces[0].track not in estimates:
            return dict(estimates)
        track = self._fused_into = faces[0].track
        return {**estimates, track: fuse(t, estimates[track], self._voice, self._of_face, self._of_voice)}

    def entry(self, t: float) -> dict[str, Any] | None:
        """The event's `audio.voice`; None where there is no recent reading of a voice."""
        voice = self._voice
        if voice is None or t - voice.t > HOLD:
            return None
        values = (np.round(voice.expression.astype(float), _DIGITS) + 0.0).tolist()
        return {
            "age_ms": max(0, round((t - voice.t) * 1e3)),
            "valence": round(voice.valence, _DIGITS) + 0.0,
            "arousal": round(voice.arousal, _DIGITS) + 0.0,
            "std": {"valence": round(voice.std[0], _DIGITS), "arousal": round(voice.std[1], _DIGITS)},
            "expression": {
                "label": EXPRESSIONS[int(voice.expression.argmax())],
                "probabilities": dict(zip(EXPRESSIONS, values, strict=True)),
            },
            "no_speech": round(voice.no_speech, _DIGITS),
            "fused_into": self._fused_into,
        }


def _share(face: float, voice: float, left: float) -> float:
    """The voice's share; a branch that agrees with nothing has none."""
    a, b = max(face, 0.0), max(voice, 0.0) * left
    return b / (a + b) if a + b else 0.0


def _std(face: Estimate, column: int) -> float | None:
    return None if face.std is None else face.std[column]
