"""Prepare the papers' other data sets in Aff-Wild2's layout, so that every recipe trains on them.

`affectstream prepare NAME DIR --out OUT` writes what `service.datasets.affwild2` writes, with the labels that
the set's reader gives: files of VA_Set, EXPR_Set (seven classes; contempt counts as not annotated) and AU_Set (the 17
units of FaceBehaviorNet, -1 for those that the set does not have). A task that a recording has no label for has no
file. Compound expressions go to COMPOUND_Set.
"""

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.errors import UserError
from models.labels import EXPRESSIONS
from models.metrics import CLASS_SENTINEL
from models.training import affwild2
from service.datasets import afew_va, affectnet, affwild, bp4d, disfa, emotionet, omg_emotion, rafdb, webva
from service.datasets.affwild2 import RecordingFiles, move, prepare_layout
from service.datasets.affwild2_layout import Layout
from service.datasets.labelled import Labelled, LabelReader
from service.perception.networks import Networks
from service.perception.still import face_in_crop

READERS: Mapping[str, LabelReader] = {
    "affwild": affwild.read,
    "omg-emotion": omg_emotion.read,
    "affectnet": affectnet.read,
    "raf-db": rafdb.read,
    "emotionet": emotionet.read,
    "disfa": disfa.read,
    "bp4d": bp4d.read,
    "afew-va": afew_va.read,
    "webva-recordings": webva.read,
}
_PARTS = {"train": "Train_Set", "validation": "Validation_Set", "test": "Test_Set"}


def prepare_labelled(name: str, source: Path, out: Path) -> None:
    """Write the data set `name`, one of `READERS`, from `source` into `out`, going on where a run stopped.

    Raise `AnnotationError` for a file of the set that is missing or wrong, `UserError` if no face is found at all.
    """
    if out.resolve() == source.resolve():
        raise UserError(f"--out {out} is the data set itself; name another folder.")
    recordings = READERS[name](source)
    for recording in recordings:
        write_annotations(recording, out)
    videos = {one.name: one.media for one in recordings if isinstance(one.media, Path)}
    if videos:
        frames = {one.name: len(one) for one in recordings if one.name in videos}
        prepare_layout(Layout(frames, videos, {"cropped": {}, "cropped_aligned": {}}), out)
    networks = Networks()
    for recording in tqdm([one for one in recordings if one.name not in videos], unit="recording", disable=None):
        if not (out / "landmarks" / f"{recording.name}.npy").is_file():
            _prepare_pictures(recording, out, networks)
    if not any((out / "cropped_aligned").glob("*/*.jpg")):
        raise UserError(f"No face was found in any picture of {source}.")


def write_annotations(recording: Labelled, out: Path) -> None:
    """Write a file for each task that the recording has a label for."""
    part, root = _PARTS[recording.split], out / "annotations"
    expression = np.where(recording.expression < len(EXPRESSIONS), recording.expression, CLASS_SENTINEL)
    if (recording.va != -5).any():
        affwild2.write_va(root / "VA_Set" / part / f"{recording.name}.txt", recording.va)
    if (expression != CLASS_SENTINEL).any():
        affwild2.write_expression(root / "EXPR_Set" / part / f"{recording.name}.txt", expression)
    if (recording.compound != CLASS_SENTINEL).any():
        path = root / affwild2.COMPOUND_FOLDER / part / f"{recording.name}.txt"
        affwild2.write_compound(path, recording.compound)
    if (recording.au != CLASS_SENTINEL).any():
        affwild2.write_au(root / "AU_Set" / part / f"{recording.name}.txt", recording.au)


def _prepare_pictures(recording: Labelled, out: Path, networks: Networks) -> None:
    """Write the crops, masks and landmarks of a recording of pictures, several of them at a time."""
    assert not isinstance(recording.media, Path)
    aside = out / f".{recording.name}.part"
    shutil.rmtree(aside, ignore_errors=True)
    written = RecordingFiles(aside, recording.name, context=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, face in enumerate(pool.map(lambda path: face_in_crop(networks, _picture(path)), recording.media)):
            written.add(index, face, None)
    written.finish()
    move(aside, out, [recording.name])
    shutil.rmtree(aside, ignore_errors=True)


def _picture(path: Path) -> NDArray[np.uint8]:
    """Return (height, width, 3) RGB. Raise `UserError` if `path` is not a picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} is not a picture that can be read.")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
