"""From what the user wrote to recordings and the names of their results."""

from pathlib import Path

import pytest

from models.errors import UserError
from service.archive.inputs import is_several, recordings


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(*inputs: str | Path) -> list[str]:
    return [one.name for one in recordings([*map(str, inputs)])]


def test_files_folders_patterns_and_lists_each_give_their_recordings_once(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a.mp4", "b.MKV", "c/d.wav", "c/.hidden.mp4", "e.jpg")
    assert names(folder) == ["a", "b", "c/d"]
    assert names(folder / "a.mp4", folder / "*.mp4", folder / "c" / "d.wav") == ["a", "d"]
    (tmp_path / "list.txt").write_text("# of the lab\nin/a.mp4\n\nin/c\n")
    assert names(f"@{tmp_path / 'list.txt'}") == ["a", "d"]


def test_recordings_of_one_name_keep_their_suffix_or_are_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path, "x/a.mp4", "x/a.wav", "y/a.mp4")
    assert names(folder / "x") == ["a.mp4", "a.wav"]
    assert names(folder) == ["x/a.mp4", "x/a.wav", "y/a"]
    with pytest.raises(UserError, match=r"x/a\.mp4 and .*y/a\.mp4 would have one result, a\.mp4"):
        recordings([str(folder / "x/a.mp4"), str(folder / "y/a.mp4")])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("@{}/none.txt", "the list cannot be read"),
        ("@{}/empty.txt", "empty.txt: no recording is listed there; write an input a line"),
        ("{}/*.mp4", "no file has such a name"),
        ("{}", "no recordings in"),
    ],
)
def test_what_names_no_recording_is_refused_with_a_sentence(tmp_path: Path, given: str, words: str) -> None:
    (tmp_path / "empty.txt").write_text("# nothing yet\n\n")
    with pytest.raises(UserError, match=words):
        recordings([given.format(tmp_path)])


def test_one_file_is_one_result_and_a_folder_of_results_means_several(tmp_path: Path) -> None:
    assert not is_several(["a.mp4"], "a.csv")
    assert not is_several([str(tmp_path)], "pictures.csv")
    assert is_several([str(tmp_path)], str(tmp_path))
    assert is_several(["a.mp4"], "new/")
    assert is_several(["a.mp4", "b.mp4"], "new")
    assert is_several(["*.mp4"], "new")
    assert is_several(["@list"], "new")
