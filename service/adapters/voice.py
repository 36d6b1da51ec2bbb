"""The default model's sound branch, live: what the voice of the last seconds says, at a bounded rate of media time.

Causal, and the same however the sound came in pieces: the network reads complete mel columns before `t` only, at the
first event of each `PERIOD`, and only while there is speech and enough of it in its window.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError
from engines.openvino import core
from models.labels import EXPRESSIONS
from service.capture.media import SAMPLE_RATE
from service.perception.mel import HOP, MelStream
from service.perception.speech import AudioStatus

MODEL = "voice-mt"
PERIOD = 0.3  # s of the session clock between two readings
COLUMNS = 301  # 3 s of 10 ms columns, the newest last
MIN_SPEECH = 0.8  # s of speech within the window; the network learned from no less
HOLD = 1.0  # s for which a reading is recent
MAX_NO_SPEECH = 0.5  # probability from which the network hears no voice, whatever the detector says
_METADATA = "framework"  # where OpenVINO keeps an ONNX file's metadata

Infer = Callable[[Arrays], tuple[Arrays, float]]


@dataclass(frozen=True, slots=True)
class Trust:
    """How well a branch did on validation data, which is its weight in the fusion: concordance of valence and of
    arousal, macro F1 of the expressions.
    """

    valence: float
    arousal: float
    expression: float


@dataclass(frozen=True, slots=True)
class Voice:
    """What was heard in the 3 s before `t`."""

    t: float  # s, of the newest column that was read
    valence: float
    arousal: float
    std: tuple[float, float]
    expression: NDArray[np.float32]  # (7,) in the order of labels.EXPRESSIONS, given that there is a voice
    no_speech: float  # probability


@cache
def read_trust(path: Path) -> Trust | None:
    """From the metadata of an ONNX file; None if it does not say."""
    try:
        info = core().read_model(path).get_rt_info([_METADATA])
        return Trust(*(float(x) for x in json.loads(str(info["validation"]))))
    except (RuntimeError, KeyError, ValueError, TypeError):
        return None


class VoiceReader:
    """One per session. `infer`: inputs to outputs and the seconds spent waiting."""

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self._period = -1  # number of the last that was read in
        self._newest: Voice | None = None

    def __call__(self, t: float, audio: AudioStatus, mel: MelStream) -> Voice | None:
        """The newest reading at `t` seconds (never going back), if it is recent and of a voice."""
        period = int(t / PERIOD + 1e-6)
        if period > self._period and audio.status == "speech" and audio.speech_s >= MIN_SPEECH:
            self._period = period
            self._newest = self._read(t, mel) or self._newest
        newest = self._newest
        if newest is None or t - newest.t > HOLD or newest.no_speech > MAX_NO_SPEECH:
            return None
        return newest

    def _read(self, t: float, mel: MelStream) -> Voice | None:
        last = min(mel.columns, int(t * SAMPLE_RATE + 1e-4) // HOP)
        try:
            outputs, _ = self._infer({"mel": mel.decibels(last - COLUMNS, last)[None]})
        except EngineError:
            return None  # logged and counted where it failed; the faces are read all the same
        classes = outputs["expression"][0].astype(np.float32)
        seven = classes[: len(EXPRESSIONS)]
        valence, arousal = np.clip(outputs["valence_arousal"][0].astype(float), -1.0, 1.0)
        return Voice(
            t=last * HOP / SAMPLE_RATE,
            valence=float(valence),
            arousal=float(arousal),
            std=cast(tuple[float, float], tuple(float(x) for x in outputs["std"][0])),
            expression=seven / max(float(seven.sum()), 1e-9),
            no_speech=float(classes[-1]),
        )
