"""TSAV live: eight faces with their masks, 0.2 s apart, the newest last, and ten seconds of sound
(Kuhnke et al. 2020)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import Loaded
from service.inference.estimate import Estimate
from service.inference.options import Options
from service.inference.outputs import estimates_of
from service.inference.turns import FORGET, Turns
from service.perception.face import Face
from service.perception.mel import SECONDS, MelStream, log_mel

RATE = 5.0  # predictions per second: the network's own step
CLIP_FRAMES = 8
CLIP_STEP = 0.2  # s between the frames of a clip; the published 6 frames at 30 fps
NEAREST = 1 / 60  # s by which a frame may come after its slot; half the published frame period
HOLD = 0.2  # s for which a frame stands in for later ones that are missing; after that the slot is black
DELAY = SECONDS / 2  # s by which sound mode "delayed" lags, so that its window is the published one, centred
_SILENCE = log_mel(np.zeros(0, np.float32))  # (64, 1001)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A face at its time, crop and mask together: (112, 112, 4) uint8."""

    t: float
    picture: NDArray[np.uint8]


class Clips:
    """The faces of the last seconds by track, and clips out of them."""

    def __init__(self, delay: float) -> None:
        self._reach = delay + (CLIP_FRAMES - 1) * CLIP_STEP + HOLD  # s
        self._tracks: dict[int, deque[_Seen]] = {}

    def push(self, t: float, faces: Sequence[Face]) -> None:
        """Takes in the faces of the frame at `t`; forgets what no clip reaches any more, and tracks that are gone."""
        for face in faces:
            picture = np.dstack((face.crop, face.mask))
            self._tracks.setdefault(face.track, deque()).append(_Seen(t, picture))
        for track, seen in list(self._tracks.items()):
            while seen and t - seen[0].t > self._reach:
                seen.popleft()
            if not seen or t - seen[-1].t > FORGET:
                del self._tracks[track]

    def clip(self, track: int, t: float) -> NDArray[np.uint8]:
        """(8, 112, 112, 4): the face at t - 1.4 s, ..., t; black where there was none."""
        clip = np.zeros((CLIP_FRAMES, 112, 112, 4), np.uint8)
        for slot in range(CLIP_FRAMES):
            wanted = t - (CLIP_FRAMES - 1 - slot) * CLIP_STEP
            # Times later than `t` itself are only there when `t` lies back.
            newest = next((seen for seen in reversed(self._tracks.get(track, ())) if seen.t <= wanted + NEAREST), None)
            if newest is not None and wanted - newest.t <= HOLD:
                clip[slot] = newest.picture
        return clip


class TSAV:
    """Asks five times a second; with several faces in view, nobody's sound is heard."""

    def __init__(self, loaded: Loaded, options: Options) -> None:
        self._mode = options.sound
        self._delay = DELAY if self._mode == "delayed" else 0.0
        self._turns = Turns(options.rate or RATE)
        self._clips = Clips(self._delay)

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """`clip`: (N, 8, 112, 112, 4) uint8, `sound`: (N, 1, 64, 1001) float32, or None between two turns."""
        self._clips.push(t, faces)
        if not faces or t < self._delay or not self._turns.take(t):
            return None
        sound = mel.window(t, self._mode) if len(faces) == 1 else _SILENCE
        return {
            "clip": np.stack([self._clips.clip(face.track, t - self._delay) for face in faces]),
            "sound": np.repeat(sound[None, None], len(faces), axis=0),
        }

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """One for each face."""
        self._turns.answered()
        return estimates_of(t - self._delay, faces, outputs)

    def unanswered(self) -> None:
        """Asks again at the next turn."""
        self._turns.answered()
