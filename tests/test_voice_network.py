"""The voice network: what gain and line do to what it sees, and who is held out."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.face_mt.voice import CLASSES, COLUMNS, VoiceNetwork, VoiceView  # noqa: E402
from models.face_mt.voice_train import FOLDS, augment, fold_actors  # noqa: E402


def _mel(n: int = 2) -> "torch.Tensor":
    return -60 + 20 * torch.randn(n, 64, COLUMNS, generator=torch.Generator().manual_seed(0))


def test_gain_changes_nothing() -> None:
    assert torch.allclose(VoiceView()(_mel()), VoiceView()(_mel() + 17.0), atol=1e-4)


def test_what_lies_above_eight_kilohertz_is_not_seen() -> None:
    mel = _mel()
    cut = mel.clone()
    cut[:, 46:] = -100.0
    assert torch.equal(VoiceView()(mel), VoiceView()(cut))


def test_the_network_answers_for_each_class_and_any_length() -> None:
    network = VoiceNetwork().eval()
    assert network(VoiceView()(_mel())).shape == (2, len(CLASSES))
    assert network(VoiceView()(_mel()[:, :, :200])).shape == (2, len(CLASSES))


def test_every_actor_is_held_out_once_with_as_many_women_as_men() -> None:
    folds = [fold_actors(fold) for fold in range(FOLDS)]
    assert sorted(np.concatenate(folds)) == list(range(1, 25))
    assert all((fold % 2 == 0).sum() == 3 for fold in folds)


def test_augmentation_repeats_with_its_generator_and_stays_finite() -> None:
    first, again = (augment(_mel(8), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.isfinite(first).all()
