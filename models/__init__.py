"""Networks of the five papers, by name. Making one needs PyTorch; importing this package does not."""

from typing import TYPE_CHECKING, Any

from models import registry
from models.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModelError", "available", "create"]


def available() -> tuple[str, ...]:
    """Return the names that `create` takes."""
    return registry.networks()


def create(name: str, **options: Any) -> "nn.Module":
    """Return the untrained network `name`, made with the keyword arguments `options` of its constructor.

    Raise `ModelError` if there is no network of that name, or if it does not take one of the options.
    """
    if name not in available():
        raise ModelError(f"There is no network {name!r}; there are: {', '.join(available())}.")
    constructor = registry.resolve(registry.row(name).network)
    try:
        network: nn.Module = constructor(**options)
    except TypeError as error:
        raise ModelError(f"The network {name!r} cannot be made with the options {options}: {error}.") from error
    return network
