"""Coupling of expressions and action units in training, where each face is annotated for only some of the tasks.

Kollias and Zafeiriou 2020, V (FaceBehaviorNet). Co-annotation fills labels in from one task to the other; distribution
matching and soft co-annotation are losses between predictions and labels. Shapes: expressions (batch, 7), action units
(batch, 17) in the order of `models.labels.AUS_UNION`; `relation` (7, 17) is `models.relations.matrix(...)`.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models import relations
from models.metrics import CLASS_SENTINEL
from models.training import losses

TERMS = ("co_annotation", "distribution_matching", "soft_co_annotation")
FLOOR = 1e-6  # of a matched probability: neutral expects no action unit at all, whose logarithm would be infinite


def loss(output: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted sum of those of `TERMS` that `weights` names, each the mean over the frames that it has labels for.

    Co-annotation and soft co-annotation are 0 where no frame has any; distribution matching takes no labels.
    `output`: logits `expression` (batch, 7), `au` (batch, 17). `labels`: the same names, -1 for none.
    """
    expression, au = output["expression"], output["au"]
    relation = torch.from_numpy(relations.matrix(relations.BASIC)).to(expression)
    total = expression.new_zeros(())
    if weight := weights.get("co_annotation", 0):
        filled, share = aus_of(labels["expression"], relation)
        filled = torch.where(labels["au"] == CLASS_SENTINEL, filled, CLASS_SENTINEL)  # what is annotated stays
        follows = torch.where(labels["expression"] == CLASS_SENTINEL, expression_of(labels["au"], relation), -1)
        total = total + weight * losses.binary_cross_entropy(au, filled, weight=share)
        total = total + weight * losses.cross_entropy(expression, follows)
    if weight := weights.get("distribution_matching", 0):
        total = total + weight * distribution_matching(expression, au, relation).mean()
    if weight := weights.get("soft_co_annotation", 0):
        known = labels["au"].clamp(min=0).to(relation)  # units that no set annotates count as absent
        annotated = (labels["au"] != CLASS_SENTINEL).any(1)
        soft = soft_co_annotation(expression, known, relation) * annotated
        total = total + weight * soft.sum() / annotated.sum().clamp(min=1)
    return total


def aus_of(expression: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
    """Co-annotation from expressions: action unit labels and loss weights, both (batch, 17).

    `expression`: (batch,) classes, -1 for none. The expression's units are labelled 1 and weighted by the relation; all
    others are labelled -1 (not annotated) with weight 0.
    """
    weights = relation[expression.clamp(min=0)] * (expression >= 0)[:, None]
    return torch.where(weights > 0, 1.0, -1.0), weights


def expression_of(aus: Tensor, relation: Tensor) -> Tensor:
    """Co-annotation from action units: (batch,) classes, -1 where none follows.

    `aus`: (batch, 17) labels 1, 0, -1. An expression follows when all its units are present; of several that do, the
    one with most units.
    """
    required = relation > 0  # (7, 17)
    present = ((aus[:, None] == 1) | ~required).all(2) & required.any(1)  # (batch, 7)
    count = required.sum(1) * present  # (batch, 7)
    return torch.where(present.any(1), count.argmax(1), -1)


def distribution_matching(
    expression: Tensor, au: Tensor, relation: Tensor, weighted: bool = False, binary: bool = False
) -> Tensor:
    """Cross-entropy (batch,) between predicted action units and those which the predicted expressions expect.

    `expression` and `au` are logits. `weighted`: expect units by their weights instead of all alike. `binary` adds the
    term of absent units, which the paper's equation 9 leaves out although it is called a KL divergence.
    """
    expected = expression.softmax(1) @ (relation if weighted else (relation > 0).to(relation))  # (batch, 17)
    q = expected.clamp(FLOOR, 1 - FLOOR if binary else 1)
    p = au.sigmoid()
    loss = -(p * q.log())
    if binary:
        loss = loss - (1 - p) * (1 - q).log()
    return loss.sum(1)


def soft_targets(aus: Tensor, relation: Tensor) -> Tensor:
    """Soft co-annotation: (batch, 7) probabilities of the expressions from the share of each one's units present.

    `aus`: (batch, 17) labels 1 and 0. Neutral, which has no units, scores 0.
    """
    total = relation.sum(1)
    scores = aus @ relation.T / torch.where(total > 0, total, 1)
    return scores.softmax(1)


def soft_co_annotation(expression: Tensor, aus: Tensor, relation: Tensor) -> Tensor:
    """Cross-entropy (batch,) of expression logits against the soft targets; 0 without action unit labels."""
    annotated = (aus >= 0).all(1)
    loss = F.cross_entropy(expression, soft_targets(aus.clamp(min=0), relation), reduction="none")
    return loss * annotated
