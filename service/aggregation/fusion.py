"""Face and voice at decision level: a mean with weights proportional to validation CCC (Kollias et al. 2020, eq. 3).

The voice's weight is the score that it reached on a corpus that it was not trained on. The weight falls as the reading
gets older and where the speech detector is less sure, and the operator can lower it. The expressions are pooled
linearly by F1. The deviation is that of the mixture: it grows where the two disagree, and claims no independence of two
looks at a person.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from engines.errors import UserError, WeightsError
from engines.load import LoadedEngine, load
from models.labels import EXPRESSIONS
from service.adapters.adapter import Estimate, Infer
from service.adapters.voice import HOLD, MODEL, Trust, Voice, VoiceReader, read_trust
from service.aggregation.aggregate import DIGITS
from service.perception.face import Face
from service.perception.speech import AudioStatus, SpeechDetector

log = logging.getLogger(__name__)

# Scores of a face network whose file holds none: face-mt-1 on FER+'s test faces.
FACE_TRUST = Trust(valence=0.877, arousal=0.878, expression=0.666)
ENGINE = "openvino:fp32"  # a fifth of a millisecond for a second of sound: fewer bits would save nothing
_NONE = Trust(0.0, 0.0, 0.0)


def freshness(t: float, voice: Voice) -> float:
    """Return the factor, 0 to 1, of the voice's weight at `t` seconds, which falls with the age of the reading."""
    age = max(t - voice.t, 0.0)
    return max(1.0 - age / HOLD, 0.0) * (1.0 - voice.no_speech)


def shares(left: float, of_face: Trust, of_voice: Trust) -> Trust:
    """Return the voice's share of valence, arousal and expression, 0 to 1, with `left` of its weight."""
    return Trust(
        valence=_share(of_face.valence, of_voice.valence, left),
        arousal=_share(of_face.arousal, of_voice.arousal, left),
        expression=_share(of_face.expression, of_voice.expression, left),
    )


def fuse(face: Estimate, voice: Voice, share: Trust) -> Estimate:
    """Return the face's estimate with the voice's `share` in it; `raw` keeps what the face network gave.

    What the face network did not give stays unknown.
    """
    means: list[float | None] = []
    deviations: list[float] = []
    for x, y, sx, sy, part in (
        (face.valence, voice.valence, _std(face, 0), voice.std[0], share.valence),
        (face.arousal, voice.arousal, _std(face, 1), voice.std[1], share.arousal),
    ):
        if x is None:
            means.append(None)
            continue
        mean = (1 - part) * x + part * y
        means.append(mean)
        if sx is not None:
            second = (1 - part) * (sx**2 + x**2) + part * (sy**2 + y**2)
            deviations.append(sqrt(max(second - mean**2, 0.0)))
    expression = face.expression
    if expression is not None:
        part = share.expression
        expression = np.asarray((1 - part) * expression + part * voice.expression, np.float32)
    return replace(
        face,
        valence=means[0],
        arousal=means[1],
        std=(deviations[0], deviations[1]) if len(deviations) == 2 else face.std,
        expression=expression,
        raw=(face.valence, face.arousal),
    )


class Fusion:
    """Read one session's voice and fuse it where one face is in view. Causal; used by one thread."""

    def __init__(self, reader: VoiceReader, of_face: Trust, of_voice: Trust, weight: float = 1.0) -> None:
        """Begin empty. `weight`, 0 to 1, is a factor on the voice's measured weight."""
        self._reader = reader
        self._of_face, self._of_voice, self._weight = of_face, of_voice, weight
        self._voice: Voice | None = None
        self._fused_into: int | None = None
        self._shares = _NONE

    def hear(self, t: float, audio: AudioStatus, heard: SpeechDetector) -> None:
        """Read what is heard at `t` seconds, which never goes back."""
        self._voice = self._reader(t, audio, heard)
        self._fused_into, self._shares = None, _NONE

    def __call__(self, t: float, faces: Sequence[Face], estimates: Mapping[int, Estimate]) -> dict[int, Estimate]:
        """Return `estimates` with the voice in the only face in view. With several, nobody knows who speaks."""
        if self._voice is None or not self._weight or len(faces) != 1 or faces[0].track not in estimates:
            return dict(estimates)
        track = self._fused_into = faces[0].track
        self._shares = shares(self._weight * freshness(t, self._voice), self._of_face, self._of_voice)
        return {**estimates, track: fuse(estimates[track], self._voice, self._shares)}

    def entry(self, t: float) -> dict[str, Any] | None:
        """Return the event's `audio.voice`; None where there is no recent reading of a voice."""
        voice = self._voice
        if voice is None or t - voice.t > HOLD:
            return None
        values = (np.round(voice.expression.astype(float), DIGITS) + 0.0).tolist()
        return {
            "age_ms": max(0, round((t - voice.t) * 1e3)),
            "valence": round(voice.valence, DIGITS) + 0.0,
            "arousal": round(voice.arousal, DIGITS) + 0.0,
            "std": {"valence": round(voice.std[0], DIGITS), "arousal": round(voice.std[1], DIGITS)},
            "expression": {
                "label": EXPRESSIONS[int(voice.expression.argmax())],
                "probabilities": dict(zip(EXPRESSIONS, values, strict=True)),
            },
            "no_speech": round(voice.no_speech, DIGITS),
            "baseline": {
                "speech_s": round(voice.baseline, 1),
                "age_ms": None if voice.baseline_t is None else max(0, round((t - voice.baseline_t) * 1e3)),
            },
            "fused_into": self._fused_into,
            "share": {
                "valence": round(self._shares.valence, DIGITS),
                "arousal": round(self._shares.arousal, DIGITS),
                "expression": round(self._shares.expression, DIGITS),
            },
        }


def _share(face: float, voice: float, left: float) -> float:
    """Return the voice's share; a branch that agrees with nothing has none."""
    a, b = max(face, 0.0), max(voice, 0.0) * left
    return b / (a + b) if a + b else 0.0


def _std(face: Estimate, column: int) -> float | None:
    return None if face.std is None else face.std[column]


def load_voice(engine: str = ENGINE) -> LoadedEngine:
    """Return the compiled voice network. Raise `EngineError` or `WeightsError`."""
    return load(MODEL, engine, threads=1)


@dataclass(frozen=True, slots=True)
class SoundBranch:
    """Hold the voice network that all sessions share, and the validation scores of face and voice.

    Attributes:
        loaded: The engine that runs and its weights.
        of_face: Validation scores of the face network.
        of_voice: Validation scores of the voice network.
        reload: Compiles an engine of the voice network by its name.
    """

    loaded: LoadedEngine
    of_face: Trust
    of_voice: Trust
    reload: Callable[[str], LoadedEngine] = load_voice

    def fusion(self, infer: Infer, weight: float = 1.0) -> Fusion:
        """Return the fusion of a new session, whose readings come by `infer`; `weight` as in `Fusion`."""
        return Fusion(VoiceReader(infer), self.of_face, self.of_voice, weight)


def load_sound_branch(face: LoadedEngine) -> SoundBranch | None:
    """Return the sound branch that goes with this face network.

    Return None, with the reason in the log, where its file is missing, altered or without validation scores;
    faces are then read alone.
    """
    try:
        loaded = load_voice()
        of_voice = read_trust(loaded.weights.location)
        if of_voice is None:
            raise WeightsError(f"{loaded.weights.file} holds no scores on validation data.")
        return SoundBranch(loaded, read_trust(face.weights.location) or FACE_TRUST, of_voice)
    except UserError as error:
        log.warning("faces are read without the voice: %s", error)
        return None
