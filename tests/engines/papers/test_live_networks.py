"""The live form of every system: exported, it computes in OpenVINO what its network computes in torch."""

import numpy as np
import pytest
import torch
from helpers.live_models import live_of, loaded, networks_of

import models
from engines.papers.live_networks import live_network
from models import registry
from models.networks import mimamo

torch.set_num_threads(1)
BATCH = 3


def some_inputs(name):
    rng = np.random.default_rng(0)
    made = {}
    for key, like in live_of(name).inputs.items():
        shape = (BATCH, *like.shape[1:])
        made[key] = (
            rng.integers(0, 256, shape, np.uint8) if like.dtype == torch.uint8 else rng.random(shape, np.float32)
        )
    return made


@torch.inference_mode()
@pytest.mark.parametrize("name", registry.systems())
def test_openvino_gives_what_torch_gives(name):
    given = some_inputs(name)
    expected = live_of(name).module(*(torch.from_numpy(x) for x in given.values()))
    found = loaded(name).engine(given)
    assert found.keys() == expected.keys()
    for key, x in expected.items():
        np.testing.assert_allclose(found[key], x, atol=1e-3, rtol=1e-5, err_msg=key)
        assert float(x.std()) > 1e-4, f"{key} does not answer to its input, so that this shows nothing"


def test_every_system_has_a_live_form_and_the_resnet_is_part_of_one():
    assert {part for name in registry.systems() for part in registry.row(name).parts} == set(models.available())


@torch.inference_mode()
def test_mimamo_on_the_legacy_axis_reads_each_frame_alone():
    """Made so, it gives what the published code gives for one frame of one sequence, whatever went before."""
    torch.manual_seed(0)
    parts = networks_of("mimamo")
    legacy = models.create("mimamo", legacy_axis=True).eval()
    legacy.load_state_dict(parts["mimamo"].state_dict())
    live = live_network("mimamo", {**parts, "mimamo": legacy})
    given = {key: x[:1] for key, x in live.inputs.items()}
    state = torch.rand_like(given["state"])
    out = live.module(*(given | {"state": state}).values())
    alone = live_of("mimamo").module(*given.values())
    torch.testing.assert_close(out["valence_arousal"], alone["valence_arousal"])


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 5, 70])
def test_mimamo_frame_by_frame_is_its_network_on_the_trailing_window(frames):
    """A window that is not full yet starts from zero, as the network does; a full one has forgotten what it left."""
    live = live_of("mimamo").module
    torch.manual_seed(0)
    transformed = torch.randn(frames, 256)
    network = networks_of("mimamo")["mimamo"]
    state = torch.zeros(1, mimamo.SEQUENCE - 1, 257)
    for x in transformed:
        window = torch.cat((state, torch.cat((x, torch.ones(1)))[None, None]), dim=1)
        state = window[:, 1:]
    given, absent = window[..., :-1], 1 - window[..., -1:]
    for layer in live.layers:
        given = layer(torch.cat((given, absent), dim=2))
    expected = network.recur(transformed[None, -mimamo.SEQUENCE :])[0, -1]
    torch.testing.assert_close(network.classifier(given[:, -1])[0], expected, atol=1e-5, rtol=0)
