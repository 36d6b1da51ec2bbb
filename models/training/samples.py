"""Samples of recordings with their labels, from which a training run draws, repeatable for each epoch and sample."""

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
from models.labels import EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL, annotated
from models.training import affwild2
from models.training.coupling import possible_expressions
from models.training.pseudo_labels import Histograms, contradicts
from models.training.recipe import Recipe
from models.training.recordings import Recording
from models.training.task_batches import TaskBatches

log = logging.getLogger(__name__)

Batch = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]  # inputs, labels, where: recording and frames


def recordings(root: Path, recipe: Recipe) -> tuple[list[Recording], list[Recording]]:
    """Return the recordings to train on and those to validate on, of `root` and of the recipe's further data sets.

    With `fold`, the videos of both splits are dealt anew. With `final`, those to validate are trained on as well. Raise
    `ModelError` if either part is empty or lacks what the network reads.
    """
    parts: tuple[list[Recording], list[Recording]] = ([], [])
    for folder in (root, *(root / other for other in recipe.also)):
        for part, found in zip(parts, _of_data_set(folder, recipe), strict=True):
            part.extend(found)
    train, validation = parts
    if not train or not validation:
        raise ModelError(
            f"{root} has pictures of {len(train)} recordings to train on and of {len(validation)} to validate on; "
            "`affectstream prepare affwild2` makes them."
        )
    for recording in train + validation:  # before the first epoch, and not in a process that reads
        recording.require(recipe.needs)
    return (train + validation if recipe.final else train), validation


def _of_data_set(root: Path, recipe: Recipe) -> list[list[Recording]]:
    """Return the recordings of one data set to train on and to validate on."""
    if recipe.annotations == "2022":
        files = (root / "annotations" / affwild2.MULTI_TASK[split] for split in ("train", "validation"))
        parts: list[dict[str, affwild2.Annotation]] = [affwild2.read_multi_task(file, strict=False) for file in files]
    else:
        splits = ("train", "validation")
        there = [split for split in splits if affwild2.has_annotations(root, split)] or splits
        found = {split: affwild2.read_annotations(root, split, recipe.unit_names) for split in there}
        parts = [found.get(split, {}) for split in splits]  # a further data set may have one part alone
    if recipe.fold:
        together = parts[0] | parts[1]
        held = folds({a.name: a.video for a in together.values()}, recipe.fold[1])[recipe.fold[0]]
        parts = [{n: a for n, a in together.items() if (n in held) is wanted} for wanted in (False, True)]
    return [_with_pictures(root, part) for part in parts]


def _with_pictures(root: Path, annotations: Mapping[str, affwild2.Annotation]) -> list[Recording]:
    """Return the recordings whose video was there when the data set was prepared."""
    found = [Recording(root, a) for a in annotations.values() if (root / "cropped_aligned" / a.name).is_dir()]
    if missing := sorted(annotations.keys() - {recording.name for recording in found}):
        log.warning("%d of %d recordings have no pictures: %s ...", len(missing), len(annotations), missing[0])
    return found


def folds(videos: dict[str, str], k: int) -> list[set[str]]:
    """Return the names dealt into `k` groups of like size; all people of one video (name: video) stay together."""
    order = sorted(set(videos.values()))
    np.random.default_rng(0).shuffle(order)
    return [{name for name, video in videos.items() if order.index(video) % k == i} for i in range(k)]


@dataclass(frozen=True)
class Sample:
    """Hold the frames (indices) of a recording: one that is predicted, or a sequence; -1 fills a short video up."""

    recording: int
    frames: NDArray[np.int64]


