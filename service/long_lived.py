"""The garbage collector while a process starts: what it imports and compiles then lives until its end.

A full collection looks through all of it, which stops every thread for 50 to 100 ms, and a session's frames bring one
about every few minutes.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """Collect no garbage inside the block, and leave out what there is at its end from every later collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
