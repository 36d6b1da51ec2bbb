"""What a start loads is not looked through by the garbage collector, and what a session frees goes to the system."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest
from helpers.repository import ROOT

from service.long_lived import give_back, starting


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


@pytest.mark.parametrize("call", ["give_back()", "give_back_regularly(every=0.05); time.sleep(1.0)"])
def test_what_was_freed_goes_back_to_the_system(call: str) -> None:
    """In a process of its own, whose memory nothing else changes."""
    program = (
        "import os, psutil, time\n"
        "from service.long_lived import give_back, give_back_regularly\n"
        "size = lambda: psutil.Process().memory_info().rss / 1e6\n"
        "kept = [bytes(60_000) for _ in range(3000)]\n"  # too small for pages of their own
        "above = bytes(60_000)\n"  # lies behind them, so that the heap's end does not move when they are freed
        "del kept\n"
        "before = size()\n"
        f"{call}\n"
        "print(before - size())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100  # MB of 180


def test_threads_share_one_arena() -> None:
    """In a process of its own; `malloc_info` counts the arenas."""
    program = (
        "import ctypes, threading\n"
        "from service.long_lived import share_one_arena\n"
        "share_one_arena()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "together = threading.Barrier(8)\n"
        "def take():\n"
        "    together.wait()\n"
        "    libc.malloc(50_000)\n"
        "    together.wait()\n"
        "threads = [threading.Thread(target=take) for _ in range(8)]\n"
        "[one.start() for one in threads]\n"
        "[one.join() for one in threads]\n"
        "libc.fdopen.restype = ctypes.c_void_p\n"
        "out = libc.fdopen(1, b'w')\n"
        "libc.malloc_info(0, ctypes.c_void_p(out))\n"
        "libc.fflush(ctypes.c_void_p(out))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("<heap nr=") == 1


def test_an_object_that_refers_to_itself_is_gone() -> None:
    class Frame:
        pass

    frame = Frame()
    frame.itself = frame  # type: ignore[attr-defined]
    seen = weakref.ref(frame)
    gc.disable()
    try:
        del frame
        assert seen() is not None
        give_back()
        assert seen() is None
    finally:
        gc.enable()
