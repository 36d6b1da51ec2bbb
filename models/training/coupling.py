"""Couple expressions and action units in training, where each face is annotated for only some of the tasks.

Kollias and Zafeiriou 2021, VI-B (FaceBehaviorNet). Co-annotation fills labels in from one task to the other;
distribution matching and soft co-annotation are losses between predictions and labels. Shapes: expressions (batch, 7),
action units (batch, 17) in the order of `models.labels.AUS_UNION`; relation (7, 17), by `models.relations.matrix`.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import relations
from models.labels import AUS_UNION, EXPRESSIONS
from models.metrics import CLASS_SENTINEL
from models.training import losses

TERMS = ("co_annotation", "distribution_matching", "soft_co_annotation")
RELATIONS = {"du2014": relations.BASIC, "aff-wild2": relations.AFF_WILD2}  # the two halves of Table V
FLOOR = 1e-6  # of a matched probability: neutral expects no action unit at all, whose logarithm would be infinite


def loss(
    output: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    weights: Mapping[str, float],
    relation: str = "du2014",
    *,
    weighted: bool = False,
    binary: bool = False,
) -> Tensor:
    """Return the weighted sum of those of `TERMS` that `weights` names, each a mean over the frames it has labels for.

    Co-annotation and soft co-annotation are 0 where no frame has any label; distribution matching takes no labels.
    `output`: logits `expression` (batch, 7), `au` (batch, 17). `labels`: the same names, -1 for none. `relation`: one
    of `RELATIONS`. `weighted` and `binary`: see `distribution_matching`.
    """
    expression, au = output["expression"], output["au"]
    table = torch.from_numpy(relations.matrix(RELATIONS[relation])).to(expression)
    total = expression.new_zeros(())
    if weight := weights.get("co_annotation", 0):
        filled, share = aus_of(labels["expression"], table)
        filled = torch.where(labels["au"] == CLASS_SENTINEL, filled, CLASS_SENTINEL)  # what is annotated stays
        follows = torch.where(labels["expression"] == CLASS_SENTINEL, expression_of(labels["au"], table), -1)
        total = total + weight * losses.binary_cross_entropy(au, filled, weight=share)
        total = total + weight * losses.cross_entropy(expression, follows)
    if weight := weights.get("distribution_matching", 0):
        matched = distribution_matching(expression, au, table, weighted=weighted, binary=binary)
        total = total + weight * matched.mean()
    if weight := weights.get("soft_co_annotation", 0):
        known = labels["au"].clamp(min=0).to(table)  # units that no set annotates count as absent
        annotated = (labels["au"] != CLASS_SENTINEL).any(1)
        soft = soft_co_annotation(expression, known, table) * annotated
        total = total + weight * soft.sum() / annotated.sum().clamp(min=1)
    return total


def possible_expressions(units: Collection[str], relation: str = "du2014") -> list[str]:
    """Return the expressions that hard co-annotation can fill in where only `units` (such as "AU12") are annotated.

    All units of an expression must be present for it to follow, so that each of them must be annotated.
    """
    required = relations.matrix(RELATIONS[relation]) > 0
    lacking = np.array([unit not in units for unit in AUS_UNION])
    return [name for name, row in zip(EXPRESSIONS, required, strict=True) if row.any() and not (row & lacking).any()]


def aus_of(expression: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the labels and loss weights of action units that follow from expressions, both (batch, 17).

    `expression`: (batch,) classes, -1 for none. The expression's units are labelled 1 and weighted by the relation; all
    others are labelled -1 (not annotated) with weight 0.
    """
    weights = relation[expression.clamp(min=0)] * (expression >= 0)[:, None]
    return torch.where(weights > 0, 1.0, -1.0), weights


def expression_of(aus: Tensor, relation: Tensor) -> Tensor:
    """Return the expressions that follow from action units: (batch,) classes, -1 where none does.

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
    """Return the cross-entropy (batch,) of predicted action units and those that the predicted expressions expect.

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
    """Return (batch, 7) probabilities of the expressions from the share of each one's units that is present.

    `aus`: (batch, 17) labels 1 and 0. Neutral, which has no units, scores 0.
    """
    total = relation.sum(1)
    scores = aus @ relation.T / torch.where(total > 0, total, 1)
    return scores.softmax(1)


def soft_co_annotation(expression: Tensor, aus: Tensor, relation: Tensor) -> Tensor:
    """Return the cross-entropy (batch,) of expression logits and soft targets; 0 without action unit labels."""
    annotated = (aus >= 0).all(1)
    loss = F.cross_entropy(expression, soft_targets(aus.clamp(min=0), relation), reduction="none")
    return loss * annotated
