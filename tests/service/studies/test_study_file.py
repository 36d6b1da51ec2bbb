"""What a study's file may say, and the sentence for what it may not."""

import os
from pathlib import Path

import pytest
from helpers.clips import write_clip

from models.errors import UserError
from service.capture.marker_file import Marker
from service.cli import main
from service.studies.study import read_study

GOOD = """
[study]
name = "Film"
[options]
fps = 5
[[participant]]
id = "p01"
[[participant]]
id = "p02"
[[recording]]
video = "a.mp4"
participant = "p01"
condition = "calm"
markers = [{ label = "cue", time = 0.2 }]
[[recording]]
video = "a.mp4"
name = "later"
participant = "p02"
start = 0.5
[[recording.stimulus]]
label = "film"
start = 0.6
end = 0.8
condition = "loud"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    write_clip(path / "a.mp4", seconds=1.0)
    return path


def study_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_a_study_is_read_with_paths_from_its_own_folder_and_a_fixed_precision(folder: Path) -> None:
    study = read_study(study_file(folder, GOOD))
    assert study.name == "Film"
    assert study.results == str(folder / "results")
    assert study.reading.engine == "openvino:fp32"
    assert study.reading.fps == 5
    first, second = study.recordings
    assert (first.name, first.place, first.condition) == ("a", str(folder / "a.mp4"), "calm")
    assert first.markers == (Marker(0.2, "cue"),)
    assert (second.name, second.start, second.stimuli[0].condition) == ("later", 0.5, "loud")


def test_a_byte_order_mark_is_no_part_of_a_study(folder: Path) -> None:
    path = study_file(folder, GOOD)
    path.write_text(GOOD, "utf-8-sig")
    assert read_study(path).name == "Film"


def test_gaze_smoothing_a_pool_a_format_and_columns_are_options(folder: Path) -> None:
    assert read_study(study_file(folder, GOOD)).reading.smoothing == "normal"
    options = 'gaze = true\npool = "auto?replicas=2"\nformat = "elan"\ncolumns = ["windows", "voice"]'
    options += '\nsmoothing = "off"'
    reading = read_study(study_file(folder, GOOD.replace("fps = 5", options))).reading
    assert (reading.gaze, reading.pool, reading.form) == (True, "auto?replicas=2", "elan")
    assert reading.smoothing == "off"
    assert reading.columns == ("voice", "windows")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"p02"', '"p01"', "participant 2: 'p01' is listed twice, first as participant 1"),
        ('video = "a.mp4"', 'video = "b.mp4"', r"recording 1: there is no file .*b\.mp4; check video"),
        (
            "time = 0.2",
            "time = 20",
            "recording 1: the marker 'cue' at 20 s lies outside the recording, which is 1.00 s",
        ),
        ("condition =", "conditon =", "recording 1: there is no key 'conditon'; did you mean 'condition'?"),
        ("[options]\nfps", "[options]\nfsp", "there is no key 'fsp'; did you mean 'fps'?"),
        ("[options]", "[option]", "there is no key 'option'; did you mean 'options'?"),
        (
            'participant = "p02"',
            'participant = "p03"',
            r"recording 2: 'p03' is no \[\[participant\]\]; did you mean 'p0",
        ),
        ('name = "later"', "", "recordings 1 and 2 are both called 'a'"),
        ('name = "later"', 'name = " "', "the name '' is no name of a file below the results"),
        ('name = "later"', 'name = "x/"', "the name 'x/' is no name of a file below the results"),
        ('name = "later"', f'name = "{"x" * 300}"', "a result cannot have a name of more than 200 bytes"),
        ('video = "a.mp4"', 'video = "a\\u0000.mp4"', "video is a text in one line, without control characters"),
        ('condition = "calm"', 'condition = "a\\nb"', "condition is a text in one line, without control characters"),
        ('label = "cue"', 'label = "a\\nb"', "label is a text in one line, without control characters"),
        ('markers = [{ label = "cue", time = 0.2 }]', 'markers = "\\u0000"', "markers is a text in one line"),
        ('markers = [{ label = "cue", time = 0.2 }]', 'markers = "no.csv"', r"no\.csv: the markers cannot be read"),
        ("fps = 5", f"fps = {'[' * 5000}", "is no TOML"),
        ('name = "later"', 'name = "../x"', "is no name of a file below the results"),
        ("start = 0.5", "start = 7", "start 7 s is not within the recording, which is 1.00 s long"),
        ("end = 0.8", "end = 0.1", "stimulus 1: end 0.1 s is not after start 0.6 s"),
        ("start = 0.5", 'start = "soon"', "start is a number that is not negative, such as 12.5, and not 'soon'"),
        ("fps = 5", "fps = ", "is no TOML"),
        (
            'condition = "calm"',
            "neutral = 0.5",
            "recording 1: neutral: the 10 s from 0.5 s are not within what is read",
        ),
        ("fps = 5", 'smoothing = "of"', "smoothing is off, normal or strong, and not 'of'"),
        ("fps = 5", "gaze = 1", "gaze is true or false, and not 1"),
        ("fps = 5", 'pool = "auto?replica=2"', r"\[options\]: pool: "),
        ("fps = 5", 'format = "elna"', "format: there is no format 'elna'; known are openface"),
        ("fps = 5", 'columns = ["voices"]', "there are no columns 'voices'; did you mean voice?"),
    ],
)
def test_what_could_not_be_run_is_refused_with_its_place(folder: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        read_study(study_file(folder, GOOD.replace(old, new, 1)))


def test_init_lists_the_recordings_it_is_given_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for name in ("p01_calm", "p01_loud", "p02_calm"):
        write_clip(tmp_path / "videos" / f"{name}.mp4", seconds=0.2)
    assert main(["study", "init", "study.toml", "videos/*.mp4"]) == 0
    assert "lists 3 recordings of 2 participants; conditions: calm, loud; check them, then:" in capfd.readouterr().out
    study = read_study(tmp_path / "study.toml")
    assert [(one.participant, one.condition) for one in study.recordings] == [
        ("p01", "calm"),
        ("p01", "loud"),
        ("p02", "calm"),
    ]
    assert main(["study", "init", "study.toml"]) == 2
    assert "is there already" in capfd.readouterr().err
    assert main(["study", "init", "example.toml"]) == 0
    with pytest.raises(UserError, match=r"there is no file .*p01_calm\.mp4"):
        read_study(tmp_path / "example.toml")


def test_init_without_a_file_of_its_own_lists_what_it_is_given_in_study_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A shell may have replaced the pattern, and a user may have named a folder alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my videos").mkdir()
    names = ["my videos/p01_calm.mp4", "my videos/p02_calm.mp4"]
    for name in names:
        write_clip(tmp_path / name, seconds=0.2)
    for given in (["my videos/*.mp4"], names, ["my videos"], ["~/my videos/*.mp4"], [f"~/{name}" for name in names]):
        assert main(["study", "init", *given]) == 0
        assert "study.toml lists 2 recordings of 2 participants" in capfd.readouterr().out
        places = [one.place for one in read_study(tmp_path / "study.toml").recordings]
        assert places == [str(tmp_path / name) for name in names]
        assert main(["study", "init", *given]) == 2
        assert (
            "study.toml: is there already; change it, or give another name that ends in .toml" in capfd.readouterr().err
        )
        (tmp_path / "study.toml").unlink()


def test_init_takes_a_file_in_a_folder_that_is_not_there_yet_and_says_how_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "p01_\U0001f600.mp4", seconds=0.2)
    write_clip(tmp_path / 'p01_\U000e0001 it\'s "x".mp4', seconds=0.2)
    assert main(["study", "init", "my study/the file.toml", "*.mp4"]) == 0
    assert "then: affectstream study run 'my study/the file.toml'" in capfd.readouterr().out
    study = read_study(tmp_path / "my study/the file.toml")
    assert {one.condition for one in study.recordings} == {"\U0001f600", '\\U000e0001 it\'s "x"'}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["nope.mp4"], "nope.mp4: there is no such recording; give files, folders or a pattern"),
        (["nope/*.mp4"], "nope/*.mp4: no file has such a name"),
        (["a.toml", "b.toml"], "a.toml and b.toml are two files of a study"),
        ([b"p01_\xff.mp4".decode("utf-8", "surrogateescape")], "p01_\\xff.mp4: the name is not UTF-8"),
    ],
)
def test_what_init_cannot_list_is_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(os.fsdecode(b"p01_\xff.mp4")).touch()
    assert main(["study", "init", *given]) == 2
    assert sentence in capfd.readouterr().err
    assert not list(tmp_path.glob("*.toml"))


def test_a_home_in_a_study_is_the_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    text = GOOD.replace('"a.mp4"', '"~/a.mp4"').replace('name = "Film"', 'name = "Film"\nresults = "~/out"')
    study = read_study(study_file(folder, text))
    assert study.recordings[0].place == str(folder / "a.mp4")
    assert study.results == str(folder / "out")


def test_a_folder_in_place_of_a_study_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; give the study's file, such as .*/study\.toml"):
        read_study(folder)
