"""A study whose files also lie in a BIDS dataset."""

import json
from pathlib import Path

import pytest
from helpers.clips import write_clip

from models.errors import UserError
from service.cli import main
from service.studies.bids_dataset import places

STUDY = """
[study]
name = "Calm and film"
[options]
format = "bids"
fps = 5
[[participant]]
id = "p01"
[[participant]]
id = "p-02"
[[recording]]
video = "a.mp4"
name = "first"
participant = "p01"
condition = "calm"
markers = [{ label = "cue", time = 0.2 }]
[[recording]]
video = "a.mp4"
name = "second"
participant = "p-02"
condition = "calm"
"""


def test_a_study_becomes_a_dataset_and_an_unchanged_one_is_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "a.mp4", seconds=0.6)
    (tmp_path / "study.toml").write_text(STUDY)
    command = ["study", "run", str(tmp_path / "study.toml"), "--jobs", "1"]
    assert main(command) == 0
    dataset = tmp_path / "results/bids"
    assert {path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()} == {
        *("dataset_description.json", "participants.tsv", "README"),
        *(
            f"sub-{who}/beh/sub-{who}_task-calm_{what}"
            for who in ("p01", "p02")
            for what in ("events.json", "events.tsv", "physio.json", "physio.tsv.gz")
        ),
    }
    assert (dataset / "participants.tsv").read_text("utf-8") == "participant_id\nsub-p01\nsub-p02\n"
    described = json.loads((dataset / "dataset_description.json").read_text("utf-8"))
    assert (described["Name"], described["GeneratedBy"][0]["Name"]) == ("Calm and film", "Affectstream")
    events = (dataset / "sub-p01/beh/sub-p01_task-calm_events.tsv").read_text("utf-8")
    assert events.endswith("0.200\t0.000\tcue\tn/a\n")
    capfd.readouterr()
    assert main(command) == 0
    assert "2 of 2 recordings are done, 2 of them before" in capfd.readouterr().out


def test_recordings_alike_are_runs_and_names_lose_what_bids_does_not_allow() -> None:
    found = places("My study", [("p 1", "film A"), ("p 1", "film A"), ("p 1", ""), ("q", "film A")])
    assert [path.rpartition("/")[2] for path in found] == [
        "sub-p1_task-filmA_run-1",
        "sub-p1_task-filmA_run-2",
        "sub-p1_task-Mystudy",
        "sub-q_task-filmA",
    ]
    assert found[3].startswith("sub-q/beh/")


@pytest.mark.parametrize(
    ("recordings", "sentence"),
    [
        ([("p1", "a"), ("p-1", "a")], "would call the participants 'p1' and 'p-1' both sub-p1"),
        ([("--", "a")], "the participant '--' has none"),
        ([("p1", "\u4e00")], "letters and digits alone"),
    ],
)
def test_names_that_bids_cannot_have_are_a_sentence(recordings: list[tuple[str, str]], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        places("study", recordings)
