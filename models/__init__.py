"""Networks of the five papers and the default one, by name. Needs torch from the first `create` on, not before."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModelError", "available", "create"]

# name -> (module, constructor); modules are imported only when their network is asked for.
_NETWORKS: dict[str, tuple[str, str]] = {
    "tsav": ("models.networks.tsav", "TSAV"),
    "mimamo": ("models.networks.mimamo", "MIMAMO"),
    "ferplus-resnet50": ("models.networks.ferplus_resnet50", "FerPlusResNet50"),
    "descriptors": ("models.networks.descriptors", "Descriptors"),
    "descriptors-ensemble": ("models.networks.descriptors", "DescriptorsEnsemble"),
    "affwildnet": ("models.networks.affwildnet", "AffWildNet"),
    "cnn-3rnn": ("models.networks.multi_rnn", "CNN3RNN"),
    "cnn-1rnn": ("models.networks.multi_rnn", "CNN1RNN"),
    "fusion-rnn": ("models.networks.multi_rnn", "FusionRNN"),
    "fusion-fc": ("models.networks.multi_rnn", "FusionFC"),
    "fusion-decision": ("models.networks.multi_rnn", "FusionDecision"),
    "mt-vgg": ("models.networks.mt_vgg", "MTVGG"),
    "mt-vgg-gru": ("models.networks.mt_vgg", "MTVGGGRU"),
    "av-mt-vgg-gru": ("models.networks.mt_vgg", "AVMTVGGGRU"),
    "facebehaviornet": ("models.networks.facebehaviornet", "FaceBehaviorNet"),
}


def available() -> tuple[str, ...]:
    """Names that `create` takes."""
    return tuple(_NETWORKS)


def create(name: str, **options: Any) -> "nn.Module":
    """The untrained network `name`, made with `options`; raises `ModelError` for a name or an option it lacks."""
    if name not in _NETWORKS:
        raise ModelError(f"There is no network {name!r}; there are: {', '.join(_NETWORKS)}.")
    module, constructor = _NETWORKS[name]
    try:
        network: nn.Module = getattr(import_module(module), constructor)(**options)
    except TypeError as error:
        raise ModelError(f"The network {name!r} cannot be made with the options {options}: {error}.") from error
    return network
