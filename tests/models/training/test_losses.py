"""Losses count annotated frames only, and stay finite whatever is annotated."""

import numpy as np
import pytest
import torch

from models import metrics
from models.labels import AUS_UNION, EXPRESSIONS
from models.training import coupling, losses


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    return {
        "va": torch.randn(12, 2, generator=g, requires_grad=True),
        "expression": torch.randn(12, 7, generator=g, requires_grad=True),
        "au": torch.randn(12, 8, generator=g, requires_grad=True),
    }


def test_concordance_loss_is_one_minus_the_score(batch):
    label = torch.rand(12, 2) * 2 - 1
    label[3, 1] = label[7, 0] = -5
    score = metrics.va_scores(label.numpy(), batch["va"].detach().numpy())["va"]
    assert losses.ccc_loss(batch["va"], label).item() == pytest.approx(1 - score, abs=1e-5)


def test_cross_entropies_are_means_over_the_annotated_frames(batch):
    label = torch.tensor([0, 1, 2, -1, 3, -1, 4, 5, 6, -1, 0, 1])
    kept = label >= 0
    expected = torch.nn.functional.cross_entropy(batch["expression"][kept], label[kept])
    torch.testing.assert_close(losses.cross_entropy(batch["expression"], label), expected)

    aus = torch.randint(0, 2, (12, 8))
    aus[[1, 5]] = -1
    kept = aus[:, 0] >= 0
    expected = torch.nn.functional.binary_cross_entropy_with_logits(batch["au"][kept], aus[kept].float())
    torch.testing.assert_close(losses.binary_cross_entropy(batch["au"], aus), expected)


def test_a_partly_annotated_frame_counts_for_its_annotated_units(batch):
    aus = torch.full((12, 8), -1)
    aus[2, 3] = 1
    expected = torch.nn.functional.softplus(-batch["au"][2, 3])
    torch.testing.assert_close(losses.binary_cross_entropy(batch["au"], aus), expected)
    halved = losses.binary_cross_entropy(batch["au"], aus, weight=torch.full((12, 8), 0.5))
    torch.testing.assert_close(halved, expected / 2)


@pytest.mark.parametrize("labelled", [0, 1, 2])
def test_losses_and_gradients_are_finite_however_few_frames_are_annotated(batch, labelled):
    va, expression, aus = torch.full((12, 2), -5.0), torch.full((12,), -1), torch.full((12, 8), -1)
    va[:labelled], expression[:labelled], aus[:labelled] = 0.5, 4, 1
    total = losses.ccc_loss(batch["va"], va)
    total = total + losses.cross_entropy(batch["expression"], expression)
    total = total + losses.binary_cross_entropy(batch["au"], aus)
    total.backward()
    assert torch.isfinite(total)
    assert (total == 0) == (labelled == 0)
    for x in batch.values():
        assert torch.isfinite(x.grad).all()
        assert (x.grad[labelled:] == 0).all()


@pytest.mark.parametrize("term", coupling.TERMS)
@pytest.mark.parametrize("labelled", ["nothing", "expressions", "units", "both"])
def test_coupling_is_finite_whatever_is_annotated(term, labelled):
    g = torch.Generator().manual_seed(0)
    output = {name: torch.randn(6, n, generator=g, requires_grad=True) for name, n in (("expression", 7), ("au", 17))}
    labels = {"expression": torch.full((6,), -1), "au": torch.full((6, 17), -1)}
    if labelled in ("expressions", "both"):
        labels["expression"] = torch.tensor([0, 1, 2, 3, 4, -1])
    if labelled in ("units", "both"):
        labels["au"][2:] = torch.randint(0, 2, (4, 17), generator=g)
    total = coupling.loss(output, labels, {term: 1.0})
    total.backward()
    assert torch.isfinite(total)
    if labelled == "nothing":
        assert (total == 0) == (term != "distribution_matching")
    for x in output.values():
        assert x.grad is None or torch.isfinite(x.grad).all()


def test_co_annotation_fills_in_what_nobody_annotated():
    """An expression stands for its units, and units, all present, for their expression; annotations are not touched."""
    happy, units = EXPRESSIONS.index("happiness"), [AUS_UNION.index(unit) for unit in ("AU06", "AU12", "AU25")]
    output = {"expression": torch.zeros(2, 7, requires_grad=True), "au": torch.zeros(2, 17, requires_grad=True)}
    labels = {"expression": torch.tensor([happy, -1]), "au": torch.full((2, 17), -1)}
    labels["au"][0, units[1]] = 0  # annotated as absent all the same
    labels["au"][1, units] = 1
    loss = coupling.loss(output, labels, {"co_annotation": 1.0})
    loss.backward()
    # Frame 0: two units are filled in, at weights 0.51 and 1; frame 1: happiness.
    expected = np.log(2) * (0.51 + 1) / 2 + np.log(7)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert output["au"].grad[0].nonzero().flatten().tolist() == [units[0], units[2]]
    assert (output["au"].grad[1] == 0).all()
    assert output["expression"].grad[1].argmin() == happy


def test_sequences_are_flattened(batch):
    label = torch.rand(12, 2)
    flat = losses.ccc_loss(batch["va"], label)
    torch.testing.assert_close(losses.ccc_loss(batch["va"].view(3, 4, 2), label.view(3, 4, 2)), flat)
    assert np.isfinite(flat.item())
