"""The loss that a recipe minimises: a weighted sum over its tasks and their coupling."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.training import coupling, losses
from models.training.recipe import Recipe


def loss_of(output: Mapping[str, Tensor], labels: Mapping[str, Tensor], recipe: Recipe) -> Tensor:
    """Return the weighted sum of the recipe's losses; each is the mean over the frames annotated for it.

    Pseudo labels stand in `labels` among the real ones: drawn valence and arousal in `va`, so that one CCC is over
    both, and soft expressions in `expression_share`.
    """
    device = next(iter(output.values())).device
    total = torch.zeros((), device=device)

    def weights(values: tuple[float, ...]) -> Tensor | None:
        return torch.tensor(values, device=device) if values else None

    for task, weight in recipe.tasks.items():
        if task == "va":
            loss = losses.ccc_loss(output["va"], labels["va"], by_column=bool(recipe.pseudo))
        elif task == "expression":
            share, by_class = labels.get("expression_share"), weights(recipe.class_weight)
            loss = losses.cross_entropy(output["expression"], labels["expression"], by_class, share)
        elif task == "compound":
            loss = losses.cross_entropy(output["compound"], labels["compound"])
        else:
            loss = losses.binary_cross_entropy(
                output["au"], labels["au"], weights(recipe.pos_weight), over_units=recipe.au_loss
            )
        total = total + weight * loss
    if recipe.coupling:
        total = total + coupling.loss(
            output, labels, recipe.coupling, recipe.relation, weighted=recipe.weighted, binary=recipe.binary
        )
    return total
