"""TSAV, live: eight faces with their masks, 0.2 s apart, the newest last, and ten seconds of sound.

Kuhnke et al. (2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import SOUND_EMBEDDING, Arrays, KeepsSound
from engines.load import LoadedEngine
from service.adapters.adapter import Estimate
from service.adapters.face_ring import FaceRing
from service.adapters.options import ModelOptions
from service.adapters.outputs import estimates_of
from service.adapters.pacing import FORGET, Pacer, period_at
from service.perception.face import Face
from service.perception.mel import SECONDS, MelStream, log_mel

RATE = 5.0  # predictions per second: the network's own step
SOUND_RATE = 2.0  # readings of the sound per second; of ten seconds, 95 % are the same half a second later
CLIP_FRAMES = 8
CLIP_STEP = 0.2  # s between the frames of a clip; the published 6 frames at 30 fps
NEAREST = 1 / 60  # s that a frame may come after its slot; half the published frame period
HOLD = 0.2  # s for which a frame replaces later ones that are missing; after that the slot is black
DELAY = SECONDS / 2  # s by which sound mode "delayed" lags, so that its window is the published one, centred
_SILENCE = log_mel(np.zeros(0, np.float32))  # (64, 1001)


class Clips:
    """Keep the faces of the last seconds by track, and make clips of them."""

    def __init__(self, delay: float) -> None:
        """Begin without faces; `delay` is how many seconds clips end before the newest face."""
        self._reach = delay + (CLIP_FRAMES - 1) * CLIP_STEP + HOLD  # s
        self._tracks: dict[int, FaceRing] = {}

    def push(self, t: float, faces: Sequence[Face]) -> None:
        """Take in the faces of the frame at `t` seconds; drop those that no clip reaches, and tracks that are gone."""
        for face in faces:
            if face.track not in self._tracks:
                self._tracks[face.track] = FaceRing(self._reach)
            self._tracks[face.track].push(t, face)
        for track, ring in list(self._tracks.items()):
            ring.drop(t)
            if not len(ring) or t - ring.newest > FORGET:
                del self._tracks[track]

    def clips(self, tracks: Sequence[int], t: float) -> NDArray[np.uint8]:
        """Return (N, 8, 112, 112, 4) uint8: each face at t - 1.4 s, ..., t; black where there was none."""
        clips = np.zeros((len(tracks), CLIP_FRAMES, 112, 112, 4), np.uint8)
        wanted = [t - (CLIP_FRAMES - 1 - slot) * CLIP_STEP for slot in range(CLIP_FRAMES)]
        for clip, track in zip(clips, tracks, strict=True):
            if track in self._tracks:
                self._tracks[track].clip(wanted, NEAREST, HOLD, clip)
        return clips


@dataclass(frozen=True, slots=True)
class _Heard:
    """Hold the network's `embedding` (512,) of the sound at `t` seconds; `silence` was given for several faces."""

    t: float
    silence: bool
    embedding: NDArray[np.generic]


class TSAV:
    """Run TSAV five times a second; with several faces in view it is given silence, since nobody knows who speaks.

    The sound is read twice a second, in the first request of each half second, and its embedding is given back with the
    other requests of that half second. Which requests these are depends on the session clock alone.
    """

    def __init__(self, loaded: LoadedEngine, options: ModelOptions) -> None:
        """Begin a session; `rate`, `sound` and `sound_rate` are read from the `options`."""
        self._mode = options.sound
        self._delay = DELAY if self._mode == "delayed" else 0.0
        self._pacer = Pacer(options.rate or RATE)
        self._clips = Clips(self._delay)
        self._sound_period = 1.0 / (options.sound_rate or SOUND_RATE)
        engine = loaded.engine
        self._unread = np.full(engine.kept, np.nan, np.float32) if isinstance(engine, KeepsSound) else None
        self._heard: _Heard | None = None

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return the inputs at `t` seconds, or None if no prediction is due.

        They are `clip`, (N, 8, 112, 112, 4) uint8, and `sound`, (N, 1, 64, 1001) float32, or (0, 1, 64, 1001) where
        `sound_embedding`, (N, 512) float32, is used again. Both kinds share the inputs' names, so that the scheduler
        runs them in one batch (`engines.split`).
        """
        self._clips.push(t, faces)
        if not faces or t < self._delay or not self._pacer.due(t):
            return None
        given: Arrays = {"clip": self._clips.clips([face.track for face in faces], t - self._delay)}
        silence = len(faces) > 1
        if self._heard is not None and self._recent(self._heard, t, silence):
            given["sound"] = np.empty((0, 1, *_SILENCE.shape), np.float32)
            given[SOUND_EMBEDDING] = np.repeat(self._heard.embedding[None], len(faces), axis=0)
            return given
        sound = _SILENCE if silence else mel.window(t, self._mode)
        given["sound"] = np.repeat(sound[None, None], len(faces), axis=0)
        if self._unread is not None:
            given[SOUND_EMBEDDING] = np.repeat(self._unread[None], len(faces), axis=0)
        return given

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return an estimate for each face."""
        self._pacer.answered()
        if self._unread is not None and len(faces):
            self._heard = _Heard(t, len(faces) > 1, outputs[SOUND_EMBEDDING][0])
        return estimates_of(t - self._delay, faces, outputs)

    def unanswered(self) -> None:
        """Allow the next request when it is due."""
        self._pacer.answered()

    def _recent(self, heard: _Heard, t: float, silence: bool) -> bool:
        """Return whether the last embedding still serves; that of silence always does for silence."""
        if heard.silence or silence:
            return heard.silence and silence
        return period_at(heard.t, self._sound_period) == period_at(t, self._sound_period)
