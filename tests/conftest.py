"""What every test may use: a cache that starts empty, the public-domain portrait, the shared data where it exists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers.repository import ROOT
from numpy.typing import NDArray

if TYPE_CHECKING:
    from service.runtime import Runtime


@pytest.fixture(scope="session", autouse=True)
def session_cache() -> Iterator[Path]:
    """The cache of all tests of this run: it starts with the fetched weights and nothing that an earlier run computed.

    What is dear, such as comparing the default model's engines, is so done once a run.
    """
    from engines.cache import empty_cache

    with empty_cache("weights") as folder:
        yield folder


@pytest.fixture
def fresh_cache() -> Iterator[Path]:
    """A cache of this test's own, with the fetched weights alone."""
    from engines.cache import empty_cache

    with empty_cache("weights") as folder:
        yield folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of reference numbers."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's data folder, which users do not have; tests that need it skip there."""
    path = Path(os.environ.get("AFFECTSTREAM_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("needs the shared data folder, which is not on this machine")
    return path


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """(512, 512, 3) RGB: NASA's portrait of the astronaut Eileen Collins, public domain."""
    from skimage import data

    image: NDArray[np.uint8] = data.astronaut()
    return image


@pytest.fixture(scope="session")
def runtime() -> Iterator[Runtime]:
    """The compiled default model, as `serve` has it."""
    from service.runtime import load_runtime

    made = load_runtime()
    yield made
    made.close()
