"""MIMAMO Net gives the published implementation's numbers under the same weights, on either axis."""

import hashlib

import numpy as np
import pytest
import torch
from golden import networks, recipe

import models

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def arrays():
    return networks.load("mimamo_model")


@pytest.fixture(scope="module")
def given(arrays):
    phase_0, phase_1, rgb = recipe.mimamo_inputs(networks.SEED)
    given = networks.inputs(arrays, phase_0=phase_0, phase_1=phase_1, rgb=rgb)
    return given["phase_0"], given["phase_1"], given["rgb"]


@torch.inference_mode()
@pytest.mark.parametrize("axis", ["batch_first", "legacy_axis"])
def test_outputs_are_the_published_networks(arrays, given, axis):
    network = networks.fill(
        models.create("mimamo", legacy_axis=axis == "legacy_axis"), "mimamo", str(arrays["weights_sha256"])
    )
    seen = {}
    network.mlp.register_forward_hook(lambda _m, _i, out: seen.update(spatial=out))
    network.phasenet.register_forward_hook(lambda _m, _i, out: seen.update(temporal=out))
    transformed = network.transformed(*given)
    for name, value in (*seen.items(), ("transform", transformed)):
        np.testing.assert_allclose(value.reshape(2, 16, 256), arrays[f"{name}_256"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(network.recur(transformed), arrays[f"out_{axis}"], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_only_the_legacy_axis_mixes_the_samples_of_a_batch(given):
    for axis, mixes in (("batch_first", False), ("legacy_axis", True)):
        torch.manual_seed(0)
        network = models.create("mimamo", legacy_axis=axis == "legacy_axis").eval()
        transformed = torch.randn(2, 16, 256)
        changed = transformed.clone()
        changed[1] += 1
        assert bool((network.recur(changed)[0] != network.recur(transformed)[0]).any()) is mixes


def test_an_unknown_way_to_unwrap_is_refused():
    with pytest.raises(models.ModelError, match="'reference' or 'correct', not 'none'"):
        models.create("mimamo", unwrap="none")


def test_appearance_network_has_the_published_keys_and_shapes():
    with torch.device("meta"):
        state = models.create("ferplus-resnet50").state_dict()
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert len(lines) == 320
    assert (
        hashlib.sha256("\n".join(lines).encode()).hexdigest()
        == "fc1e61f389e403ab0bbc161227691b12abf07f8ed6419c67073cfe063971f453"
    )


@torch.inference_mode()
def test_appearance_network_gives_features_and_fer_logits():
    torch.manual_seed(0)
    out = models.create("ferplus-resnet50").eval()(torch.zeros(1, 3, 224, 224))
    assert out["features"].shape == (1, 2048)
    assert out["expression"].shape == (1, 8)
