"""Predict every annotated frame of a validation set, and score it as the recipe says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models import metrics
from models.labels import AUS_2020, AUS_UNION, COMPOUND_EXPRESSIONS
from models.networks.multi_rnn import FusionDecision
from models.postprocess import Chain, Sequences, decision_fusion, rows_of
from models.training.outputs import decide, run
from models.training.recipe import Recipe
from models.training.samples import Samples

Scored = Mapping[str, Mapping[str, NDArray[Any]]]  # task -> `label` and decided `pred`, a row for each frame


@dataclass(frozen=True)
class Predicted:
    """Hold a network's decisions for all annotated frames, `tasks`, and where in the recordings the frames are.

    The valence and arousal of `fusion-decision` are still those of its two networks, (n, 4); `fuse` joins them.
    """

    tasks: dict[str, dict[str, NDArray[Any]]]
    where: Sequences
    fuse: "Fuse"

    def scored(self, chain: Chain) -> dict[str, dict[str, NDArray[Any]]]:
        """Return what a score counts: for each task `label` and `pred`, valence and arousal after `chain`."""
        found = dict(self.tasks)
        if "va" in found:
            final = self.fuse(chain.apply(found["va"]["pred"], self.where))
            label, pred = rows_of(found["va"]["label"], final, self.where)
            found["va"] = {"label": label, "pred": pred}
        return found

    def chain(self) -> Chain:
        """Return the post-processing steps that raise the CCC of these frames."""
        return Chain.fitted(self.tasks["va"]["pred"], self.tasks["va"]["label"], self.where, self.fuse)


class Fuse:
    """Join the final estimates of the networks in `fusion-decision`; leave those of every other network as they are."""

    def __init__(self, network: nn.Module) -> None:
        """Take the network whose outputs are to be joined."""
        self._ccc = network.ccc.cpu().numpy() if isinstance(network, FusionDecision) else None

    def __call__(self, estimates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return valence and arousal (n, 2) from (n, 2), or from (n, 4) of two networks."""
        if self._ccc is None:
            return estimates
        return decision_fusion(estimates.reshape(-1, 2, 2).swapaxes(0, 1), self._ccc)


@torch.no_grad()
def predict(network: nn.Module, samples: Samples, device: torch.device) -> Predicted:
    """Return the decisions for every annotated frame, once."""
    network.eval()
    recipe = samples.recipe
    rows: dict[tuple[int, int], dict[str, tuple[NDArray[Any], NDArray[Any]]]] = {}
    probabilities = recipe.network == "descriptors-ensemble"
    for inputs, labels, where in samples.batches(0):
        output = run(network, {name: x.to(device) for name, x in inputs.items()})
        decided = {task: decide(task, value.float().cpu(), probabilities) for task, value in output.items()}
        frames = where["frames"].numpy()
        for b, number in enumerate(where["recording"].tolist()):
            for t, frame in enumerate(frames[b].tolist()):
                if frame >= 0:
                    at = (b, t) if recipe.sequences else (b,)
                    rows[number, frame] = {
                        task: (labels[task][at].numpy(), decided[task][at].numpy()) for task in recipe.tasks
                    }
    order = sorted(rows)
    tasks = {
        task: {kind: np.stack([rows[key][task][i] for key in order]) for i, kind in enumerate(("label", "pred"))}
        for task in recipe.tasks
    }
    return Predicted(tasks, sequences_of(samples, order), Fuse(network))


def sequences_of(samples: Samples, frames: list[tuple[int, int]]) -> Sequences:
    """Return the places of `frames` (recording, frame): a sequence is a run of `recipe.sequence` frames with a face."""
    recording, frame = np.array(frames, np.int64).reshape(-1, 2).T
    place = np.zeros(len(frames), np.int64)
    for i in np.unique(recording):
        own = recording == i
        place[own] = np.searchsorted(samples.recordings[i].faces, frame[own])
    length = samples.recipe.sequence if samples.recipe.sequences else 1
    names = tuple(one.name for one in samples.recordings)
    return Sequences(recording, place // length, names, samples.recipe.utterances)


def score_of(predicted: Scored, recipe: Recipe) -> dict[str, float]:
    """Return the recipe's score as `score`, and its parts."""
    parts: dict[str, float] = {}
    if "va" in predicted:
        parts |= metrics.va_scores(predicted["va"]["label"], predicted["va"]["pred"])
    if "expression" in predicted:
        scores = metrics.expression_scores(
            predicted["expression"]["label"], predicted["expression"]["pred"], recipe.expressions
        )
        parts |= {"expression_f1": scores.mean_f1, "expression_accuracy": scores.accuracy}
        parts["expression_2020"] = metrics.expression_2020(scores)
    if "au" in predicted:
        label, pred = predicted["au"]["label"], predicted["au"]["pred"]
        if recipe.network == "facebehaviornet":  # scored on the units of the challenge
            columns = [AUS_UNION.index(unit) for unit in AUS_2020]
            label, pred = label[:, columns], pred[:, columns]
        scores = metrics.au_scores(label, pred)
        parts |= {"au_f1": scores.mean_f1, "au_accuracy": scores.accuracy, "au_2020": metrics.au_2020(scores)}
    if "compound" in predicted:
        found, classes = predicted["compound"], len(COMPOUND_EXPRESSIONS)
        parts["compound_diagonal"] = metrics.mean_diagonal(found["label"], found["pred"], classes)
    total = {
        "total_2020": ("va", "expression_2020", "au_2020"),
        "multi_task_2022": ("va", "expression_f1", "au_f1"),
    }.get(recipe.score, (recipe.score,))
    return {"score": sum(parts.get(name, 0.0) for name in total)} | parts
