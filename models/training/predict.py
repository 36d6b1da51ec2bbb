"""What a trained network says about a data set: submissions to the challenges, and MIMAMO Net's appearance features.

Frames without a face hold the prediction before them; those before the first face hold the sentinels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

import models
from models import checkpoint
from models.errors import ModelError
from models.labels import AUS_2020, AUS_2022, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL
from models.networks import ferplus_resnet50
from models.training import affwild2, probabilities
from models.training.affwild2 import Annotation
from models.training.prediction_files import PROBABILITIES
from models.training.probabilities import Probabilities
from models.training.recipe import Recipe, made
from models.training.recordings import Recording
from models.training.train import by_task, decide

MULTI_TASK_FILE = "predictions.txt"  # of a 2022 submission
RESIZED, PICTURE = 256, 224  # pixels: ferplus-resnet50 reads the middle of the resized face


def trained(path: Path) -> tuple[nn.Module, Recipe]:
    """The network of a training run's checkpoint, in eval mode, and its recipe."""
    content = checkpoint.read(path)
    if "recipe" not in content:
        raise ModelError(f"{path} was not written by a training run; it has no recipe.")
    recipe = made(content["recipe"], str(path))
    network = models.create(recipe.network, **recipe.options)
    checkpoint.load_into(network, checkpoint.state_dict(content, path), path)
    return network.eval(), recipe


def unannotated(root: Path, units: int) -> list[Recording]:
    """A recording for each folder of `cropped_aligned`, as long as its last picture says."""
    recordings = []
    for folder in sorted((root / "cropped_aligned").glob("*/")):
        length = max((int(path.stem) for path in folder.glob("*.jpg")), default=0)
        missing = (np.full((length, 2), VA_SENTINEL, np.float32), np.full(length, CLASS_SENTINEL))
        annotation = Annotation(folder.name, *missing, np.full((length, units), CLASS_SENTINEL))
        recordings.append(Recording(root, annotation))
    if not recordings:
        raise ModelError(f"{root}/cropped_aligned holds no folders of pictures.")
    return recordings


@torch.no_grad()
def predictions(
    network: nn.Module, recipe: Recipe, recording: Recording, device: str = "cpu"
) -> tuple[Annotation, Probabilities]:
    """The network's decisions for every frame of a recording, and its probabilities for those with a face.

    Tasks that it was not trained on hold sentinels, and their probabilities are unknown.
    """
    target, faces = torch.device(device), recording.faces
    network = network.to(target)
    given = recipe.network == "descriptors-ensemble"
    rows: dict[str, list[NDArray[Any]]] = {task: [] for task in recipe.tasks}
    sure: dict[str, list[NDArray[Any]]] = {task: [] for task in recipe.tasks}
    for frames, fresh in _windows(faces, recipe.sequence if recipe.sequences else 1):
        inputs = {
            name: torch.from_numpy(np.ascontiguousarray(x))[None].to(target)
            for name, x in recipe.builder(recording, frames, None).items()
        }
        output = by_task(network(**inputs))
        for task in recipe.tasks:
            value = output[task].float().cpu()
            for kept, result in ((rows, decide(task, value, given)), (sure, probability(task, value, given))):
                kept[task].append(result[0].numpy()[-fresh:] if recipe.sequences else result.numpy())
    length, a = len(recording), recording.annotation
    held: dict[str, NDArray[Any]] = {"va": a.va, "expression": a.expression, "au": a.au}
    classes, units = _names(recipe)
    known = {"va": 2, "expression": len(classes), "au": len(units)}
    shares = {task: np.full((len(faces), count), np.nan) for task, count in known.items()}
    for task, found in rows.items():
        if found and len(faces):
            sentinel = VA_SENTINEL if task == "va" else CLASS_SENTINEL
            held[task] = affwild2.hold(np.concatenate(found), faces.tolist(), length, sentinel)
            shares[task] = np.concatenate(sure[task]).astype(np.float64)
    return Annotation(recording.name, **held), Probabilities(faces, **shares)


