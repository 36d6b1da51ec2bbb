"""One process at a time where processes would disturb each other."""

import sys
import threading
from pathlib import Path

import pytest

from engines.cache import alone, cache_dir, empty_cache

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")


def test_a_second_one_waits_until_the_first_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "new"))
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait(60)
        with alone("gpu"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with alone("gpu"):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_what_goes_wrong_inside_is_not_taken_for_a_lock_that_cannot_be_had() -> None:
    with pytest.raises(OSError, match="of its own"), alone("gpu"):
        raise OSError("of its own")


def test_where_no_file_can_be_written_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "file" / "cache"))
    entered = 0
    with alone("gpu"), alone("gpu"):
        entered += 1
    assert entered == 1


def test_an_empty_cache_keeps_what_was_fetched_and_nothing_that_was_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path))
    for name in ("weights/a/face.onnx", "checkpoints/mt-vgg.pt", "checkpoints/untrained/b.json", "engines/c.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
    with empty_cache("weights", "checkpoints") as folder:
        assert cache_dir() == folder != tmp_path
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert files == {"weights/a/face.onnx", "checkpoints/mt-vgg.pt"}
        (folder / "weights/a/face.onnx").write_text("changed", "utf-8")
    assert cache_dir() == tmp_path
    assert not folder.exists()
    assert (tmp_path / "weights/a/face.onnx").read_text("utf-8") == "weights/a/face.onnx"
