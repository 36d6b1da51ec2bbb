"""Losses count annotated frames only, and stay finite whatever is annotated."""

import numpy as np
import pytest
import torch

from models import losses, metrics


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


def test_sequences_are_flattened(batch):
    label = torch.rand(12, 2)
    flat = losses.ccc_loss(batch["va"], label)
    torch.testing.assert_close(losses.ccc_loss(batch["va"].view(3, 4, 2), label.view(3, 4, 2)), flat)
    assert np.isfinite(flat.item())
