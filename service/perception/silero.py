"""Silero's voice activity network (Silero Team 2024, MIT), run in OpenVINO: the probability of speech every 32 ms.

Of the variants in its wheel, the one made for OpenVINO is used; the plain ones hold an `If` that OpenVINO cannot read.
It is compiled once and shared by every session's thread; what it remembers of a stream is that stream's `State`.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engines import weights
from engines.openvino import compile_file

NAME = "silero-vad"  # in the weights manifest
RATE = 16_000  # Hz
FRAME = 512  # samples, 32 ms
_CONTEXT = 64  # samples before a frame that it reads too
# It misses half of the speech whose peaks lie below -40 dBFS, so soft sound is made louder before it is read.
_PEAK = 0.25  # of full scale, up to which the peaks of the last seconds are brought
_SOFTEST = 0.0025  # softer peaks count as this much, so that at most 40 dB are added
_DECAY = 0.99  # of the peak, a frame: it halves in 2.2 s

Floats = NDArray[np.float32]


@dataclass(slots=True)
class State:
    """Hold what the network remembers of one stream; a new one has heard nothing."""

    memory: Floats = field(default_factory=lambda: np.zeros((2, 1, 128), np.float32))
    context: Floats = field(default_factory=lambda: np.zeros(_CONTEXT, np.float32))
    peak: float = _SOFTEST


class _Request:
    """Hold one request with its own inputs and outputs, filled and read in place: that halves the time of a call."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._sound: Floats = self._request.get_tensor("input").data
        self._memory: Floats = self._request.get_tensor("state").data
        self._output: Floats = self._request.get_tensor("output").data
        self._next: Floats = self._request.get_tensor("stateN").data

    def run(self, sound: Floats, memory: Floats) -> tuple[float, Floats]:
        """Return the probability and the next memory."""
        self._sound[0] = sound
        self._memory[:] = memory
        self._request.infer(share_outputs=True)
        return float(self._output[0, 0]), self._next.copy()


class SpeechNetwork:
    """Run the compiled network; calls are thread-safe and run side by side."""

    def __init__(self) -> None:
        """Compile the file of the weights store. Raises `WeightsError` if it is missing or altered."""
        self._compiled = compile_file(weights.path(NAME))
        self._idle: list[_Request] = []  # as many as ever ran at once

    def __call__(self, frame: Floats, state: State) -> float:
        """Return the probability of speech in the next 512 samples of a stream, and update its `state`."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = _Request(self._compiled)
        sound = np.concatenate([state.context, frame])
        state.peak = max(float(np.abs(frame).max()), state.peak * _DECAY, _SOFTEST)
        louder = sound * np.float32(max(_PEAK / state.peak, 1.0))
        probability, state.memory = request.run(louder, state.memory)
        state.context = sound[-_CONTEXT:]
        self._idle.append(request)
        return probability


@cache
def speech_network() -> SpeechNetwork:
    """Return the process's only network. Raises `WeightsError` if its file is missing or altered."""
    return SpeechNetwork()


def probabilities(samples: Floats) -> Floats:
    """Return the probability of speech at each 10 ms of a recording at 16 kHz, (len(samples) // 160,) float32."""
    network, state = speech_network(), State()
    padded = np.pad(np.asarray(samples, np.float32), (0, -len(samples) % FRAME))
    found = np.array([network(piece, state) for piece in padded.reshape(-1, FRAME)], np.float32)
    return found[np.arange(len(samples) // 160) * 160 // FRAME]
