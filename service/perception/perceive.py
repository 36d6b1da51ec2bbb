"""Perception of one stream: from frames to tracked faces.

Each frame: follow the known faces with the mesh alone; settle which of them are one and the same; look for lost ones
and newcomers where the schedule says; give each find back to the person it was, or a new number.
"""

from math import hypot

import numpy as np
from numpy.typing import NDArray

from service.capture.media import Frame
from service.perception.align import aligned_crop, five_points, similarity
from service.perception.assemble import assemble
from service.perception.detector import Detection
from service.perception.face import Face
from service.perception.landmarks68 import landmarks_of
from service.perception.mesh import MARGIN, Roi, find_mesh, roi_from_detection, roi_from_mesh
from service.perception.networks import Networks
from service.perception.scan import Schedule, close_rois, look, region_around, tiles_of
from service.perception.track import MEMORY, Sighting, Track, look_of

MAX_FACES = 20
MIN_PRESENCE = 0.5  # of a face that is being followed, as in MediaPipe's graphs
BIRTH_PRESENCE = 0.7  # of a face nobody knows yet
SAME_FACE = 0.4  # distance of two meshes' middles over the smaller one's size, below which they are one face
FAMILIAR = 0.75  # likeness from which a find is taken for a lost face
SEARCH_SIDES = 2.5  # region searched around a lost face, over its own region
MAX_SEARCHES = 2  # lost faces searched for in one frame


class Perception:
    """The faces of one stream. Not thread-safe: one session's thread calls it, frame after frame."""

    def __init__(self, networks: Networks, *, max_faces: int = MAX_FACES) -> None:
        self._networks = networks
        self._max_faces = max_faces
        self.reset()

    def reset(self) -> None:
        """Forgets every face: the next frame is the first of a new stream."""
        self._tracks: list[Track] = []
        self._numbers = 0
        self._schedule = Schedule()
        self._shape: tuple[int, int] | None = None
        self._first = True

    def __call__(self, frame: Frame) -> list[Face]:
        """The faces in `frame`, by track number. Frames come in the order of their times."""
        image, t = frame.image, frame.t
        if self._shape not in (None, image.shape[:2]):
            self._tracks.clear()  # another picture size: no place of the old one means anything
        self._shape = (image.shape[0], image.shape[1])
        self._tracks = [track for track in self._tracks if t - track.seen <= MEMORY]
        self._follow(image, t)
        self._find(image, t)
        self._first = False
        seen = sorted((track for track in self._tracks if not track.lost), key=lambda track: track.number)
        return [assemble(image, track.smoothed, track.presence, track=track.number, t=t) for track in seen]

    def _sighting(self, image: NDArray[np.uint8], roi: Roi, looks: int, min_presence: float) -> Sighting | None:
        """The face in `roi`, after `looks` passes of the mesh, each in the region that the last one gave."""
        height, width = image.shape[:2]
        for _ in range(looks):
            mesh, presence = find_mesh(self._networks.mesh, image, roi)
            if presence < min_presence:
                return None
            roi = roi_from_mesh(mesh)
        if not (0 <= roi.x < width and 0 <= roi.y < height):
            return None
        crop = aligned_crop(image, similarity(five_points(landmarks_of(mesh))))
        return Sighting(mesh, presence, look_of(crop))

    def _follow(self, image: NDArray[np.uint8], t: float) -> None:
        """Updates the tracks that were seen in the last frame; where two see one face, the liker keeps it."""
        claims = []
        for track in self._tracks:
            if track.lost:
                continue
            sighting = self._sighting(image, track.predicted(t), 1, MIN_PRESENCE)
            if sighting is None:
                track.lost = True
            else:
                claims.append((track.likeness(sighting, t), track, sighting))
        claims.sort(key=lambda claim: (-claim[0], claim[1].number))
        taken: list[Roi] = []
        for _, track, sighting in claims:
            if _known(sighting.roi, taken):
                track.lost = True
            else:
                taken.append(sighting.roi)
                track.update(sighting, t)

    def _find(self, image: NDArray[np.uint8], t: float) -> None:
        """Looks for lost faces and newcomers."""
        taken = [track.roi for track in self._tracks if not track.lost]
        finds: list[Sighting] = []
        for roi in self._candidates(image, t):
            if len(taken) >= self._max_faces:
                break
            if _known(roi, taken):
                continue
            sighting = self._sighting(image, roi, 2, MIN_PRESENCE)
            if sighting is not None and not _known(sighting.roi, taken):
                taken.append(sighting.roi)
                finds.append(sighting)
        self._recognise(finds, t)

    def _candidates(self, image: NDArray[np.uint8], t: float) -> list[Roi]:
        """Regions in which a face may be, best first."""
        height, width = image.shape[:2]
        lost = sorted((track for track in self._tracks if track.lost), key=lambda track: (-track.seen, track.number))
        regions = [region_around(track.predicted(t), width, height, SEARCH_SIDES) for track in lost[:MAX_SEARCHES]]
        looks = [None, *tiles_of(width, height)]
        regions_due = [looks[index] for index in self._schedule.due(t, len(looks), bool(self._tracks))]
        detections: list[Detection] = []
        for region in [region for region in regions if region] + regions_due:
            detections += look(self._networks, image, region)
        detections.sort(key=lambda detection: -detection.score)
        rois = [roi_from_detection(detection) for detection in detections]
        if self._first and not rois:
            rois = close_rois(self._networks, image)
        return rois

    def _recognise(self, finds: list[Sighting], t: float) -> None:
        """Gives each find to the lost track that it is most like, best pairs first, and a new number to the others."""
        lost = [track for track in self._tracks if track.lost]
        pairs = sorted(
            ((track.likeness(find, t), track.number, index) for index, find in enumerate(finds) for track in lost),
            key=lambda pair: (-pair[0], pair[1:]),
        )
        by_number = {track.number: track for track in lost}
        waiting = dict(enumerate(finds))
        for likeness, number, index in pairs:
            if likeness >= FAMILIAR and number in by_number and index in waiting:
                by_number.pop(number).update(waiting.pop(index), t)
        for find in waiting.values():
            if find.presence >= BIRTH_PRESENCE:
                self._numbers += 1
                self._tracks.append(Track(self._numbers, find, t))


def _known(roi: Roi, taken: list[Roi]) -> bool:
    """Whether the face in `roi` is one of those in `taken`."""
    return any(
        hypot(roi.x - other.x, roi.y - other.y) < SAME_FACE * min(roi.side, other.side) / MARGIN for other in taken
    )


def perceive_still(networks: Networks, image: NDArray[np.uint8], *, max_faces: int = MAX_FACES) -> list[Face]:
    """The faces of a picture that stands alone: (height, width, 3) RGB uint8 of any size."""
    return Perception(networks, max_faces=max_faces)(Frame(image, 0.0))
