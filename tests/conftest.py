"""What every test may use: a cache that starts empty, the public-domain portrait, the shared data where it exists."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers.repository import ROOT
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

    from service.runtime import Runtime

# A script that runs the tests in the background has them ignore SIGINT; the commands that they start would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test measures time: on a busy machine every deadline is missed some day, and examples are drawn slowly.
settings.register_profile("no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")


# Tests that mostly wait: for a browser, for several processes, or for pictures at their own pace. `tests/run` gives the
# others, which keep every core busy, a lower priority: at the same one, all took 20 minutes instead of 13.
ALONE = (
    "affectstream/test_client.py",
    "affectstream/test_js_client.py",
    "affectstream/test_strangers.py",
    "service/archive/test_on_cluster.py",
    "service/bench/test_soak.py",
    "service/capture/test_aiortc_internals.py",
    "service/capture/test_checked_http.py",
    "service/capture/test_checked_rtsp.py",
    "service/capture/test_rtsp.py",
    "service/capture/test_url.py",
    "service/capture/test_watch.py",
    "service/capture/test_webrtc.py",
    "service/dashboard",
    "service/pool/test_pool.py",
    "service/publish/test_lsl.py",
    "service/test_end_to_end.py",
    "service/test_serve.py",
    "service/web/routes/test_docs_page.py",
    "service/web/routes/test_stream.py",
    "service/web/routes/test_whip",
    "service/web/test_proxies.py",
    "service/web/test_tickets.py",
    "service/workers",
    "test_examples.py",
    "test_stack.py",
)

# Tests that start a Ray cluster, with the one of two groups that each belongs to: a group's files run one after the
# other, so that there are two clusters at once at most.
RAY = {
    "service/workers/test_cluster.py": "sessions",
    "service/workers/test_ingress.py": "sessions",
    "service/workers/test_shared.py": "models",
    "service/archive/test_on_cluster.py": "models",
    "service/pool/test_pool.py": "models",
}
# Files that take long. They begin first, so that no process waits for another's last file.
LONG = (
    *RAY,
    "engines/test_every_model.py",
    "service/bench/test_soak.py",
    "service/dashboard/test_dashboard.py",
    "service/dashboard/test_instrument.py",
    "service/workers/test_fleet.py",
    "service/workers/test_faults.py",
    "service/test_serve.py",
    "test_examples.py",
    "models/training/test_train.py",
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of the other part: to import them takes seconds in each process."""
    part = config.option.markexpr
    if part not in ("alone", "not alone") or not collection_path.name.startswith("test_"):
        return None
    return True if (part == "alone") != _name(collection_path).startswith(ALONE) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `ALONE` and `RAY`, and begin with the files of `LONG`."""
    for item in items:
        if _file(item).startswith(ALONE):
            item.add_marker(pytest.mark.alone)
        if _file(item) in RAY:
            item.add_marker(pytest.mark.cluster)
    places = {file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: places.get(_file(item), len(LONG)))


def _file(item: pytest.Item) -> str:
    return _name(item.path)


def _name(path: Path) -> str:
    return path.relative_to(ROOT / "tests").as_posix()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Return what gives pytest-xdist's processes a file each at a time, or the files of a group of `RAY`."""
    from xdist.scheduler import LoadFileScheduling

    class FewClusters(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return RAY.get(file.removeprefix("tests/"), file)

    return FewClusters(config, log) if config.getvalue("dist") == "loadfile" else None


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
    # On a busy machine a call may take longer than what counts as hung, and tests would go on with another engine.
    made._scheduler._hung_after = 60.0
    yield made
    made.close()
