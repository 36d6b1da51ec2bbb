"""Worker programs as child processes."""

import threading
from typing import IO

import pytest

from service.workers import local
from service.workers.local import Program
from service.workers.relay import read_message


def test_a_worker_that_is_ended_while_it_starts_is_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program({})
    closing = threading.Thread(target=program.close_output)

    def read(pipe: IO[bytes]) -> bytes | None:  # another thread closes the pipe when its end is about to be read
        closing.start()
        closing.join(0.1)
        assert not pipe.closed  # its number could be that of another file by now
        return read_message(pipe)

    monkeypatch.setattr(local, "read_message", read)
    program.end(0)
    assert program.wait_ready(lambda _: None) == (
        "a worker process did not start (signal SIGKILL); its log holds the reason"
    )
    closing.join()
    assert program.wait_ready(lambda _: None) == "the worker process was ended while it started"