def probability(task: str, value: Tensor, given: bool) -> Tensor:
    """Values, and probabilities of logits unless they are `given`."""
    if task == "va":
        return value.clamp(-1, 1)
    if given:
        return value
    return value.softmax(-1) if task == "expression" else value.sigmoid()


def _names(recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the expressions and of the action units that the recipe's annotations have."""
    return (*EXPRESSIONS, "other")[: recipe.expressions], AUS_2020 if recipe.annotations == "2020" else AUS_2022


def _windows(faces: NDArray[np.int64], length: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Sequences of `length` faces and how many of each were not in the one before: the last one ends with the video."""
    for start in range(0, len(faces), length):
        stop = min(start + length, len(faces))
        yield faces[max(0, stop - length) : stop], stop - start


def write_submission(path: Path, root: Path, out: Path, device: str = "cpu", progress: bool = False) -> dict[str, int]:
    """Submission files for all recordings of the data set `root` by the checkpoint `path`; name -> frames.

    2020: `out`/VA_Set/<name>.txt and so on. 2022: `out`/predictions.txt with a row for every picture. Both:
    `out`/probabilities/<name>.csv.
    """
    network, recipe = trained(path)
    if recipe.network == "facebehaviornet":
        raise ModelError("FaceBehaviorNet predicts 17 action units, and the challenges have 8 or 12; choose another.")
    classes, units = _names(recipe)
    recordings = unannotated(root, len(units))
    found = []
    for recording in tqdm(recordings, unit="recording", disable=not progress):
        annotation, sure = predictions(network, recipe, recording, device)
        probabilities.write(out / PROBABILITIES / f"{recording.name}.csv", sure, classes, units)
        found.append(annotation)
    if recipe.annotations == "2022":
        frames = {recording.name: recording.faces.tolist() for recording in recordings}
        affwild2.write_multi_task(out / MULTI_TASK_FILE, found, frames)
    for p in found if recipe.annotations == "2020" else ():
        if "va" in recipe.tasks:
            affwild2.write_va(out / affwild2.FOLDERS["va"] / f"{p.name}.txt", p.va)
        if "expression" in recipe.tasks:
            affwild2.write_expression(out / affwild2.FOLDERS["expression"] / f"{p.name}.txt", p.expression)
        if "au" in recipe.tasks:
            affwild2.write_au(out / affwild2.FOLDERS["au"] / f"{p.name}.txt", p.au)
    return {p.name: len(p) for p in found}


@torch.no_grad()
def write_features(
    root: Path, network: nn.Module, batch: int = 32, device: str = "cpu", progress: bool = False
) -> None:
    """Writes `root`/features/<name>.npy by `network`, a ferplus-resnet50; those that are there already stay."""
    target = torch.device(device)
    network = network.to(target).eval()
    (root / "features").mkdir(exist_ok=True)
    for recording in tqdm(unannotated(root, len(AUS_2020)), unit="recording", disable=not progress):
        path = root / "features" / f"{recording.name}.npy"
        if path.is_file():
            continue
        features = np.zeros((len(recording), ferplus_resnet50.FEATURES), np.float32)
        for start in range(0, len(recording.faces), batch):
            frames = recording.faces[start : start + batch]
            features[frames] = network(feature_picture(recording.pictures(frames)).to(target))["features"].cpu()
        part = path.with_suffix(".part.npy")
        np.save(part, features)
        part.replace(path)


def feature_picture(faces: NDArray[np.uint8]) -> torch.Tensor:
    """(n, 112, 112, 3) RGB -> what ferplus-resnet50 reads, (n, 3, 224, 224)."""
    edge = (RESIZED - PICTURE) // 2
    resized = [cv2.resize(face, (RESIZED, RESIZED), interpolation=cv2.INTER_LINEAR) for face in faces]
    middle = np.stack(resized)[:, edge : edge + PICTURE, edge : edge + PICTURE].astype(np.float32)
    return torch.from_numpy((middle - np.asarray(ferplus_resnet50.MEAN_RGB, np.float32)).transpose(0, 3, 1, 2).copy())
