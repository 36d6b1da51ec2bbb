"""A program that a test starts, interrupts and reads."""

import contextlib
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, with what it prints in pipes. It is killed at the end, so that a test that fails leaves nothing."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
