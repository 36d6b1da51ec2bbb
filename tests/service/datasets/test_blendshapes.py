"""The teacher of the action units says the same of a face and of its mirror image, with left and right exchanged."""

from pathlib import Path

import numpy as np
import pytest
from helpers.faces import networks

from service.datasets.blendshapes import _MIRRORED, NAMES, Blendshapes
from service.perception.still import face_in_crop


def test_left_and_right_change_places_and_nothing_else_does() -> None:
    assert [NAMES[_MIRRORED[NAMES.index(name)]] for name in ("jawLeft", "eyeLookInRight", "jawOpen")] == [
        "jawRight", "eyeLookInLeft", "jawOpen",
    ]  # fmt: skip
    assert [_MIRRORED[i] for i in _MIRRORED] == list(range(len(NAMES)))


def test_a_face_and_its_mirror_image_move_the_same_units(shared: Path, portrait: np.ndarray) -> None:
    teacher = Blendshapes(shared / "data" / "models" / "face_landmarker.task")
    turned = np.ascontiguousarray(portrait[:, ::-1])
    here, there = (face_in_crop(networks(), picture) for picture in (portrait, turned))
    assert here is not None
    assert there is not None
    mesh = here.mesh * np.array([-1, 1, 1], np.float32) + np.array([portrait.shape[1], 0, 0], np.float32)
    mesh[[33, 263]] = mesh[[263, 33]]  # the outer corners of the eyes, by which the region is turned
    found = teacher(portrait, here.mesh)
    assert found is not None
    assert teacher(turned, mesh) == pytest.approx(found[_MIRRORED], abs=1e-4)
    of_its_own_mesh = teacher(turned, there.mesh)
    assert of_its_own_mesh is not None
    assert np.abs(of_its_own_mesh - found[_MIRRORED]).max() < 0.15
    assert found[NAMES.index("mouthSmileLeft")] > 0.5
