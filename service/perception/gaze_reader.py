"""The direction of gaze of a face in degrees, by MediaPipe's iris network on both eyes (`service.perception.iris`).

Both eyes take longer than all of perception for one face, so that the network only runs where it is asked for.
"""

from dataclasses import dataclass
from math import degrees

import numpy as np

from engines import weights
from service.perception.camera_pose import camera_pose
from service.perception.face import Face
from service.perception.iris import eye_crops, gaze, iris_centres
from service.perception.networks import IRIS, Network


@dataclass(frozen=True, slots=True)
class GazeAngles:
    """Hold where a face looks, in degrees from the camera's axis: positive yaw to the picture's right, pitch up."""

    yaw: float
    pitch: float


class GazeReader:
    """Read gaze for all sessions of a process. Calls are thread-safe and run side by side."""

    def __init__(self) -> None:
        """Compile the iris network. Raise `WeightsError` if its file is missing and cannot be fetched."""
        self._network = Network(weights.path(IRIS.name), IRIS)

    def __call__(self, face: Face) -> GazeAngles | None:
        """Return where `face` looks; None for a face without its frame, or where the network gives no numbers."""
        image = face.image
        if image is None:
            return None
        irises = []
        for crop in eye_crops(image, face.mesh):
            self._network.input()[:] = crop
            irises.append(self._network.run()[1].ravel())
        centres = iris_centres(np.stack(irises), face.mesh)
        height, width = image.shape[:2]
        x, y = gaze(centres, face.mesh, camera_pose(face.mesh, width, height))[6:].tolist()
        return GazeAngles(degrees(x), -degrees(y)) if np.isfinite((x, y)).all() else None
