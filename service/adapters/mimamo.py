"""MIMAMO Net, live: the newest face, its motion over 13 frames, and the state of the 63 frames before.

Deng et al. (2020).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import LoadedEngine
from models.networks import phase, steerable_pyramid
from service.adapters.adapter import Estimate
from service.adapters.options import ModelOptions
from service.adapters.outputs import estimates_of
from service.adapters.pacing import FORGET, Carried, Pacer
from service.adapters.window_ring import WindowRing
from service.perception.face import Face
from service.perception.mel import MelStream

RATE = 30.0  # steps per second: the network was trained on the frames of 30 fps videos
LAG = phase.FRAMES // 2  # frames that the published window looks ahead


class _Motion:
    """Hold one track: its newest faces, and the pyramids of the last 13 grey pictures, which their windows share."""

    def __init__(self, levels: Sequence[NDArray[np.complex128]]) -> None:
        self.levels = [WindowRing(phase.FRAMES, level) for level in levels]
        self.faces: deque[tuple[float, NDArray[np.uint8]]] = deque(maxlen=LAG + 1)  # seconds and crop

    def phases(self, unwrap: phase.Unwrap) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (24, 48, 48) and (24, 24, 24) phase differences of the last 13 faces.

        The first face is repeated where there are fewer, as published.
        """
        return phase.from_coefficients([level.window for level in self.levels], unwrap)


class MIMAMO:
    """Run MIMAMO on the motion up to the newest face, or on that around the face six frames ago, as published.

    With the option `legacy_axis` no state is carried: the published code recurs over the samples of its batch, of which
    there is one here, so that each frame is read alone.
    """

    def __init__(self, loaded: LoadedEngine, options: ModelOptions) -> None:
        """Begin a session; `rate`, `phase`, `unwrap` and `legacy_axis` are read from the `options`."""
        self._lag = LAG if options.phase == "delayed" else 0
        self._pacer = Pacer(options.rate or RATE)
        self._unwrap = options.unwrap
        self._state = Carried(loaded.engine.inputs["state"][1:], horizon=0 if options.legacy_axis else None)
        self._motions: dict[int, _Motion] = {}
        self._asked: dict[int, float] = {}  # track -> s, of the face that was asked about

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return the inputs at `t` seconds, or None if no prediction is due.

        They are `face`, (N, 112, 112, 3) uint8, and as float32 `phase_0`, (N, 24, 48, 48), `phase_1`, (N, 24, 24, 24),
        and `state`, (N, 63, 257).
        """
        self._push(t, faces)
        self._state.see(t, faces)
        if not faces or not self._pacer.due(t):
            return None
        faces = [face for face in faces if len(self._motions[face.track].faces) > self._lag]
        motions = [self._motions[face.track] for face in faces]
        about = [motion.faces[-1 - self._lag] for motion in motions]
        self._asked = {face.track: seen for face, (seen, _) in zip(faces, about, strict=True)}
        if not faces:
            self._pacer.answered()
            return None
        maps = [motion.phases(self._unwrap) for motion in motions]
        return {
            "face": np.stack([crop for _, crop in about]),
            "phase_0": np.stack([first for first, _ in maps]),
            "phase_1": np.stack([second for _, second in maps]),
            "state": self._state.stack(faces),
        }

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return an estimate for each face of the last request, for the time that the request was about."""
        self._pacer.answered()
        faces = [face for face in faces if face.track in self._asked]
        self._state.keep(t, faces, outputs["next_state"])
        made = estimates_of(t, faces, outputs)
        return {track: replace(estimate, t=self._asked[track]) for track, estimate in made.items()}

    def unanswered(self) -> None:
        """Allow the next request when it is due."""
        self._pacer.answered()

    def _push(self, t: float, faces: Sequence[Face]) -> None:
        for track in [track for track, motion in self._motions.items() if t - motion.faces[-1][0] > FORGET]:
            del self._motions[track]
        if not faces:
            return
        levels = steerable_pyramid.coefficients(phase.grey(np.stack([face.crop for face in faces])))
        for i, face in enumerate(faces):
            of_face = [level[i] for level in levels]
            if face.track in self._motions:
                for ring, level in zip(self._motions[face.track].levels, of_face, strict=True):
                    ring.push(level)
            else:
                self._motions[face.track] = _Motion(of_face)
            self._motions[face.track].faces.append((t, face.crop))
