"""What the three tasks are trained with. Targets that are unknown take no part."""

import torch
from torch import Tensor
from torch.nn import functional as F


def expression_loss(logits: Tensor, target: Tensor, weight: Tensor, log_prior: Tensor) -> Tensor:
    """Cross-entropy against the votes with the class prior added to the logits (Menon et al. 2021, logit adjustment).

    `logits`, `target`: (N, C); `weight`: (N,); `log_prior`: (C,). What the logits say without the prior is then the
    prediction under a balanced prior.
    """
    each = -(target * F.log_softmax(logits + log_prior, 1)).sum(1)
    return (each * weight).sum() / weight.sum().clamp_min(1.0)


def concordance_loss(x: Tensor, y: Tensor) -> Tensor:
    """1 - Lin's concordance of two (N,) batches."""
    mx, my = x.mean(), y.mean()
    covariance = ((x - mx) * (y - my)).mean()
    return 1 - 2 * covariance / (x.var(correction=0) + y.var(correction=0) + (mx - my) ** 2 + 1e-6)


def affect_loss(va: Tensor, log_std: Tensor, target: Tensor) -> Tensor:
    """Concordance and the likelihood of the raters' positions under the predicted mean and deviation.

    `va`, `log_std`: (N, 2); `target`: (N, 4) mean and variance between raters, NaN where unknown. The likelihood of a
    normal, averaged over raters, needs only their mean and variance.
    """
    known = torch.isfinite(target).all(1)
    if int(known.sum()) < 2:
        return va.sum() * 0.0
    va, log_std, target = va[known], log_std[known], target[known]
    mean, variance = target[:, :2], target[:, 2:]
    likelihood = (0.5 * ((va - mean) ** 2 + variance) * torch.exp(-2 * log_std) + log_std).mean()
    concordance = concordance_loss(va[:, 0], mean[:, 0]) + concordance_loss(va[:, 1], mean[:, 1])
    return 0.5 * likelihood + 0.5 * concordance


def unit_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of (N, k) logits against probabilities (N, k), NaN where unknown."""
    known = torch.isfinite(target)
    if not bool(known.any()):
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits[known], target[known])


def doubt_loss(logits: Tensor, va: Tensor, log_std: Tensor, spread: Tensor) -> Tensor:
    """For pictures without a face: every class alike, the middle of the scales, with the spread of all emotions.

    `logits`: (n, C); `va`, `log_std`: (n, 2); `spread`: (2,) standard deviation of valence and arousal over the data.
    """
    even = -F.log_softmax(logits, 1).mean()
    return even + 0.5 * (va**2).mean() + 0.5 * ((log_std - spread.log()) ** 2).mean()
