"""Every model that can be served is built from an empty cache, in every precision of this CPU, and answers once.

The papers' networks are random and as small as they can be made; their inputs are recorded by the pipeline that serves,
as `affectstream engines build` records them. Multi-term boosting has neither int8 nor bf16.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.extras import needs_nncf
from helpers.live_models import SMALL, networks_of

import models
from engines import load, openvino, quantize
from engines.engine import SOUND_EMBEDDING, Arrays, is_finite
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine
from engines.papers import imported
from engines.probe import probe as default_probe
from models import registry
from service.calibrate import probe_of

torch.set_num_threads(1)
SAMPLES = 4  # inputs; half of them are calibrated on, the others compared
MODELS = tuple(name for name in registry.served() if name != "multiterm")


def once(probe: load.Probe | None) -> load.Probe:
    """Return a probe that gives the inputs of its first call again: recording them takes seconds."""
    recorded: list[Arrays] = []

    def inputs(reference: load.LoadedEngine) -> Arrays:
        if not recorded:
            truth = reference.engine
            assert isinstance(truth, OpenVinoEngine)
            recorded.append(default_probe(truth.inputs, truth.types) if probe is None else probe(reference))
        return recorded[0]

    return inputs


def import_small(name: str, folder: Path, networks: Mapping[str, torch.nn.Module] | None = None) -> None:
    """Import a random checkpoint of each of a system's parts, or those of `networks`."""
    for part, network in (networks or networks_of(name)).items():
        file = folder / f"{part}.pt"
        torch.save({"state_dict": network.state_dict()}, file)
        imported.import_checkpoint(part, [file], options=SMALL.get(part, {}))


@needs_nncf
@pytest.mark.parametrize("name", MODELS)
def test_every_precision_is_built_from_an_empty_cache_and_what_fits_serves(
    name: str, fresh_cache: Path, tmp_path: Path
) -> None:
    if name in registry.systems():
        import_small(name, tmp_path)
    probe = once(probe_of(name, samples=SAMPLES))
    fit = []
    for precision in openvino.precisions():
        record = load.build(name, f"openvino:{precision}", probe=probe)
        assert (record.model, record.precision) == (name, precision)
        assert record.fit or "allowed" in str(record.figures.excess)
        fit += [precision] * record.fit
    assert "fp32" in fit
    loaded = load.load(name, probe=probe)
    assert loaded.engine.precision == fit[0]
    asked = load.Yardstick(load.weights_of(name), probe).inputs
    answered = loaded.engine({key: values[:1] for key, values in asked.items()})
    assert is_finite(answered)
    assert all(len(values) == 1 for values in answered.values())


@needs_nncf
@pytest.mark.usefixtures("fresh_cache")
def test_int8_of_tsav_is_built_from_an_empty_cache(tmp_path: Path) -> None:
    """Inputs recorded of the engine in two parts carried `sound_embedding`, which the file does not take.

    The network is as PyTorch initialises it: one that answers more strongly needs more than a few inputs to calibrate.
    """
    torch.manual_seed(0)
    import_small("tsav", tmp_path, {"tsav": models.create("tsav", **SMALL["tsav"])})
    record = load.build("tsav", "openvino:int8", probe=probe_of("tsav", samples=SAMPLES))
    assert record.fit, record.figures.excess
    assert quantize.find(load.weights_of("tsav")) is not None


@pytest.mark.usefixtures("fresh_cache")
def test_a_probe_of_another_form_of_the_network_is_a_sentence(tmp_path: Path) -> None:
    import_small("tsav", tmp_path)
    probe = probe_of("tsav", samples=SAMPLES)
    assert probe is not None

    def of_the_parts(reference: load.LoadedEngine) -> Arrays:
        given = probe(reference)
        return given | {SOUND_EMBEDDING: np.zeros((len(given["clip"]), 512), np.float32)}

    with pytest.raises(EngineError, match=r"tsav.onnx takes the inputs \['clip', 'sound'\], but was given"):
        load.build("tsav", "openvino:fp32", probe=of_the_parts)
