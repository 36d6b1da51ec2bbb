"""The service and the browser that the dashboard's tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser import chromium, write_camera, write_microphone
from helpers.dashboard_page import PAGE
from helpers.kept_runtime import real_app
from helpers.live_server import LiveServer, serving
from numpy.typing import NDArray

from service.runtime import Runtime


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    if not (PAGE / "dist" / "index.html").is_file():
        pytest.skip("the dashboard is not built: make dashboard")


@pytest.fixture(scope="module")
def server(runtime: Runtime) -> Iterator[LiveServer]:
    with serving(real_app(runtime, rate=10.0)) as server:  # the pages redraw themselves with each reading
        yield server


@pytest.fixture(scope="module")
def browser(portrait: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its camera films the portrait."""
    folder: Path = tmp_path_factory.mktemp("devices")
    camera = write_camera(folder / "camera.y4m", portrait[:384, 60:420])
    with chromium(camera, write_microphone(folder / "microphone.wav")) as browser:
        yield browser
