"""Networks by name: their sizes, and what a wrong name or option is answered with."""

import subprocess
import sys

import pytest
import torch

import models
from models import registry

# Trainable parameters, from the published code where there is any, from the papers' layer sizes elsewhere.
PARAMETERS = {
    ("tsav",): 42_489_995,
    ("mimamo",): 2_636_425,
    ("ferplus-resnet50",): 23_524_424,
    ("descriptors",): 11_368_253,
    ("descriptors", ("heads", "mlp")): 11_445_917,
    ("descriptors-ensemble",): 2 * 11_445_917,
    ("affwildnet",): 35_872_322,
    ("affwildnet", ("landmarks", False)): 35_315_266,
    ("cnn-3rnn",): 66_251_842,
    ("cnn-1rnn",): 65_953_346,
    ("fusion-rnn",): 66_251_842 + 65_953_346 + 246_786,
    ("fusion-fc",): 66_251_842 + 65_953_346 + 65_922,
    ("fusion-decision",): 66_251_842 + 65_953_346,
    ("mt-vgg",): 50_444_113,
    ("mt-vgg-gru",): 35_317_201,
    ("av-mt-vgg-gru",): 70_879_505,
    ("facebehaviornet",): 50_480_986,
}


@pytest.mark.parametrize("name", PARAMETERS, ids=str)
def test_parameter_counts_are_the_published_ones(name):
    with torch.device("meta"):
        network = models.create(name[0], **dict(name[1:]))
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_every_network_is_counted():
    assert {name[0] for name in PARAMETERS} == set(models.available())


def test_unknown_names_and_options_are_answered_with_a_sentence():
    with pytest.raises(models.ModelError, match="no network 'tasv'; there are: tsav"):
        models.create("tasv")
    with pytest.raises(models.ModelError, match=r"cannot be made with .*wdith"):
        models.create("tsav", wdith=8)


def test_importing_models_and_its_labels_needs_no_torch():
    code = "import sys, models, models.labels; models.available(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_row_names_code_that_is_there():
    for row in registry.ROWS:
        for name in filter(None, (row.network, row.live, row.live_inputs, row.adapter)):
            assert callable(registry.resolve(name)), f"{row.name}: {name}"
        assert row.parts[0] == row.name
        assert set(row.parts[1:]) <= set(models.available())
        assert row.rate > 0


def test_the_registry_says_what_can_be_made_exported_and_served():
    names = [row.name for row in registry.ROWS]
    assert len(set(names)) == len(names)
    assert set(registry.systems()) < set(registry.networks())
    assert set(registry.served()) - set(registry.networks()) == {"face-mt", "multiterm"}
    with pytest.raises(models.ModelError, match="no model 'tasv'; there are: face-mt, tsav"):
        registry.row("tasv")


def test_the_registry_imports_nothing_that_it_names():
    code = "import sys; from models import registry; registry.row('tsav')\n"
    code += "assert not {'torch', 'numpy', 'service', 'engines'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
