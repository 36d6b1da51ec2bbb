"""The adapter and the rate of each model that can be served, from the model's row in `models.registry`."""

from engines.errors import EngineError
from engines.load import LoadedEngine
from models import registry
from models.registry import ModelRow
from service.adapters.adapter import Adapter
from service.adapters.options import ModelOptions


def served_row(model: str) -> ModelRow:
    """Return the row of a model that can be served. Raise `EngineError` with the known names if there is none."""
    known = registry.served()
    if model not in known:
        raise EngineError(f"there is no model {model!r}; known are: {', '.join(known)}")
    return registry.row(model)


def make_adapter(model: str, loaded: LoadedEngine, options: ModelOptions) -> Adapter:
    """Return a new adapter of `model` for one session. Raise `EngineError` if there is no such model.

    Args:
        model: Name of the model.
        loaded: The engine that runs it, and its weights.
        options: What `--model-option` says; each adapter reads what concerns it.
    """
    adapter: Adapter = registry.resolve(served_row(model).adapter)(loaded, options)
    return adapter


def rate_of(model: str, options: ModelOptions) -> float:
    """Return the predictions a second that are made for one session. Raise `EngineError` if there is no such model."""
    return options.rate or served_row(model).rate
