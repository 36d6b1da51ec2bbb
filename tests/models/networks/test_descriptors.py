"""The emotional-descriptor network gives the published implementation's numbers under the same weights."""

import numpy as np
import pytest
import torch
from golden import networks, recipe

import models
from models.networks import descriptors

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def arrays():
    return networks.load("abaw3_model")


@pytest.fixture(scope="module")
def network(arrays):
    return networks.fill(models.create("descriptors"), "abaw3", str(arrays["weights_sha256"]))


@torch.inference_mode()
def test_outputs_are_the_published_networks(arrays, network):
    image, ema_au, ema_va = recipe.abaw3_inputs(networks.SEED)
    image = networks.inputs(arrays, image=image, ema_au=ema_au, ema_expr_va=ema_va)["image"]
    seen = {}
    network.backbone_CNN.register_forward_hook(lambda _m, _i, out: seen.update(backbone_gap_768=out.mean((2, 3))))
    network.AU_attention_map_module.register_forward_hook(lambda _m, _i, out: seen.update(attention_maps_17x17x17=out))
    network.positional_encoding.register_forward_hook(
        lambda _m, given, _o: seen.update(region_embeddings_17x16=given[0])
    )
    embeddings = network.embeddings(image)
    out = network.classify(embeddings)
    seen |= {"metric_AU": embeddings["au"], "metric_EXPR": embeddings["expression"], "metric_VA": embeddings["va"]}
    seen |= {"au_logits": out["au"], "expr_logits": out["expression"], "va": out["va"]}
    for name, value in seen.items():
        np.testing.assert_allclose(value[0], arrays[name], atol=1e-4, rtol=0, err_msg=name)


def test_positions_are_encoded_as_published(arrays, network):
    encoding = network.positional_encoding.pos_embedding[:17, 0]
    np.testing.assert_allclose(encoding, arrays["pos_embedding_first17"], atol=1e-6, rtol=0)


@torch.inference_mode()
def test_embeddings_are_smoothed_before_they_are_classified(arrays, network):
    _, au, pooled = recipe.abaw3_inputs(networks.SEED)
    smoothed = {"au": [au[0]], "expression": [pooled[0]], "va": [pooled[0]]}
    for t in range(1, len(au)):
        for task, alpha in descriptors.SMOOTHING.items():
            current = au[t] if task == "au" else pooled[t]
            smoothed[task].append(descriptors.smooth(smoothed[task][-1], current, alpha))
    stacked = {task: np.stack(values) for task, values in smoothed.items()}
    np.testing.assert_allclose(stacked["au"], arrays["ema_au_smoothed"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(stacked["va"], arrays["ema_expr_va_smoothed"], atol=1e-5, rtol=0)
    out = network.classify({task: torch.from_numpy(value) for task, value in stacked.items()})
    for task, name in (("au", "ema_au_logits"), ("expression", "ema_expr_logits"), ("va", "ema_va")):
        np.testing.assert_allclose(out[task], arrays[name], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_the_ensemble_averages_probabilities(network):
    torch.manual_seed(0)
    ensemble = models.create("descriptors-ensemble", heads="linear", weights=(1, 3)).eval()
    ensemble.aligned = network
    context, aligned = torch.randn(2, 1, 3, 75, 75)
    out, one, two = ensemble(context, aligned), ensemble.context(context), network(aligned)
    np.testing.assert_allclose(out["va"], 0.25 * one["va"] + 0.75 * two["va"], rtol=1e-5)
    expected = 0.25 * one["expression"].softmax(1) + 0.75 * two["expression"].softmax(1)
    np.testing.assert_allclose(out["expression"], expected, rtol=1e-5)
    np.testing.assert_allclose(out["au"], 0.25 * one["au"].sigmoid() + 0.75 * two["au"].sigmoid(), rtol=1e-5)


def test_unknown_heads_are_refused():
    with pytest.raises(models.ModelError, match="'linear' or 'mlp', not 'deep'"):
        models.create("descriptors", heads="deep")
