"""Perception on the team's recordings: every face found, one number for each person, landmarks as MediaPipe's."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
from helpers.faces import centre, networks

from service.capture.media import Frame
from service.perception.face import Face
from service.perception.perceive import Perception


def seen_in(path: Path) -> list[list[Face]]:
    """The faces in each frame of a recording."""
    perception = Perception(networks())
    with av.open(str(path)) as container:
        return [
            perception(Frame(picture.to_ndarray(format="rgb24"), float(picture.pts * picture.time_base)))
            for picture in container.decode(video=0)
        ]


def test_one_expressive_face_keeps_one_number_and_lies_where_mediapipe_sees_it(shared: Path) -> None:
    seen = seen_in(shared / "data/video/one_face_expressive.mp4")
    assert sum(len(faces) == 1 for faces in seen) >= 0.98 * len(seen)
    assert {face.track for faces in seen for face in faces} == {1}
    with np.load(shared / "golden/mediapipe_one_face.npz") as recorded:
        errors = []
        for index, points in zip(recorded["frame_points"], recorded["points"][:, :468], strict=True):
            for face in seen[index]:
                off = np.linalg.norm(face.mesh[:, :2] - points, axis=1).mean()
                errors.append(off / np.linalg.norm(points[33] - points[263]))
    assert len(errors) >= 0.98 * len(recorded_frames(shared))
    assert np.mean(errors) < 0.03


def recorded_frames(shared: Path) -> list[int]:
    """Indices of the frames that MediaPipe's points were recorded for."""
    with np.load(shared / "golden/mediapipe_one_face.npz") as recorded:
        return [int(index) for index in recorded["frame_points"]]


def test_walkers_keep_one_number_each(shared: Path) -> None:
    seen = seen_in(shared / "data/video/several_faces_1080p.mp4")
    frames = Counter(face.track for faces in seen for face in faces)
    # Eight sights of walkers: one woman is hidden for longer than the memory and comes back as somebody new.
    assert len(frames) <= 8
    assert max(frames.values()) == len(seen)
    for track in frames:
        path = np.array([centre(face) for faces in seen for face in faces if face.track == track])
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max(initial=0) < 160  # nobody jumps to another's place
