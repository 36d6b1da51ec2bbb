"""Corpora of acted speech: what their names say, and one sentence for what cannot be used."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.sounds import Samples, noise, voice

from models.errors import UserError
from service.capture.media import SAMPLE_RATE
from service.datasets.prepare import prepare


def _write(path: Path, samples: Samples) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((np.clip(samples, -1, 1) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


SPEECH = np.concatenate([noise(0.5, 2e-4), voice(2) + noise(2, 2e-4), noise(0.5, 2e-4)])


def test_names_say_emotion_speaker_and_intensity(tmp_path: Path) -> None:
    for folder, name in (("ravdess", "03-01-02-02-01-01-12.wav"), ("nemo", "EB0_surprised_7.wav")):
        (tmp_path / folder).mkdir()
        _write(tmp_path / folder / name, SPEECH)
        prepare(folder, tmp_path / folder, tmp_path / "out" / folder)
    with np.load(tmp_path / "out" / "ravdess" / "000000.npz") as shard:
        assert (shard["emotion"][0], shard["speaker"][0], bool(shard["strong"][0])) == ("calm", "ravdess-12", True)
        assert shard["samples"].shape == (160 * int(shard["length"][0]),)
        assert shard["speech"].shape == (int(shard["length"][0]),)
        spoken = shard["speech"] > 127
        assert spoken[80:240].mean() > 0.8
        assert spoken[:40].mean() == 0
    with np.load(tmp_path / "out" / "nemo" / "000000.npz") as shard:
        assert (shard["emotion"][0], shard["speaker"][0], bool(shard["strong"][0])) == ("surprise", "nemo-EB0", False)


def test_a_recording_without_speech_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _write(tmp_path / "EB0_anger_1.wav", SPEECH)
    _write(tmp_path / "EB0_anger_2.wav", noise(2, 0.01))
    with caplog.at_level(logging.WARNING):
        prepare("nemo", tmp_path, tmp_path / "out")
    assert "EB0_anger_2.wav holds no speech" in caplog.text
    with np.load(tmp_path / "out" / "000000.npz") as shard:
        assert shard["name"].tolist() == ["EB0_anger_1"]


def test_a_folder_without_any_speech_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "EB0_anger_1.wav", noise(2, 0.01))
    with pytest.raises(UserError, match="holds no speech in any of its recordings"):
        prepare("nemo", tmp_path, tmp_path / "out")


def test_what_is_no_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "EB0_anger_1.wav").write_bytes(b"no sound at all")
    with pytest.raises(UserError, match=r"EB0_anger_1\.wav cannot be read as sound"):
        prepare("nemo", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("dataset", "name"), [("ravdess", "EB0_anger_1.wav"), ("nemo", "EB0_rage_1.wav"), ("nemo", "voice.wav")]
)
def test_a_name_that_is_not_of_the_corpus_is_named_with_an_example(tmp_path: Path, dataset: str, name: str) -> None:
    _write(tmp_path / name, SPEECH)
    with pytest.raises(UserError, match=f"is not named as {dataset} names its files, such as"):
        prepare(dataset, tmp_path, tmp_path / "out")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recordings"):
        prepare("ravdess", tmp_path, tmp_path / "out")
