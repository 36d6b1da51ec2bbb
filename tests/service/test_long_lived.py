"""What a process loads when it starts is not looked through by the garbage collector afterwards."""

import gc
from collections.abc import Iterator

import pytest

from service.long_lived import starting


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_was_loaded_is_left_out_of_later_collections() -> None:
    with starting():
        assert not gc.isenabled()
        loaded = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(loaded)
    assert not any(one is loaded for one in gc.get_objects())


def test_the_collector_goes_on_after_a_start_that_failed() -> None:
    with pytest.raises(OSError), starting():
        raise OSError
    assert gc.isenabled()
