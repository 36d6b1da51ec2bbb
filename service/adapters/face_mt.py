"""The default model's adapter: the crops and meshes of a frame's faces in one batch, its outputs as estimates."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import WeightsError
from engines.load import LoadedEngine
from engines.openvino import metadata
from models.face_mt.points import POINTS, points_of
from models.labels import EXPRESSIONS
from service.adapters import openface
from service.adapters.adapter import Estimate
from service.adapters.options import ModelOptions
from service.perception.align import in_crop
from service.perception.face import Face
from service.perception.mel import MelStream

MODEL = "face-mt"  # for --model


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what the weight file says of itself.

    Attributes:
        expressions: Names of the columns of `expression`.
        aus: Names of the columns of the action units.
        rest: (468, 2) points of the mesh of a face at rest, in pixels of the aligned crop.
    """

    expressions: tuple[str, ...]
    aus: tuple[str, ...]
    rest: NDArray[np.float32]


@cache
def read_facts(path: Path) -> Facts:
    """Return what the ONNX file says. Raise `WeightsError` if it says nothing or its first seven differ from ours."""
    try:
        info = metadata(path)
        expressions, aus, rest = (json.loads(str(info[key])) for key in ("expressions", "aus", "rest"))
        facts = Facts(tuple(expressions), tuple(aus), np.array(rest, np.float32).reshape(POINTS, 2))
    except (RuntimeError, KeyError, ValueError) as e:
        raise WeightsError(
            f"{path.name} does not say what its outputs are called; run `affectstream weights pull`."
        ) from e
    if facts.expressions[: len(EXPRESSIONS)] != EXPRESSIONS:
        raise WeightsError(f"{path.name} gives the expressions {facts.expressions}, not {EXPRESSIONS}.")
    return facts


def inputs_of(faces: Sequence[Face], facts: Facts) -> Arrays:
    """Return the network's inputs for N faces: `face` (N, 112, 112, 3) uint8, `points` (N, 468, 2) float32."""
    meshes = np.stack([in_crop(face.mesh[:, :2], face.matrix) for face in faces])
    return {"face": np.stack([face.crop for face in faces]), "points": points_of(meshes, facts.rest)}


class FaceMT:
    """Read each face from its crop and mesh; keep state only for OpenFace's intensities, where they were imported."""

    def __init__(self, loaded: LoadedEngine, options: ModelOptions | None = None) -> None:
        """Read the outputs' names from the weight file; none of the `options` concerns this model."""
        self._facts = read_facts(loaded.weights.location)
        self._beside = openface.imported()

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return what `inputs_of` gives for the faces, if there are any."""
        return inputs_of(faces, self._facts) if faces else None

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return one estimate for each face; probabilities are under a balanced prior, with contempt as `other`."""
        seven = len(EXPRESSIONS)
        expression = outputs["expression"].astype(np.float32)
        basic = expression[:, :seven]
        basic = basic / np.maximum(basic.sum(1, keepdims=True), 1e-9)
        aus = 1.0 / (1.0 + np.exp(-outputs["aus"].astype(np.float64)))
        units = (aus, outputs["intensities"], outputs["intensity_std"]) if "intensities" in outputs else (aus,)
        covered = outputs["occluded"][:, 0].tolist() if "occluded" in outputs else [None] * len(faces)
        numbers = (outputs["valence_arousal"], outputs["std"], expression[:, seven:].sum(1), expression.max(1))
        beside = {} if self._beside is None else self._beside(t, faces)
        rows = zip(faces, basic, covered, *(values.tolist() for values in (*numbers, *units)), strict=True)
        return {
            face.track: Estimate(
                face.track,
                t,
                valence=min(max(va[0], -1.0), 1.0),
                arousal=min(max(va[1], -1.0), 1.0),
                std=(std[0], std[1]),
                expression=shares,
                other=other,
                certainty=certainty,
                occluded=occluded,
                aus=self._named(of_units[0]),
                intensities=self._named(of_units[1]) if len(of_units) > 1 else {},
                intensity_std=self._named(of_units[2]) if len(of_units) > 1 else {},
                openface=beside.get(face.track),
            )
            for face, shares, occluded, va, std, other, certainty, *of_units in rows
        }

    def _named(self, units: Sequence[float]) -> dict[str, float]:
        return dict(zip(self._facts.aus, units, strict=True))

    def unanswered(self) -> None:
        """Do nothing, because no state is kept."""
