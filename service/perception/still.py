"""Faces in pictures that stand alone: a folder's images, the crops of a data set.

Nothing is carried from one picture to the next, and more is tried than there is time for in a live frame.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.assemble import assemble
from service.perception.face import Face
from service.perception.mesh import Roi, find_mesh, roi_from_mesh
from service.perception.networks import Networks
from service.perception.perceive import MIN_PRESENCE
from service.perception.scan import close_rois

_MIN_SIDE = 192  # pixels; smaller pictures are enlarged, so that the networks and the aligned crop see smooth edges


def refine(
    networks: Networks, image: NDArray[np.uint8], roi: Roi, *, passes: int = 2
) -> tuple[NDArray[np.float32], float] | None:
    """Return mesh and presence after `passes` of the mesh, each in the last one's region; None if there is no face."""
    for _ in range(passes):
        mesh, presence = find_mesh(networks.mesh, image, roi)
        if presence < MIN_PRESENCE:
            return None
        roi = roi_from_mesh(mesh)
    return mesh, presence


def face_in_crop(networks: Networks, image: NDArray[np.uint8], *, t: float = 0.0) -> Face | None:
    """Return the one face of a picture that was cut out around it, or None if none is found.

    The face's coordinates are in the picture's own pixels; a small picture is enlarged before its crop is aligned.

    Args:
        networks: Perception's networks.
        image: (height, width) or (height, width, 3) RGB uint8 of any size.
        t: Seconds that the face is given.
    """
    picture, scale = _enlarged(_as_rgb(image))
    for roi in close_rois(networks, picture):
        found = refine(networks, picture, roi)
        if found is not None:
            return _in_own_pixels(assemble(picture, *found, t=t), scale)
    return None


def _as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image)


def _enlarged(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Return `image` with its longer side at least `_MIN_SIDE`, and the factor."""
    scale = _MIN_SIDE / max(image.shape[:2])
    if scale <= 1:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), scale  # type: ignore[return-value]


def _in_own_pixels(face: Face, scale: float) -> Face:
    """Return a `face` of a picture that was enlarged by `scale` in the pixels of the picture before that."""
    if scale == 1:
        return face
    x, y, width, height = face.box
    matrix = face.matrix.copy()
    matrix[:, :2] *= scale
    return replace(
        face,
        box=(x / scale, y / scale, width / scale, height / scale),
        mesh=face.mesh / np.float32(scale),
        landmarks=face.landmarks / np.float32(scale),
        matrix=matrix,
        quality=replace(face.quality, size=face.quality.size / scale),
    )
