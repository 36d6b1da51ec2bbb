"""Perception of one stream: from frames to tracked faces.

For each frame: follow the known faces with the mesh alone; find out which of them are the same face; search for lost
faces and newcomers where the schedule says so; give each face that was found its old track, or a new number.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service.capture.media import Frame
from service.perception.assemble import assemble
from service.perception.detector import Detection
from service.perception.face import Face
from service.perception.mesh import MARGIN, Roi, find_mesh, roi_from_detection, roi_from_mesh
from service.perception.networks import Networks
from service.perception.picture_size import Size, scale_between
from service.perception.scan import DetectorPass, Schedule, close_rois, passes_of, region_around, run_pass
from service.perception.track import MEMORY, Sighting, Track

MAX_FACES = 20
MAX_SIDE = 32_000  # pixels of a picture; OpenCV's warps address no more
MAX_FRAME_GAP = 5.0  # s between frames, after which all faces count as gone
MIN_PRESENCE = 0.5  # of a face that is being followed or given back, as in MediaPipe's graphs
BIRTH_PRESENCE = 0.7  # of a face that has no track yet
SAME_FACE = 0.55  # of the smaller face's square lying in the other's, from which they are one
FAMILIAR = 0.75  # likeness from which a find is taken for a lost face
FAMILIAR_ALONE = 0.6  # the same where only one person was there and only one face is found
UNSETTLED = 0.3  # s after a loss in which an unfamiliar find in that place gets no track yet: half hidden faces
SEARCH_SIDES = 2.5  # region searched around a lost face, over its own region
SEARCH_AT_ONCE = 0.2  # s after its loss, in which a face is searched for in every frame
SEARCH_PERIOD = 0.1  # s between searches after that


class Perception:
    """Find and follow the faces of one stream. Not thread-safe: one session's thread calls it, frame after frame."""

    def __init__(self, networks: Networks, *, max_faces: int = MAX_FACES) -> None:
        self._networks = networks
        self._max_faces = max_faces
        self.reset()

    def reset(self) -> None:
        """Forget every face, so that the next frame is the first of a new stream."""
        self._tracks: list[Track] = []
        self._numbers = 0
        self._schedule = Schedule()
        self._size: Size | None = None  # of the last frame

    def __call__(self, frame: Frame) -> list[Face]:
        """Return the faces in `frame` in the order of their track numbers. Frames come in the order of their times.

        Raise `UserError` if a side of the picture is longer than `MAX_SIDE`.
        """
        image, t = frame.image, frame.t
        first = self._size is None
        self._change_size((image.shape[1], image.shape[0]))
        # A face of the last frame is followed over a longer gap than a lost one is remembered: frames may be rare.
        self._tracks = [track for track in self._tracks if t - track.seen <= (MEMORY if track.lost else MAX_FRAME_GAP)]
        self._follow(image, t)
        self._find(image, t, first)
        seen = sorted((track for track in self._tracks if not track.lost), key=lambda track: track.number)
        return [assemble(image, track.mesh, track.presence, track=track.number, t=t, eyes=track.eyes) for track in seen]

    def _change_size(self, size: Size) -> None:
        """Convert the tracks to the next picture's pixels; drop them if its proportions differ."""
        if max(size) > MAX_SIDE:
            raise UserError(
                f"The picture has {size[0]}x{size[1]} pixels; at most {MAX_SIDE} a side are read: scale it down."
            )
        if self._size is not None and size != self._size:
            scale = scale_between(self._size, size)
            if scale is None:
                self._tracks.clear()
            else:
                for track in self._tracks:
                    track.scale(scale)
        self._size = size

    def _sighting(self, image: NDArray[np.uint8], roi: Roi, passes: int) -> Sighting | None:
        """Return the face in `roi` after `passes` of the mesh, each in the region that the last one gave, if any."""
        for _ in range(passes):
            mesh, presence = find_mesh(self._networks.mesh, image, roi)
            if presence < MIN_PRESENCE:
                return None
            roi = roi_from_mesh(mesh)
        height, width = image.shape[:2]
        inside = 0 <= roi.x < width and 0 <= roi.y < height and roi.side < MARGIN * 2 * max(width, height)
        return Sighting(image, mesh, presence, roi) if inside else None

    def _follow(self, image: NDArray[np.uint8], t: float) -> None:
        """Follow the tracks of the last frame; where two follow one face, the track that it resembles more keeps it."""
        claims = []
        for track in self._tracks:
            if track.lost:
                continue
            sighting = self._sighting(image, track.predicted(t), 1)
            if sighting is None or track.slipped(sighting, t):
                track.lost = True
            else:
                claims.append((track, sighting))
        rois = [sighting.roi for _, sighting in claims]
        contested = [is_known(roi, rois[:index] + rois[index + 1 :]) for index, roi in enumerate(rois)]
        ranked = [
            (-track.likeness(sighting, t) if rival else 0.0, track.number, track, sighting)
            for (track, sighting), rival in zip(claims, contested, strict=True)
        ]
        taken: list[Roi] = []
        for _, _, track, sighting in sorted(ranked, key=lambda claim: claim[:2]):
            if is_known(sighting.roi, taken):
                track.lost = True
            else:
                taken.append(sighting.roi)
                track.update(sighting, t)

    def _find(self, image: NDArray[np.uint8], t: float, first: bool) -> None:
        """Search for lost faces and newcomers."""
        taken = [track.roi for track in self._tracks if not track.lost]
        finds: list[Sighting] = []
        for roi in self._candidates(image, t, first):
            if len(taken) >= self._max_faces:
                break
            if is_known(roi, taken):
                continue
            sighting = self._sighting(image, roi, 2)
            if sighting is not None and not is_known(sighting.roi, taken):
                taken.append(sighting.roi)
                finds.append(sighting)
        if finds:
            self._recognise(finds, t)

    def _candidates(self, image: NDArray[np.uint8], t: float, first: bool) -> list[Roi]:
        """Return regions in which a face may be, best first."""
        height, width = image.shape[:2]
        passes = passes_of(width, height)
        due = [passes[index] for index in self._schedule.due(t, len(passes), bool(self._tracks))]
        around = self._search(t, width, height)
        detections: list[Detection] = []
        for one in [DetectorPass(around), *due] if around else due:
            detections += run_pass(one, self._networks, image)
        # Where only few fit, the largest come first.
        detections.sort(key=lambda detection: -detection.score * detection.box[2])
        rois = [roi_from_detection(detection) for detection in detections]
        return close_rois(self._networks, image) if first and not rois else rois

    def _search(self, t: float, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Return the region of the lost face that was searched for longest ago, if one is due."""
        waiting = [
            track
            for track in self._tracks
            if track.lost and (t - track.seen <= SEARCH_AT_ONCE or t - track.searched >= SEARCH_PERIOD)
        ]
        if not waiting:
            return None
        track = min(waiting, key=lambda track: (track.searched, track.number))
        track.searched = t
        return region_around(track.predicted(t), width, height, SEARCH_SIDES)

    def _recognise(self, finds: list[Sighting], t: float) -> None:
        """Give each find to the lost track that it is most like, best pairs first, and a new number to the others."""
        lost = {track.number: track for track in self._tracks if track.lost}
        enough = FAMILIAR_ALONE if len(finds) == 1 and len(self._tracks) == 1 else FAMILIAR
        pairs = sorted(
            (-track.likeness(find, t), track.number, index)
            for index, find in enumerate(finds)
            for track in lost.values()
        )
        waiting = dict(enumerate(finds))
        for unlikeness, number, index in pairs:
            if -unlikeness >= enough and number in lost and index in waiting:
                lost.pop(number).update(waiting.pop(index), t)
        unsettled = [track for track in lost.values() if t - track.seen < UNSETTLED]
        for find in waiting.values():
            if find.presence >= BIRTH_PRESENCE and all(track.off(find.roi, t) > 1 for track in unsettled):
                self._numbers += 1
                self._tracks.append(Track(self._numbers, find, t))


def is_known(roi: Roi, others: list[Roi]) -> bool:
    """Return whether the face in `roi` is one of `others`."""
    return any(overlap(roi, other) > SAME_FACE for other in others)


def overlap(a: Roi, b: Roi) -> float:
    """Return the part of the smaller face's upright square that lies in the other's, 0 to 1."""
    smaller = min(a.side, b.side)
    reach = (a.side + b.side) / 2
    shared = (min(smaller, reach - MARGIN * abs(d)) / smaller for d in (a.x - b.x, a.y - b.y))
    return prod(max(0.0, part) for part in shared)


def perceive_still(networks: Networks, image: NDArray[np.uint8], *, max_faces: int = MAX_FACES) -> list[Face]:
    """Return the faces of a picture that stands alone, (height, width, 3) RGB uint8.

    Raise `UserError` if a side of the picture is longer than `MAX_SIDE`.
    """
    return Perception(networks, max_faces=max_faces)(Frame(image, 0.0))
