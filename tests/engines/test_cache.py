"""One process at a time where processes would disturb each other."""

import sys
import threading
from pathlib import Path

import pytest

from engines.cache import alone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")


def test_a_second_one_waits_until_the_first_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "new"))
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait(5)
        with alone("gpu"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with alone("gpu"):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_what_goes_wrong_inside_is_not_taken_for_a_lock_that_cannot_be_had() -> None:
    with pytest.raises(OSError, match="of its own"), alone("gpu"):
        raise OSError("of its own")


def test_where_no_file_can_be_written_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "file" / "cache"))
    with alone("gpu"), alone("gpu"):
        pass
