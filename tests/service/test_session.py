"""A session's figures are those of its source, however fast that is."""

import time

import pytest
from helpers.sources import Recorded

from service.runtime import Runtime
from service.session import FIGURES_OVER, Session, _Done


@pytest.mark.parametrize("fps", [30, 60, 120, 240])
def test_the_rate_has_no_ceiling(runtime: Runtime, fps: int) -> None:
    session = Session(Recorded([]), runtime.pipeline("fast"), lambda event: None)
    session.close()
    session._started = time.monotonic() - 60
    now = time.monotonic()
    session._done.extend(_Done(now - index / fps, 0.01) for index in reversed(range(FIGURES_OVER)))
    assert session.figures().fps == pytest.approx(fps, rel=0.03)
