"""Every model that can be served has an adapter that its one row names, and a rate."""

import inspect

import pytest

from engines.errors import EngineError
from models import registry
from service.adapters.options import ModelOptions
from service.adapters.registry import rate_of, served_row


@pytest.mark.parametrize("model", registry.served())
def test_the_row_of_a_model_names_its_adapter(model: str) -> None:
    adapter = registry.resolve(served_row(model).adapter)
    assert list(inspect.signature(adapter).parameters)[:2] == ["loaded", "options"]
    assert all(callable(getattr(adapter, name)) for name in ("inputs", "estimates", "unanswered"))


def test_an_option_goes_before_the_rate_of_the_row() -> None:
    assert rate_of("tsav", ModelOptions()) == 5.0
    assert rate_of("tsav", ModelOptions(rate=2.0)) == 2.0


def test_a_model_that_only_is_a_part_of_another_cannot_be_served() -> None:
    with pytest.raises(EngineError, match=r"no model 'ferplus-resnet50'; known are: face-mt, .*multiterm"):
        served_row("ferplus-resnet50")
