"""Whether the process is busy: by its CPU time, and not asked of the system at every call."""

import pytest

from service.inference import cpu_share
from service.inference.cpu_share import BUSY, OVER, CpuShare


def test_a_process_is_busy_once_it_has_used_most_of_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = 10.0, 0.0
    monkeypatch.setattr(cpu_share, "usable_share", lambda: 2.0)
    monkeypatch.setattr(cpu_share.time, "monotonic", lambda: now)
    monkeypatch.setattr(cpu_share.time, "process_time", lambda: used)
    share = CpuShare()
    assert not share.busy(), "nothing is known yet"
    now, used = now + OVER, used + 2 * OVER * (BUSY + 0.01)
    assert share.busy()
    now, used = now + OVER / 2, used + OVER / 10
    assert share.busy(), "not asked again so soon"
    now = now + OVER
    assert not share.busy()
    assert share.share < BUSY
