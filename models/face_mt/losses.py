"""The losses of the tasks. Unknown targets do not count."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

NO_FACE_STD = 0.45  # of valence and arousal for a picture without a face: about that of people's ratings over all faces


def expression_loss(logits: Tensor, target: Tensor, weight: Tensor, log_prior: Tensor) -> Tensor:
    """Return the cross-entropy with the class prior of each row's source added to the logits (Menon et al. 2021).

    `logits`, `target`, `log_prior`: (N, C); `weight`: (N,). What the logits say without the prior is then the
    prediction under a balanced prior, whatever source a face is from.
    """
    each = -(target * F.log_softmax(logits + log_prior, 1)).sum(1)
    return (each * weight).sum() / weight.sum().clamp_min(1.0)


def concordance_loss(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 - Lin's concordance of two (N,) batches."""
    mx, my = x.mean(), y.mean()
    covariance = ((x - mx) * (y - my)).mean()
    return 1 - 2 * covariance / (x.var(correction=0) + y.var(correction=0) + (mx - my) ** 2 + 1e-6)


def affect_loss(va: Tensor, target: Tensor, free: Tensor) -> Tensor:
    """Return the loss of concordance of valence and arousal over the faces that nothing covers.

    `va`, `target`: (N, 2), NaN where unknown; `free`: (N,) bool.
    """
    known = torch.isfinite(target).all(1) & free
    if int(known.sum()) < 2:
        return va.sum() * 0.0
    va, target = va[known], target[known]
    return concordance_loss(va[:, 0], target[:, 0]) + concordance_loss(va[:, 1], target[:, 1])


def likelihood_loss(value: Tensor, log_std: Tensor, target: Tensor) -> Tensor:
    """Return the negative log-likelihood of `target` under normals of `value` and `log_std`.

    All are (N, k); targets that are NaN do not count.
    """
    known = torch.isfinite(target)
    if not bool(known.any()):
        return log_std.sum() * 0.0
    error = torch.nan_to_num(target) - value
    return (0.5 * error**2 * torch.exp(-2 * log_std) + log_std)[known].mean()


def unit_loss(units: Tensor, target: Tensor, visible: Tensor, spread: Tensor) -> Tensor:
    """Return the squared error in deviations of each unit, over the units that can be seen.

    `units`, `target`, `visible`: (N, k), `target` NaN where unknown; `spread`: (k,) standard deviations.
    """
    known = torch.isfinite(target) & visible
    if not bool(known.any()):
        return units.sum() * 0.0
    return (((torch.nan_to_num(target) - units) / spread) ** 2)[known].mean()


def doubt_loss(logits: Tensor, va: Tensor, log_std: Tensor) -> Tensor:
    """Return the loss for pictures without a face: every class alike, the middle of the scales, and no certainty.

    `logits`: (n, C); `va`, `log_std`: (n, 2).
    """
    even = -F.log_softmax(logits, 1).mean()
    return even + (va**2).mean() + ((log_std - math.log(NO_FACE_STD)) ** 2).mean()
