"""Aff-Wild2 as it is distributed becomes what training reads, by the perception that serves; networks learn from it."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import affwild2_videos

import models
from engines.errors import UserError
from models.errors import ModelError
from models.training import affwild2, inputs, synthetic, train
from models.training.recipe import Recipe
from models.training.recordings import Recording
from service.capture.media import SAMPLE_RATE, Sound
from service.cli import main
from service.datasets import affwild2 as prepare_affwild2
from service.datasets.prepare import prepare
from service.perception.mel import mel_power

torch.set_num_threads(1)
HAPPY, SAD = (0.9, 0.8, 0.0), (-0.9, 0.2, 0.0)  # smile, opening, brow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
    affwild2_videos.write(raw, videos=3, seconds=2, validation=1)
    assert main(["prepare", "affwild2", str(raw), "--out", str(out)]) == 0
    return out


def face(skin=(210.0, 165.0, 135.0), motion=HAPPY):
    """(112, 112, 3) RGB."""
    return synthetic._draw(synthetic.landmarks(*motion), np.array(skin), np.random.default_rng(0))


def annotate(root: Path, name: str, frames: int) -> None:
    affwild2.write_va(root / "annotations/VA_Set/Train_Set" / f"{name}.txt", np.zeros((frames, 2)))


def recording(root: Path, name: str) -> Recording:
    return Recording(root, affwild2.read_annotations(root, "train")[name])


def test_a_video_becomes_crops_masks_landmarks_and_mel_columns(prepared):
    annotations = affwild2.read_annotations(prepared, "train")
    assert sorted(annotations) == ["t0", "t1_left", "t2_right"]
    for name, annotation in annotations.items():
        found = Recording(prepared, annotation)
        assert found.faces.tolist() == list(range(60))
        np.testing.assert_allclose(found.times, np.arange(60) / 30, atol=1e-3)
        crops, masks = found.pictures(np.arange(60)), found.masks(np.arange(60))
        assert crops.mean() > 80
        assert {31, 63, 127, 159, 191, 223, 255} >= set(np.unique(masks)) - {0}
        eyes = found.landmarks[:, 36:48].reshape(60, 2, 6, 2).mean(2)
        np.testing.assert_allclose(eyes.mean(0), [(38.3, 51.7), (73.5, 51.5)], atol=6)  # where ArcFace has them
        assert not (prepared / "cropped").exists()
        loudness = np.log10(found.mel[:, np.round(found.times * 100).astype(int)].mean(0))
        known = annotation.va[:, 1] >= -1
        assert np.corrcoef(loudness[known], annotation.va[known, 1])[0, 1] > 0.8, name


def test_networks_learn_from_what_was_prepared(prepared, tmp_path):
    recipe = Recipe(
        network="tsav", score="total_2020", tasks={"va": 1.0, "expression": 1.0, "au": 1.0}, options={"width": 4},
        epochs=8, batch=8, stride=8, learning_rate=5e-4, filter=True, pseudo_valence=True,
    )  # fmt: skip
    result = train.train(recipe, prepared, tmp_path, progress=False)
    assert result["score"] > result["before"] + 0.05


def test_mel_columns_are_those_of_the_whole_sound_however_long(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 31 * SAMPLE_RATE).astype(np.float32)
    columns = prepare_affwild2.Columns()
    for start in range(0, len(samples), 4096):
        columns.push(Sound(samples[start : start + 4096], 7 + start / SAMPLE_RATE), 7.0)
    power = columns.power()
    expected = mel_power(samples)
    assert power.shape == expected.shape
    np.testing.assert_allclose(power[:, 1:-1], expected[:, 1:-1], rtol=1e-3)
    assert prepare_affwild2.Columns().power().shape == (64, 0)
    late = prepare_affwild2.Columns()
    late.push(Sound(samples[:SAMPLE_RATE], 20.0), 0.0)
    power = late.power()
    assert power.shape == (64, 2101)
    assert power[:, 1990:].mean() > 1e6 * power[:, :1990].mean()


def test_two_people_of_one_video_are_told_apart_by_their_side(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    red, blue = face((230.0, 120.0, 90.0)), face((150.0, 160.0, 220.0))
    scenes = [affwild2_videos.scene(red, (60, 60), blue, (340, 60))] * 6
    affwild2_videos.encode(raw / "videos" / "d.mp4", scenes)
    for name in ("d_left", "d_right"):
        annotate(raw, name, 6)
    prepare("affwild2", raw, out)
    assert colours(out) == {"d_left": "red", "d_right": "blue"}
    assert recording(out, "d_left").mel.shape == (64, 0)  # a video without sound
    assert inputs.sound_picture(recording(out, "d_left").spectrogram, 0.1).max() == 1
    assert np.ptp(inputs.sound_window(recording(out, "d_left").mel, 0.1, "past10")) == 0

    # The data set's own crops say otherwise, and they know; where it has none, nobody is there yet.
    for name, shown in (("d_left", blue), ("d_right", red)):
        for i in range(2, 6):
            path = affwild2.picture(raw / "cropped_aligned" / "batch1", name, i)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), shown[..., ::-1])
    shutil.rmtree(out)
    prepare("affwild2", raw, out)
    assert colours(out) == {"d_left": "blue", "d_right": "red"}
    assert recording(out, "d_left").faces.tolist() == [2, 3, 4, 5]


def colours(out):
    """Name -> the stronger colour of the first crop."""
    return {
        name: "red" if crop[..., 0].mean() > crop[..., 2].mean() else "blue"
        for name in ("d_left", "d_right")
        for crop in recording(out, name).pictures(recording(out, name).faces[:1])
    }


@pytest.mark.parametrize("kind", ["cropped_aligned", "cropped"])
def test_pictures_stand_in_for_a_missing_video(tmp_path, kind):
    raw, out = tmp_path / "raw", tmp_path / "out"
    annotate(raw, "p", 4)
    for i in (0, 1, 3):  # the third frame had no face
        path = affwild2.picture(raw / kind, "p", i)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((112, 112, 3), np.uint8) if i == 1 else face()[..., ::-1])
    prepare("affwild2", raw, out, context=True, given=True)
    found = recording(out, "p")
    own = [path.name for path in sorted((out / "given").glob("p/*"))]
    assert own == (["00001.jpg", "00002.jpg", "00004.jpg"] if kind == "cropped_aligned" else [])
    assert found.faces.tolist() == [0, 3]
    assert np.isnan(found.landmarks[[1, 2]]).all()
    assert np.isfinite(found.landmarks[[0, 3]]).all()
    assert found.masks(np.array([0])).any()
    with pytest.raises(ModelError, match=r"has no mel of p, which .* `affectstream prepare affwild2` .* of videos"):
        assert found.mel is None
    shown = sorted(path.name for path in (out / "cropped" / "p").iterdir())
    assert shown == (["00001.jpg", "00004.jpg"] if kind == "cropped" else [])


def test_appearance_features_come_from_a_checkpoint(tmp_path, capsys):
    raw, out, file = tmp_path / "raw", tmp_path / "out", tmp_path / "ferplus.pth"
    annotate(raw, "p", 2)
    path = affwild2.picture(raw / "cropped_aligned", "p", 1)
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), face()[..., ::-1])
    words = ["prepare", "affwild2", str(raw), "--out", str(out), "--features", str(file)]
    assert main(words) == 2
    assert "There is no checkpoint" in capsys.readouterr().err
    torch.save(models.create("ferplus-resnet50").state_dict(), file)
    assert main(words) == 0
    features = recording(out, "p").features
    assert features.shape == (2, 2048)
    assert features.any(1).tolist() == [False, True]


def test_a_stopped_run_goes_on_with_what_is_missing(tmp_path, monkeypatch, caplog):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for name in "abc":
        affwild2_videos.encode(raw / "videos" / "batch1" / f"{name}.mp4", [affwild2_videos.scene(face(), (60, 60))] * 3)
        annotate(raw, name, 3)
    (raw / "videos" / "batch1" / "c.mp4").write_bytes(b"not a video")
    real, asked = prepare_affwild2._from_video, []

    def stopped(job, *others):
        asked.append(job.video)
        if job.video == "b":
            raise KeyboardInterrupt
        return real(job, *others)

    monkeypatch.setattr(prepare_affwild2, "_from_video", stopped)
    monkeypatch.setattr(prepare_affwild2.os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        prepare("affwild2", raw, out)
    assert (out / "landmarks" / "a.npy").is_file()
    assert not list(out.glob(".*.part"))
    assert not (out / "cropped_aligned" / "b").exists()

    monkeypatch.setattr(
        prepare_affwild2, "_from_video", lambda job, *others: (asked.append(job.video), real(job, *others))[1]
    )
    asked.clear()
    prepare("affwild2", raw, out)
    assert asked == ["b", "c"]
    assert "c.mp4 is not a video" in caplog.text
    assert "1 of 3 recordings are not prepared: c" in caplog.text
    assert recording(out, "b").faces.tolist() == [0, 1, 2]


def test_wrong_folders_get_one_sentence(tmp_path, capsys):
    assert main(["prepare", "affwild2", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["prepare", "affwild2", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no annotations, so it is not Aff-Wild2; expected are annotations/VA_Set" in capsys.readouterr().err
    annotate(tmp_path, "a", 3)
    with pytest.raises(UserError, match="holds no videos and no cropped_aligned pictures"):
        prepare("affwild2", tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="is the data set itself"):
        prepare("affwild2", tmp_path, tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"\0" * 1000)
    with pytest.raises(UserError, match="Nothing was prepared: none of a has a video or pictures"):
        prepare("affwild2", tmp_path, tmp_path / "out")
    (tmp_path / "annotations/VA_Set/Train_Set/a.txt").write_text("valence,arousal\n0,0\n0\n")
    assert main(["prepare", "affwild2", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "a.txt, line 3: expected 2 numbers, not '0'" in capsys.readouterr().err
