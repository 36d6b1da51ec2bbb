"""The default model's sound branch, live: what the voice of the last seconds says, at a bounded rate of media time.

It is causal and does not depend on the pieces in which the sound came: descriptors are computed in blocks that depend
on the sound alone, and the network reads them at the first event of each `PERIOD`, while there is speech and enough of
it.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.openvino import metadata
from models.voice_mt.baseline import Baseline, RunningBaseline
from models.voice_mt.descriptors import BLOCK, COLUMN, HOP, MARGIN, NAMES, RATE, SPEECH, DescriptorStream
from models.voice_mt.functionals import WINDOW, functionals
from service.adapters.adapter import Infer
from service.perception.speech import AudioStatus, SpeechDetector

MODEL = "voice-mt"
PERIOD = 0.3  # s of the session clock between two readings
MIN_SPEECH = 0.8  # s of speech within the window; the network learned from no less
HOLD = 1.0  # s for which a reading is recent

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trust:
    """Hold the scores of the face or the voice branch on validation data, which weigh it in the fusion.

    Concordance of valence and of arousal, macro F1 of the expressions.
    """

    valence: float
    arousal: float
    expression: float


@dataclass(frozen=True, slots=True)
class Voice:
    """Hold what was heard in the 3 s before `t`."""

    t: float  # s, of the newest sound that was read
    valence: float
    arousal: float
    std: tuple[float, float]
    expression: Floats  # (7,) in the order of labels.EXPRESSIONS, given that there is a voice
    no_speech: float  # 1 - mean probability of speech over what was read as speech
    baseline: float = 0.0  # s of speech in the speaker's baseline
    baseline_t: float | None = None  # s, of the newest speech in it


@cache
def read_trust(path: Path) -> Trust | None:
    """Return the validation scores in the metadata of an ONNX file, or None if there are none."""
    try:
        info = metadata(path)
        return Trust(*(float(x) for x in json.loads(str(info["validation"]))))
    except (RuntimeError, KeyError, ValueError, TypeError):
        return None


def network_input(row: Floats, baseline: Baseline) -> Floats:
    """Return (1, 4, F): functionals of a window, mean and variance of the speaker's baseline, and its seconds."""
    seconds = np.full_like(row, baseline.seconds)
    return np.stack([row, baseline.mean, baseline.variance, seconds])[None].astype(np.float32)


class VoiceReader:
    """Read one session's voice. `infer` returns the outputs for inputs, and the seconds spent waiting."""

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self._stream = DescriptorStream()
        self._frames = np.zeros((WINDOW, len(NAMES)), np.float32)
        self._block: int | None = None  # the next to describe
        self._fresh = 0  # frames of speech since the last reading
        self._baseline = RunningBaseline()
        self._period = -1  # number of the last that was read in
        self._newest: Voice | None = None

    def __call__(self, t: float, audio: AudioStatus, heard: SpeechDetector) -> Voice | None:
        """Return the newest reading at `t` seconds (never going back), if it is recent."""
        self._describe(heard)
        period = int(t / PERIOD + 1e-6)
        if period > self._period and audio.status == "speech" and audio.speech_s >= MIN_SPEECH:
            self._period = period
            self._newest = self._read() or self._newest
        newest = self._newest
        return None if newest is None or t - newest.t > HOLD else newest

    def _describe(self, heard: SpeechDetector) -> None:
        """Describe the blocks of 200 ms that are complete; those without speech are passed over."""
        sound = heard.sound
        if not sound.started:
            return
        if self._block is None:
            self._block = -(-sound.first // (BLOCK * HOP))
        whole = min(sound.end - MARGIN, heard.frames_end)  # both the sound and the probabilities of a block are there
        last = whole // (BLOCK * HOP)
        if (last - self._block) * BLOCK > WINDOW:  # longer ago than a window
            self._block, self._stream = last - WINDOW // BLOCK, DescriptorStream()
            self._frames[:] = 0
        while self._block < last:
            begin = self._block * BLOCK * HOP
            speech = heard.probability(begin, begin + BLOCK * HOP)
            block = np.zeros((BLOCK, len(NAMES)), np.float32)
            spoken = int((speech > SPEECH).sum())
            if spoken:
                block = self._stream.describe(sound.samples(begin - MARGIN, begin + BLOCK * HOP + MARGIN), speech)
            else:
                self._stream.skip()
            self._fresh += spoken
            self._frames = np.concatenate([self._frames[BLOCK:], block])
            self._block += 1

    def _read(self) -> Voice | None:
        assert self._block is not None
        row = functionals(self._frames)
        if row is None:
            return None
        t = self._block * BLOCK * HOP / RATE
        baseline = self._baseline.at(t)
        try:
            outputs, _ = self._infer({"voice": network_input(row, baseline)})
        except EngineError:
            return None  # logged and counted where it failed; the faces are read all the same
        self._baseline.add(t, row, self._fresh * HOP / RATE)
        self._fresh = 0
        valence, arousal = np.clip(outputs["valence_arousal"][0].astype(float), -1.0, 1.0)
        speech = self._frames[:, COLUMN["speech"]]
        return Voice(
            t=t,
            valence=float(valence),
            arousal=float(arousal),
            std=cast(tuple[float, float], tuple(float(x) for x in outputs["std"][0])),
            expression=outputs["expression"][0].astype(np.float32),
            no_speech=float(1 - speech[speech > SPEECH].mean()),
            baseline=baseline.seconds,
            baseline_t=baseline.newest,
        )
