"""Interrupts that are not lost: SIGINT and SIGTERM end a command also where they come in the middle of an import.

Python prints and then ignores what is raised in a callback or a destructor, and an import runs many of them
(`importlib` forgets its locks in one). Ctrl-C in the first seconds of a command was lost there, and a service that
waited for its weights went on waiting.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import FrameType

_IMPORT = "<frozen importlib."  # beginning of the file names of the import system's own frames
_AGAIN_AFTER = 0.05  # s
_MOST_DELAYS = 200  # after which the interrupt comes through all the same


@contextmanager
def raised() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for SIGINT and SIGTERM inside the block, so that a command can finish what it holds.

    A signal that comes during an import is sent again until the import is done. SIGINT stays ignored where it is
    ignored, as in a command that a script runs in the background. Call it in the main thread.
    """
    delays = count(1)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _imports(frame) and next(delays) < _MOST_DELAYS:
            # To this thread: a signal that another one takes does not end what this one waits for.
            again = threading.Timer(_AGAIN_AFTER, signal.pthread_kill, [threading.get_ident(), number])
            again.daemon = True
            again.start()
        else:
            raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _imports(frame: FrameType | None) -> bool:
    """Return whether an import is under way in `frame` or one that called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT):
            return True
        frame = frame.f_back
    return False
