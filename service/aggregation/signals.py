"""Behaviour beside affect: eyes and blinks, nods and shakes, who speaks, and where asked for, gaze.

All but gaze come from the mesh and need no network of their own. Each signal has its file; this one
keeps their state by track.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.aggregation.aggregate import FORGET_SECONDS
from service.aggregation.eyes import Eyes
from service.aggregation.gaze import Gaze, ReadGaze
from service.aggregation.gaze import entry as unknown_gaze
from service.aggregation.head_gestures import HeadGestures
from service.aggregation.speaking import Mouth, speaking, unknown
from service.perception.face import Face
from service.perception.speech import AudioStatus

Entry = dict[str, Any]

# Reasons of a face for which its signals are unknown too: the mesh is a guess. An unclear expression is none of them.
UNREADABLE = frozenset({"turned_away", "blurred", "too_small", "too_dark", "occluded"})
# Variance of the crop's Laplacian, grey², below which the mesh trembles by more than a blink or a nod moves it. A film
# of one face has 220 and more where the face has 68 pixels, and 107 at 49; walkers whose meshes tremble have 13 to 90.
BLURRED, SHARP = 100.0, 130.0


@dataclass
class _Track:
    """Hold the state of one face; `seen` is when it was last in a frame, in seconds."""

    seen: float
    gaze: Gaze | None = None
    eyes: Eyes = field(default_factory=Eyes)
    head: HeadGestures = field(default_factory=HeadGestures)
    mouth: Mouth = field(default_factory=Mouth)
    blurred: bool = False

    def unread(self, face: Face, reasons: Sequence[str]) -> list[str]:
        """Return why the signals of `face` are unknown, given the `reasons` of its entry; empty if they are known."""
        self.blurred = face.quality.sharpness < (SHARP if self.blurred else BLURRED)
        found = [reason for reason in reasons if reason in UNREADABLE]
        return [*found, "blurred"] if self.blurred and "blurred" not in found else found


class Signals:
    """Read the behaviour of one session's faces. Driven by one thread.

    The result depends on nothing but what `update` was given, in that order.
    """

    def __init__(self, gaze: ReadGaze | None = None) -> None:
        """Begin with nobody; `gaze` reads the gaze of a face, and with None none is read."""
        self._gaze = gaze
        self._tracks: dict[int, _Track] = {}

    def update(self, t: float, faces: Sequence[Face], entries: Sequence[Entry], heard: AudioStatus) -> list[Entry]:
        """Return `entries`, the event's `faces`, each with `eyes`, `head_gesture` and `speech`, and `gaze` if read.

        Args:
            t: Seconds on the session clock, which never goes back.
            faces: The faces of this frame.
            entries: What `Aggregator.update` returned for them; not changed.
            heard: What is heard at `t`.
        """
        self._tracks = {number: track for number, track in self._tracks.items() if t - track.seen <= FORGET_SECONDS}
        present = {face.track: face for face in faces}
        read: dict[int, Entry] = {}
        for entry in entries:
            face = present.get(entry["track"])
            if face is not None:
                track = self._tracks.setdefault(face.track, self._new(t))
                track.seen = t
                unread = track.unread(face, entry["reasons"])
                track.mouth.update(t, face, unread)
                read[face.track] = {
                    "eyes": track.eyes.update(t, face, unread),
                    "head_gesture": track.head.update(t, face, unread),
                }
                if track.gaze is not None:
                    openness = read[face.track]["eyes"]["openness"]
                    read[face.track]["gaze"] = track.gaze.update(t, face, unread, openness)
        spoken = speaking({number: self._tracks[number].mouth for number in read}, heard)
        return [
            {**entry, **read[entry["track"]], "speech": spoken[entry["track"]]}
            if entry["track"] in read
            else {**entry, **self._lost(t, entry["track"])}
            for entry in entries
        ]

    def _new(self, t: float) -> _Track:
        return _Track(t, None if self._gaze is None else Gaze(self._gaze))

    def _lost(self, t: float, number: int) -> Entry:
        """Return the signals of a face that is not in this frame: what was counted, and null for what is unknown."""
        track = self._tracks.get(number) or self._new(t)
        gaze = {} if self._gaze is None else {"gaze": unknown_gaze(["no_face"])}
        return gaze | {
            "eyes": track.eyes.entry(t, ["no_face"]),
            "head_gesture": track.head.entry(["no_face"]),
            "speech": unknown(["no_face"]),
        }
