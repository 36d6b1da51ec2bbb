"""`--model-option smoothing`: trailing medians for the networks whose paper takes medians, or no smoothing at all."""

import numpy as np
import pytest
import torch
from helpers.live_models import adapter, networks_of, run, seen

from engines.errors import UserError
from models.networks import inception_v3
from service.adapters.adapter import Estimate
from service.adapters.medians import TrackMedians
from service.adapters.options import read_options
from service.capture.media import Sound

torch.set_num_threads(1)


def values(found):
    return np.array([(estimate.valence, estimate.arousal) for _, estimate in found.values()])


def test_live_medians_are_those_of_the_outputs_so_far():
    items = seen(0.8)
    plain = values(run(adapter("cnn-1rnn"), "cnn-1rnn", items))
    np.testing.assert_array_equal(values(run(adapter("cnn-1rnn", "smoothing=off"), "cnn-1rnn", items)), plain)
    medians = values(run(adapter("cnn-1rnn", "smoothing=median"), "cnn-1rnn", items))
    for t in range(len(plain)):
        np.testing.assert_allclose(medians[t], np.median(plain[max(0, t - 14) : t + 1], axis=0), atol=1e-6)


def test_each_track_has_medians_of_its_own_and_they_are_forgotten_after_a_second():
    class Face:
        def __init__(self, track):
            self.track = track

    medians = TrackMedians()
    for i, value in enumerate((0.0, 0.0, 0.9)):
        both = {1: Estimate(1, i / 30, value, value), 2: Estimate(2, i / 30, -value, 0.5)}
        found = medians.smoothed(i / 30, [Face(1), Face(2)], both)
    assert (found[1].valence, found[2].valence, found[2].arousal) == (0.0, 0.0, 0.5)
    later = medians.smoothed(3.0, [Face(1)], {1: Estimate(1, 3.0, 0.7, 0.7)})
    assert later[1].valence == 0.7
    unknown = Estimate(1, 3.1, None, None)
    assert medians.smoothed(3.1, [Face(1)], {1: unknown})[1] is unknown


@torch.inference_mode()
def test_the_descriptors_smoothing_which_their_paper_does_not_describe_can_be_switched_off():
    items = seen(0.2)
    found = run(adapter("descriptors", "rate=30", "smoothing=off"), "descriptors", items)
    network = networks_of("descriptors")["descriptors"]
    mean, std = (255 * np.array(x, np.float32) for x in (inception_v3.MEAN, inception_v3.STD))
    faces = [item[0] for _, item in items if not isinstance(item, Sound)]
    given = run(adapter("descriptors", "rate=30"), "descriptors", items)
    for face, (asked, estimate) in zip(faces, found.values(), strict=True):
        assert not asked["keep"].any()
        image = (asked["face"].astype(np.float32) - mean) / std
        out = network(torch.from_numpy(image.transpose(2, 0, 1))[None])
        np.testing.assert_allclose(list(estimate.aus.values()), out["au"][0].sigmoid(), atol=1e-3)
        assert face.track == estimate.track
    assert any(asked["keep"].any() for asked, _ in given.values())


def test_another_smoothing_is_refused():
    with pytest.raises(UserError, match="smoothing is one of own, off, median"):
        read_options(["smoothing=mean"])
