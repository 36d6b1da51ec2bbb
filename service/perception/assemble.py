"""The step from a mesh in a frame to the `Face` that adapters and aggregation read."""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.align import aligned_crop, five_points, similarity
from service.perception.eyelids import EyeAspect, aspect_ratios
from service.perception.face import Face, Quality
from service.perception.head_pose import head_pose_of
from service.perception.landmarks68 import landmarks_of


def assemble(
    image: NDArray[np.uint8],
    mesh: NDArray[np.float32],
    presence: float,
    *,
    track: int = 1,
    t: float = 0.0,
    eyes: EyeAspect | None = None,
) -> Face:
    """Return the face whose (468, 3) `mesh` was found in (height, width, 3) `image`, at `t` seconds.

    `eyes` are the aspect ratios of the unsmoothed mesh; those of `mesh` if None.
    """
    landmarks = landmarks_of(mesh)
    matrix = similarity(five_points(landmarks))
    crop = aligned_crop(image, matrix)
    flat = np.ascontiguousarray(mesh[:, :2].T)  # rows, over which extremes are found fast
    (x, y), (right, bottom) = flat.min(1).tolist(), flat.max(1).tolist()
    box = (x, y, right - x, bottom - y)
    return Face(
        track=track,
        t=t,
        box=box,
        confidence=presence,
        mesh=mesh,
        landmarks=landmarks,
        matrix=matrix,
        crop=crop,
        head_pose=head_pose_of(mesh),
        quality=quality_of(crop, max(box[2:])),
        image=image,
        eyes=aspect_ratios(mesh) if eyes is None else eyes,
    )


def quality_of(crop: NDArray[np.uint8], size: float) -> Quality:
    """Return the quality of an aligned (112, 112, 3) `crop` whose face is `size` pixels in the frame."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return Quality(size=size, sharpness=float(deviation[0, 0]) ** 2, brightness=cv2.mean(grey)[0])
