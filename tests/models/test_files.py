"""Files that are written whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from models.files import sha256, write_text, written_whole


def test_a_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    with written_whole(path) as aside:
        aside.write_text("{}")
        assert not path.exists()
        assert aside.suffix == ".json"
    assert path.read_text("utf-8") == "{}"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError), written_whole(path) as aside:
        aside.write_bytes(b"half" + (tmp_path / "missing").read_bytes())
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_file_can_be_read_by_those_the_user_allows(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "written", "x")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
