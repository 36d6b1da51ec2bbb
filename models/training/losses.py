"""Losses over batches in which each frame is annotated for only some of the tasks.

Each is the mean over the frames annotated for it, and 0, with a gradient of 0, where there is none. A frame counts if
none of the task's columns holds the sentinel (-5 for valence and arousal, -1 for classes).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.metrics import CLASS_SENTINEL, VA_SENTINEL

EPS = 1e-8


def ccc(pred: Tensor, label: Tensor) -> Tensor:
    """Concordance correlation coefficient (2,) of valence and arousal over the annotated frames of (..., 2) tensors."""
    pred, label = pred.reshape(-1, 2), label.reshape(-1, 2)
    mask = (label != VA_SENTINEL).all(1, keepdim=True)  # (n, 1)
    count = mask.sum().clamp(min=1)
    label = torch.where(mask, label, 0).to(pred)
    pred = torch.where(mask, pred, 0)
    pred_mean, label_mean = pred.sum(0) / count, label.sum(0) / count
    pred_off, label_off = (pred - pred_mean) * mask, (label - label_mean) * mask
    covariance = (pred_off * label_off).sum(0) / count
    spread = (pred_off.square() + label_off.square()).sum(0) / count + (pred_mean - label_mean).square()
    return 2 * covariance / (spread + EPS)


def ccc_loss(pred: Tensor, label: Tensor) -> Tensor:
    """1 - the mean CCC of valence and arousal; 0 without an annotated frame. Shapes (..., 2)."""
    annotated = (label != VA_SENTINEL).all(-1).any()
    return (1 - ccc(pred, label).mean()) * annotated


def cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Of (..., classes) logits and (...) class ids; `weight` (classes,) multiplies each frame's loss by its class's."""
    logits, label = logits.reshape(-1, logits.shape[-1]), label.reshape(-1)
    mask = label != CLASS_SENTINEL
    loss = F.cross_entropy(logits, label.clamp(min=0), weight, reduction="none")
    return (loss * mask).sum() / mask.sum().clamp(min=1)


def binary_cross_entropy(
    logits: Tensor, label: Tensor, pos_weight: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Of (..., action units) logits and labels 1, 0 or -1: mean over a frame's annotated units, then over frames.

    `pos_weight` (action units,) multiplies the loss of present units; `weight`, of the labels' shape, each cell's loss.
    Unlike in the scores, a frame with some units annotated counts for these: co-annotated frames have no others.
    """
    logits, label = logits.reshape(-1, logits.shape[-1]), label.reshape(-1, logits.shape[-1])
    mask = (label != CLASS_SENTINEL).to(logits)
    loss = F.binary_cross_entropy_with_logits(
        logits, label.clamp(min=0).to(logits), reduction="none", pos_weight=pos_weight
    )
    cells = mask if weight is None else mask * weight.reshape(mask.shape)
    frames = (loss * cells).sum(1) / mask.sum(1).clamp(min=1)
    return frames.sum() / mask.any(1).sum().clamp(min=1)
