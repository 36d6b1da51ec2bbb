"""The two-stream network gives the published implementation's numbers under the same weights."""

import numpy as np
import pytest
import torch
from golden import networks, recipe

import models
from engines.papers.live_networks import live_network

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def arrays():
    return networks.load("tsav_model")


@pytest.fixture(scope="module")
def network(arrays):
    return networks.fill(models.create("tsav"), "tsav", str(arrays["weights_sha256"]))


@torch.inference_mode()
def test_outputs_are_the_published_networks(arrays, network):
    clip, audio = recipe.tsav_inputs(networks.SEED)
    given = networks.inputs(arrays, clip=clip, audio=audio)
    features = {}
    network.audio_model.register_forward_hook(lambda _m, _i, out: features.update(audio=out))
    network.video_model.register_forward_hook(lambda _m, _i, out: features.update(video=out))
    out = network(given["clip"], given["audio"])
    np.testing.assert_allclose(features["audio"], arrays["audio_features_512"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(features["video"], arrays["video_features_512"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(out, arrays["out"], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_its_live_form_with_the_sound_read_or_kept_gives_the_same_numbers(arrays, network):
    clip, audio = recipe.tsav_inputs(networks.SEED)
    given = networks.inputs(arrays, clip=clip, audio=audio)
    live = live_network("tsav", {"tsav": network}).module
    live.picture = torch.nn.Identity()  # the clip is normalised already
    tasks = ("expression", "valence_arousal", "aus")
    read = live(given["clip"].transpose(1, 2), given["audio"])
    np.testing.assert_allclose(torch.cat([read[task] for task in tasks], 1), arrays["out"], atol=1e-4, rtol=0)
    kept = torch.from_numpy(arrays["audio_features_512"])
    np.testing.assert_allclose(read["sound_embedding"], kept, atol=1e-4, rtol=0)
    again = network.fused(kept, network.video_model(given["clip"]))
    np.testing.assert_allclose(again, arrays["out"], atol=1e-4, rtol=0)
