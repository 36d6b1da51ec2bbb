"""Predict a data set with trained networks: submissions to the challenges, and MIMAMO Net's appearance features.

Frames without a face hold the prediction before them; those before the first face hold the sentinels. Li 2020 treats
missing frames in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

import models
from models import checkpoint
from models.errors import ModelError
from models.files import written_whole
from models.labels import AUS_2020, AUS_2022, AUS_UNION, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL
from models.networks import ferplus_resnet50
from models.networks.descriptors import Descriptors, DescriptorsEnsemble
from models.postprocess import Chain, Sequences
from models.training import affwild2, probabilities
from models.training.affwild2 import Annotation
from models.training.outputs import Smoothed, probability, run
from models.training.prediction_files import PROBABILITIES
from models.training.probabilities import Probabilities
from models.training.recipe import Recipe, made
from models.training.recordings import Recording
from models.training.validation import Fuse

MULTI_TASK_FILE = "predictions.txt"  # of a 2022 submission
RESIZED, PICTURE = 256, 224  # pixels: ferplus-resnet50 reads the middle of the resized face

Outputs = dict[str, NDArray[np.float64]]  # task -> (faces, columns): values, or probabilities


@dataclass(frozen=True)
class Trained:
    """Hold a network of a training run, in eval mode, its recipe and its post-processing."""

    network: nn.Module
    recipe: Recipe
    chain: Chain


def trained(path: Path) -> Trained:
    """Return the network of a training run's checkpoint. Raise `ModelError` if `path` is not one."""
    content = checkpoint.read(path)
    if "recipe" not in content:
        raise ModelError(f"{path} was not written by a training run; it has no recipe.")
    recipe = made(content["recipe"], str(path))
    network = models.create(recipe.network, **recipe.options)
    checkpoint.load_into(network, checkpoint.state_dict(content, path), path)
    return Trained(network.eval(), recipe, Chain(**content.get("postprocess", {})))


def runs(path: Path) -> list[Path]:
    """Return `path` itself if it is a checkpoint, or the best.pt of each run in a folder of folds, in order."""
    return [path] if path.suffix == ".pt" else sorted(path.glob("*/best.pt"))


def all_trained(path: Path) -> list[Trained]:
    """Return the networks of `runs(path)`, whose outputs are to be averaged.

    Raise `ModelError` if there is none, or if their recipes differ in more than the fold and the seed.
    """
    found = [trained(one) for one in runs(path)]
    if not found:
        raise ModelError(f"{path} holds no runs; expected are folders with a best.pt each, or name one .pt file.")
    alike = [one.recipe.content() | {"fold": [], "seed": 0} for one in found]
    if any(one != alike[0] for one in alike):
        raise ModelError(f"The runs in {path} have other recipes than the folds of one; their networks do not average.")
    return found


def unannotated(root: Path, units: int) -> list[Recording]:
    """Return a recording for each folder of `cropped_aligned`, as long as its last picture says."""
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
def outputs_of(network: nn.Module, recipe: Recipe, recording: Recording, device: str = "cpu") -> Outputs:
    """Return a network's values and probabilities for every frame with a face, before any post-processing."""
    target, faces = torch.device(device), recording.faces
    network = network.to(target)
    given = recipe.network == "descriptors-ensemble"
    smoothed = None
    if recipe.smoothing and isinstance(network, (Descriptors, DescriptorsEnsemble)):
        smoothed = Smoothed(network)
    found: dict[str, list[NDArray[Any]]] = {task: [] for task in recipe.tasks}
    for frames, fresh in _windows(faces, recipe.sequence if recipe.sequences else 1):
        inputs = {
            name: torch.from_numpy(np.ascontiguousarray(x))[None].to(target)
            for name, x in recipe.builder(recording, frames, None).items()
        }
        output = run(network, inputs) if smoothed is None else smoothed(inputs)
        for task in recipe.tasks:
            result = probability(task, output[task].float().cpu(), given)
            found[task].append(result[0].numpy()[-fresh:] if recipe.sequences else result.numpy())
    return {task: np.concatenate(parts).astype(np.float64) for task, parts in found.items() if parts}


def predictions(
    trained: Sequence[Trained], recordings: Sequence[Recording], device: str = "cpu", progress: bool = False
) -> list[tuple[Annotation, Probabilities]]:
    """Return for each recording the decisions for every frame, and the probabilities for those with a face.

    Each network's valence and arousal go through its post-processing; then values and probabilities are averaged over
    the networks. Tasks that they were not trained on hold sentinels, and their probabilities are unknown.
    """
    recipe = trained[0].recipe
    by_network: list[list[Outputs]] = []
    for one in trained:
        bar = tqdm(recordings, unit="recording", disable=not progress)
        outputs = [outputs_of(one.network, recipe, recording, device) for recording in bar]
        if "va" in recipe.tasks:
            _finish(one, recordings, outputs)
        by_network.append(outputs)
    found = []
    for number, recording in enumerate(recordings):
        parts = [outputs[number] for outputs in by_network]
        mean = {task: np.mean([part[task] for part in parts], axis=0) for task in parts[0]}
        found.append(_decided(recording, recipe, mean))
    return found