class Samples(Dataset[tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]]):
    """Give the samples of `recordings` by index; while `training`, with augmentation, filters and pseudo labels."""

    def __init__(self, recordings: Sequence[Recording], recipe: Recipe, training: bool) -> None:
        """Find the usable frames. Raise `ModelError` if there is none, or co_annotation can say one class alone."""
        self.recordings = recordings
        self.recipe = recipe
        self.training = training
        self.epoch = 0
        self.histograms: Histograms | None = None
        if training and recipe.pseudo:  # counted over all frames, before any is filtered out
            va = np.concatenate([r.annotation.va for r in recordings])
            self.histograms = Histograms.of(va, np.concatenate([r.annotation.expression for r in recordings]))
        self.usable = [self._usable(r) for r in recordings]
        self.samples = [s for i in range(len(recordings)) for s in self._samples(i)]
        if not self.samples:
            kind = "train on" if training else "validate on"
            raise ModelError(f"No frame to {kind} is annotated for {', '.join(recipe.tasks)}.")
        if training and recipe.coupling.get("co_annotation", 0):
            self._need_expressions()

    def _need_expressions(self) -> None:
        """Raise `ModelError` if the annotated action units let hard co-annotation say one expression at most."""
        units = [name for i, name in enumerate(self.recipe.unit_names) if self._shown(i)]
        possible = possible_expressions(units, self.recipe.relation)
        if len(possible) < 2:
            raise ModelError(
                f"coupling co_annotation: with the annotated action units {', '.join(units)} it can only say "
                f"{' or '.join(possible) or 'nothing'}, since every unit of an expression must be annotated. Leave it "
                "out of coupling (soft_co_annotation works with these), or name data sets with more units in `also`."
            )

    def _shown(self, unit: int) -> bool:
        return any((r.annotation.au[:, unit] != CLASS_SENTINEL).any() for r in self.recordings)

    def absent(self) -> list[str]:
        """Return the expressions and action units that the network is to learn and no frame shows."""
        pairs = list(zip(self.recordings, self.usable, strict=True))
        names: list[str] = []
        if "expression" in self.recipe.tasks:
            seen = np.concatenate([r.annotation.expression[usable] for r, usable in pairs])
            classes = (*EXPRESSIONS, "other")[: self.recipe.expressions]
            names += [name for i, name in enumerate(classes) if not (seen == i).any()]
        if "au" in self.recipe.tasks:
            shown = np.concatenate([r.annotation.au[usable] for r, usable in pairs])
            names += [name for i, name in enumerate(self.recipe.unit_names) if not (shown[:, i] == 1).any()]
        return names

    def _usable(self, recording: Recording) -> NDArray[np.bool_]:
        """Return (n,) frames with a face and a label for one of the tasks."""
        a, tasks, pseudo = recording.annotation, self.recipe.tasks, self.recipe.pseudo if self.training else ()
        usable = np.zeros(len(a), bool)
        if "va" in tasks or "expression" in pseudo:
            usable |= annotated(a.va, VA_SENTINEL)
        if "expression" in tasks or {"valence", "arousal"} & set(pseudo):
            usable |= annotated(a.expression, CLASS_SENTINEL)
        if "au" in tasks:
            usable |= (a.au != CLASS_SENTINEL).any(1)
        if "compound" in tasks:
            usable |= annotated(_compound(a), CLASS_SENTINEL)
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
        """Return the number of samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        """Return the inputs, the labels, and the recording and frames of a sample."""
        sample = self.samples[index]
        recording, usable = self.recordings[sample.recording], self.usable[sample.recording]
        rng = np.random.default_rng((self.recipe.seed, self.epoch, index))
        shown = np.where(sample.frames < 0, sample.frames.max(), sample.frames)
        inputs = self.recipe.builder(recording, shown, rng if self.training and self.recipe.augment else None)
        a = recording.annotation
        labels: dict[str, NDArray[Any]] = {"va": a.va[shown], "expression": a.expression[shown], "au": a.au[shown]}
        if "compound" in self.recipe.tasks:
            labels["compound"] = _compound(a)[shown]
        if self.histograms is not None:
            labels |= self._pseudo_labels(self.histograms, labels["va"], labels["expression"], rng)
        unusable = (sample.frames < 0) | ~usable[shown]
        for task, values in labels.items():
            values = values.copy()
            values[unusable] = {"va": VA_SENTINEL, "expression_share": 0}.get(task, CLASS_SENTINEL)
            labels[task] = values if self.recipe.sequences else np.asarray(values[0])
        where = {"recording": np.array(sample.recording), "frames": sample.frames}
        return _tensors(inputs), _tensors(labels), _tensors(where)

    def _pseudo_labels(
        self, histograms: Histograms, va: NDArray[Any], expression: NDArray[Any], rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Return `va` with drawn values where it is missing, and `expression_share` where no expression is given."""
        filled, missing = va.copy(), ~annotated(va, VA_SENTINEL)
        drawn = histograms.sample(expression, rng)
        for column, name in enumerate(("valence", "arousal")):
            if name in self.recipe.pseudo:
                filled[missing, column] = drawn[missing, column]
        found: dict[str, NDArray[Any]] = {"va": filled}
        if "expression" in self.recipe.pseudo:
            share = histograms.probabilities(va).astype(np.float32)
            found["expression_share"] = np.where((expression == CLASS_SENTINEL)[:, None], share, 0)
        return found

    def batches(self, epoch: int) -> "DataLoader[Batch]":
        """Return the epoch's batches: in a new order each epoch while training, in the videos' order otherwise."""
        self.epoch = epoch
        order = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        if self.training and self.recipe.batches:
            drawn = TaskBatches(self._by_task(), self.recipe.batches, order)
            return DataLoader(self, batch_sampler=drawn, num_workers=self.recipe.workers)
        return DataLoader(
            self, self.recipe.batch, shuffle=self.training, generator=order, num_workers=self.recipe.workers
        )

    def _by_task(self) -> dict[str, NDArray[np.int64]]:
        """Return the samples annotated for each task. Raise `ModelError` for a task of `batches` that none is."""
        found: dict[str, list[int]] = {task: [] for task in self.recipe.batches}
        for index, sample in enumerate(self.samples):
            a = self.recordings[sample.recording].annotation
            frames = sample.frames[sample.frames >= 0]
            known = {
                "va": annotated(a.va[frames], VA_SENTINEL).any(),
                "expression": annotated(a.expression[frames], CLASS_SENTINEL).any(),
                "au": (a.au[frames] != CLASS_SENTINEL).any(),
                "compound": annotated(_compound(a)[frames], CLASS_SENTINEL).any(),
            }
            for task in found:
                if known[task]:
                    found[task].append(index)
        for task, indices in found.items():
            if not indices:
                raise ModelError(f"batches: no frame to train on is annotated for {task}; leave it out of batches.")
        return {task: np.array(indices) for task, indices in found.items()}


def _compound(annotation: affwild2.Annotation) -> NDArray[np.int64]:
    """Return (n,) compound labels, -1 where there is none."""
    missing = np.full(len(annotation), CLASS_SENTINEL)
    return missing if annotation.compound is None else annotation.compound


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
