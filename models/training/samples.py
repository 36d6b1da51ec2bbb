"""What a training run draws from: samples of recordings with their labels, repeatable for each epoch and sample."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.errors import ModelError
from models.labels import AUS_2020, AUS_2022, AUS_UNION, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL, annotated
from models.training import affwild2
from models.training.pseudo_labels import Histograms, contradicts
from models.training.recipe import Recipe
from models.training.recordings import Recording

log = logging.getLogger(__name__)

Batch = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]  # inputs, labels, where: recording and frames


def recordings(root: Path, recipe: Recipe) -> tuple[list[Recording], list[Recording]]:
    """Those to train on and those to validate on; with a fold, all of them dealt anew by video."""
    if recipe.annotations == "2022":
        files = (root / "annotations" / affwild2.MULTI_TASK[split] for split in ("train", "validation"))
        parts = [affwild2.read_multi_task(file, strict=False) for file in files]
    else:
        parts = [affwild2.read_annotations(root, split) for split in ("train", "validation")]
    if recipe.fold:
        together = parts[0] | parts[1]
        held = folds({a.name: a.video for a in together.values()}, recipe.fold[1])[recipe.fold[0]]
        parts = [{n: a for n, a in together.items() if (n in held) is wanted} for wanted in (False, True)]
    train, validation = (_with_pictures(root, part) for part in parts)
    if not train or not validation:
        raise ModelError(
            f"{root} has pictures of {len(train)} recordings to train on and of {len(validation)} to validate on; "
            "`affectstream prepare affwild2` makes them."
        )
    for recording in train + validation:  # before the first epoch, and not in a process that reads
        recording.require(recipe.needs)
    return train, validation


def _with_pictures(root: Path, annotations: Mapping[str, affwild2.Annotation]) -> list[Recording]:
    """Those whose video was there when the data set was prepared."""
    found = [Recording(root, a) for a in annotations.values() if (root / "cropped_aligned" / a.name).is_dir()]
    if missing := sorted(annotations.keys() - {recording.name for recording in found}):
        log.warning("%d of %d recordings have no pictures: %s ...", len(missing), len(annotations), missing[0])
    return found


def folds(videos: dict[str, str], k: int) -> list[set[str]]:
    """The names dealt into `k` groups of like size; all people of one video (name: video) stay together."""
    order = sorted(set(videos.values()))
    np.random.default_rng(0).shuffle(order)
    return [{name for name, video in videos.items() if order.index(video) % k == i} for i in range(k)]


@dataclass(frozen=True)
class Sample:
    """Frames (indices) of a recording: one that is predicted, or a sequence; -1 where a short video was filled up."""

    recording: int
    frames: NDArray[np.int64]


class Samples(Dataset[tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]]):
    """The samples of `recordings`; `histograms` (from the training recordings) give pseudo labels and mean training."""

    def __init__(self, recordings: Sequence[Recording], recipe: Recipe, training: bool) -> None:
        self.recordings = recordings
        self.recipe = recipe
        self.training = training
        self.epoch = 0
        self.histograms: Histograms | None = None
        if training and recipe.pseudo_valence:
            va = np.concatenate([r.annotation.va for r in recordings])
            expression = np.concatenate([r.annotation.expression for r in recordings])
            usable = ~contradicts(va, expression) & (expression < 7)
            self.histograms = Histograms.of(va[usable], expression[usable])
        self.usable = [self._usable(r) for r in recordings]
        self.samples = [s for i in range(len(recordings)) for s in self._samples(i)]
        if not self.samples:
            kind = "train on" if training else "validate on"
            raise ModelError(f"No frame to {kind} is annotated for {', '.join(recipe.tasks)}.")

    def absent(self) -> list[str]:
        """Expressions and action units that the network is to learn and no frame shows."""
        pairs = list(zip(self.recordings, self.usable, strict=True))
        names: list[str] = []
        if "expression" in self.recipe.tasks:
            seen = np.concatenate([r.annotation.expression[usable] for r, usable in pairs])
            classes = (*EXPRESSIONS, "other")[: self.recipe.expressions]
            names += [name for i, name in enumerate(classes) if not (seen == i).any()]
        if "au" in self.recipe.tasks:
            units = AUS_2022 if self.recipe.annotations == "2022" else AUS_2020
            shown = np.concatenate([r.annotation.au[usable] for r, usable in pairs])
            names += [name for i, name in enumerate(units) if not (shown[:, i] == 1).any()]
        return names

    def _usable(self, recording: Recording) -> NDArray[np.bool_]:
        """(n,) frames with a face and a label for one of the tasks."""
        a, tasks = recording.annotation, self.recipe.tasks
        usable = np.zeros(len(a), bool)
        if "va" in tasks:
            usable |= annotated(a.va, VA_SENTINEL)
        if "expression" in tasks or self.histograms is not None:
            usable |= annotated(a.expression, CLASS_SENTINEL)
        if "au" in tasks:
            usable |= annotated(a.au, CLASS_SENTINEL)
        if self.training and self.recipe.filter:
            usable &= ~contradicts(a.va, a.expression)
        with_face = np.zeros(len(a), bool)
        with_face[recording.faces] = True
        return usable & with_face

    def _samples(self, index: int) -> Iterator[Sample]:
        recording, recipe = self.recordings[index], self.recipe
        if not recipe.sequences:
            frames = np.flatnonzero(self.usable[index])
            yield from (Sample(index, frames[i : i + 1]) for i in range(0, len(frames), recipe.stride))
            return
        faces, length = recording.faces, recipe.sequence
        starts = list(range(0, len(faces) - length + 1, recipe.stride if self.training else length))
        if len(faces) and (not starts or starts[-1] + length < len(faces)):
            starts.append(max(len(faces) - length, 0))  # the last one ends with the video
        for start in starts:
            frames = faces[start : start + length]
            if self.usable[index][frames].any():
                yield Sample(index, np.concatenate((frames, np.full(length - len(frames), -1))))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        sample = self.samples[index]
        recording, usable = self.recordings[sample.recording], self.usable[sample.recording]
        rng = np.random.default_rng((self.recipe.seed, self.epoch, index))
        shown = np.where(sample.frames < 0, sample.frames.max(), sample.frames)
        inputs = self.recipe.builder(recording, shown, rng if self.training and self.recipe.augment else None)
        a = recording.annotation
        labels: dict[str, NDArray[Any]] = {
            "va": a.va[shown],
            "expression": a.expression[shown],
            "au": self._units(a.au[shown]),
        }
        if self.histograms is not None:
            drawn = self.histograms.sample(np.where(labels["expression"] < 7, labels["expression"], -1), rng)
            missing = ~annotated(labels["va"], VA_SENTINEL)
            labels["pseudo_valence"] = np.where(missing, drawn[:, 0], VA_SENTINEL).astype(np.float32)
        unusable = (sample.frames < 0) | ~usable[shown]
        for task, values in labels.items():
            values = values.copy()
            values[unusable] = VA_SENTINEL if "va" in task else CLASS_SENTINEL
            labels[task] = values if self.recipe.sequences else np.asarray(values[0])
        where = {"recording": np.array(sample.recording), "frames": sample.frames}
        return _tensors(inputs), _tensors(labels), _tensors(where)

    def _units(self, au: NDArray[np.int64]) -> NDArray[np.int64]:
        """FaceBehaviorNet's 17 action units from those that are annotated; the others are not."""
        if self.recipe.network != "facebehaviornet":
            return au
        union = np.full((len(au), len(AUS_UNION)), CLASS_SENTINEL)
        union[:, [AUS_UNION.index(name) for name in AUS_2020]] = au
        return union

    def batches(self, epoch: int) -> "DataLoader[Batch]":
        """The epoch's batches: in a new order each epoch while training, in the videos' order otherwise."""
        self.epoch = epoch
        order = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        return DataLoader(
            self, self.recipe.batch, shuffle=self.training, generator=order, num_workers=self.recipe.workers
        )


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
