"""Losses over batches in which each frame is annotated for only some of the tasks.

Each is the mean over the frames annotated for it, and 0, with a gradient of 0, where there is none. Cells that hold the
sentinel (-5 for valence and arousal, -1 for classes) do not count.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.metrics import CLASS_SENTINEL, VA_SENTINEL

EPS = 1e-8

OverUnits = Literal["mean", "sum"]


def ccc(pred: Tensor, label: Tensor, by_column: bool = False) -> Tensor:
    """Return the concordance correlation coefficients (2,) of valence and of arousal for (..., 2) tensors.

    A frame counts if both values are annotated, as in the scores. With `by_column` each value counts where it is given,
    so that valence, with pseudo labels among the real ones, may have more frames than arousal.
    """
    pred, label = pred.reshape(-1, 2), label.reshape(-1, 2)
    mask = _given(label, by_column)
    count = mask.sum(0).clamp(min=1)
    label = torch.where(mask, label, 0).to(pred)
    pred = torch.where(mask, pred, 0)
    pred_mean, label_mean = pred.sum(0) / count, label.sum(0) / count
    pred_off, label_off = (pred - pred_mean) * mask, (label - label_mean) * mask
    covariance = (pred_off * label_off).sum(0) / count
    spread = (pred_off.square() + label_off.square()).sum(0) / count + (pred_mean - label_mean).square()
    return 2 * covariance / (spread + EPS)


def ccc_loss(pred: Tensor, label: Tensor, by_column: bool = False) -> Tensor:
    """Return 1 - the mean CCC of valence and arousal for tensors (..., 2); `by_column`: see `ccc`.

    A column without an annotated frame adds nothing; without any, the loss is 0.
    """
    annotated = _given(label.reshape(-1, 2), by_column).any(0)
    return ((1 - ccc(pred, label, by_column)) * annotated).mean()


def _given(label: Tensor, by_column: bool) -> Tensor:
    """Return (n, 2) booleans: which values of (n, 2) labels count."""
    given = label != VA_SENTINEL
    return given if by_column else given.all(1, keepdim=True).expand_as(given)


def cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None = None, share: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of (..., classes) logits and (...) class ids.

    `weight` (classes,) multiplies each frame's loss by its class's. `share` (..., classes) holds soft labels for frames
    without a class id: probabilities that sum to 1, or to 0 where there is no soft label either.
    """
    logits, label = logits.reshape(-1, logits.shape[-1]), label.reshape(-1)
    mask = label != CLASS_SENTINEL
    loss = F.cross_entropy(logits, label.clamp(min=0), weight, reduction="none") * mask
    count = mask.sum()
    if share is not None:
        share = share.reshape(logits.shape).to(logits) * ~mask[:, None]
        loss = loss + F.cross_entropy(logits, share, weight, reduction="none")
        count = count + (share.sum(1) > 0).sum()
    return loss.sum() / count.clamp(min=1)


def binary_cross_entropy(
    logits: Tensor,
    label: Tensor,
    pos_weight: Tensor | None = None,
    weight: Tensor | None = None,
    over_units: OverUnits = "mean",
) -> Tensor:
    """Return the binary cross-entropy of (..., action units) logits and labels 1, 0 or -1, as a mean over frames.

    Within a frame its annotated units are averaged, as in equation 7 of Kollias and Zafeiriou 2021 (FaceBehaviorNet),
    or summed (`over_units` "sum"), as in their equation 5 (MT-VGG). `pos_weight` (action units,) multiplies the loss of
    present units; `weight`, of the labels' shape, each cell's loss. Unlike in the scores, a frame with some units
    annotated counts for these: co-annotated frames have no others.
    """
    logits, label = logits.reshape(-1, logits.shape[-1]), label.reshape(-1, logits.shape[-1])
    mask = (label != CLASS_SENTINEL).to(logits)
    loss = F.binary_cross_entropy_with_logits(
        logits, label.clamp(min=0).to(logits), reduction="none", pos_weight=pos_weight
    )
    cells = mask if weight is None else mask * weight.reshape(mask.shape)
    frames = (loss * cells).sum(1)
    if over_units == "mean":
        frames = frames / mask.sum(1).clamp(min=1)
    return frames.sum() / mask.any(1).sum().clamp(min=1)