def _finish(one: Trained, recordings: Sequence[Recording], outputs: list[Outputs]) -> None:
    """Replace the valence and arousal of all recordings by their final estimates."""
    length = one.recipe.sequence if one.recipe.sequences else 1
    counts = [len(found["va"]) if "va" in found else 0 for found in outputs]
    if not sum(counts):
        return
    where = Sequences(
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.arange(count) // length for count in counts]),
        tuple(recording.name for recording in recordings),
        one.recipe.utterances,
    )
    raw = np.concatenate([found["va"] for found in outputs if "va" in found])
    final = Fuse(one.network)(one.chain.apply(raw, where))
    for found, part in zip(outputs, np.split(final, np.cumsum(counts)[:-1]), strict=True):
        if "va" in found:
            found["va"] = part


def _decided(
    recording: Recording, recipe: Recipe, mean: Mapping[str, NDArray[np.float64]]
) -> tuple[Annotation, Probabilities]:
    """Return decisions for every frame of a recording, and what is known of those with a face."""
    classes, units = _names(recipe)
    length, faces = len(recording), recording.faces
    columns = {"va": 2, "expression": len(classes), "au": len(units)}
    shares = {task: np.full((len(faces), count), np.nan) for task, count in columns.items()}
    held: dict[str, NDArray[Any]] = {
        "va": np.full((length, 2), VA_SENTINEL, np.float32),
        "expression": np.full(length, CLASS_SENTINEL),
        "au": np.full((length, len(units)), CLASS_SENTINEL),
    }
    for task, values in mean.items():
        if task not in held:  # compound expressions have no place in the challenges' files
            continue
        if task == "au" and values.shape[1] != len(units):  # FaceBehaviorNet: the challenge's units alone
            values = values[:, [AUS_UNION.index(unit) for unit in units]]
        shares[task] = values
        decided = {"va": values, "expression": values.argmax(1), "au": (values > 0.5).astype(np.int64)}[task]
        sentinel = VA_SENTINEL if task == "va" else CLASS_SENTINEL
        held[task] = affwild2.hold(decided, faces.tolist(), length, sentinel)
    known = Probabilities(faces, shares["va"], shares["expression"], shares["au"])
    return Annotation(recording.name, **held), known


def _names(recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the expressions and the action units of the challenge whose annotations the recipe has."""
    return (*EXPRESSIONS, "other")[: recipe.expressions], AUS_2020 if recipe.annotations == "2020" else AUS_2022


def _windows(faces: NDArray[np.int64], length: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield sequences of `length` faces, and how many of each were not in the one before; the last ends the video."""
    for start in range(0, len(faces), length):
        stop = min(start + length, len(faces))
        yield faces[max(0, stop - length) : stop], stop - start


def write_submission(path: Path, root: Path, out: Path, device: str = "cpu", progress: bool = False) -> dict[str, int]:
    """Write submission files for all recordings of the data set `root`, and return their frames by name.

    `path`: a checkpoint of a run, or a folder of folds, whose networks are averaged. 2020: `out`/VA_Set/<name>.txt and
    so on. 2022: `out`/predictions.txt with a row for every picture. Both: `out`/probabilities/<name>.csv. Of
    FaceBehaviorNet's 17 action units the challenge's 8 are written. Raise `ModelError` if `path` or `root` is unusable.
    """
    networks = all_trained(path)
    recipe = networks[0].recipe
    classes, units = _names(recipe)
    recordings = unannotated(root, len(units))
    found = []
    for annotation, sure in predictions(networks, recordings, device, progress):
        probabilities.write(out / PROBABILITIES / f"{annotation.name}.csv", sure, classes, units)
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
    """Write `root`/features/<name>.npy by `network`, a ferplus-resnet50; files that are there already stay."""
    target = torch.device(device)
    network = network.to(target).eval()
    for recording in tqdm(unannotated(root, len(AUS_2020)), unit="recording", disable=not progress):
        path = root / "features" / f"{recording.name}.npy"
        if path.is_file():
            continue
        features = np.zeros((len(recording), ferplus_resnet50.FEATURES), np.float32)
        for start in range(0, len(recording.faces), batch):
            frames = recording.faces[start : start + batch]
            features[frames] = network(feature_picture(recording.pictures(frames)).to(target))["features"].cpu()
        with written_whole(path) as aside:
            np.save(aside, features)


def feature_picture(faces: NDArray[np.uint8]) -> torch.Tensor:
    """Return what ferplus-resnet50 reads, (n, 3, 224, 224), of (n, 112, 112, 3) RGB faces."""
    edge = (RESIZED - PICTURE) // 2
    resized = [cv2.resize(face, (RESIZED, RESIZED), interpolation=cv2.INTER_LINEAR) for face in faces]
    middle = np.stack(resized)[:, edge : edge + PICTURE, edge : edge + PICTURE].astype(np.float32)
    return torch.from_numpy((middle - np.asarray(ferplus_resnet50.MEAN_RGB, np.float32)).transpose(0, 3, 1, 2).copy())
