"""Interrupts of a command: when they come through, and when they wait."""

import importlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from service import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_an_import_comes_through_when_the_import_is_done(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "imported_slowly.py"
    slow.write_text(f"import os, time\nos.kill(os.getpid(), {number:d})\ntime.sleep(0.2)\ndone = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        import_and_wait("imported_slowly")
    assert sys.modules.pop("imported_slowly").done


def import_and_wait(name: str) -> None:
    with interrupts.raised():
        importlib.import_module(name)
        time.sleep(60)


def test_an_interrupt_comes_through_at_once_elsewhere_and_is_the_callers_again_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupts.raised():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.raised():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
