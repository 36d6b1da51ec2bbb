"""The voice network: what gain and line do to what it sees, who is held out, and what the served file computes."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.openvino import OpenVinoEngine  # noqa: E402
from models.errors import ModelError  # noqa: E402
from models.labels import EXPRESSIONS  # noqa: E402
from models.voice_mt import sounds as voice_sounds  # noqa: E402
from models.voice_mt import train as voice_train  # noqa: E402
from models.voice_mt.augment import augment  # noqa: E402
from models.voice_mt.data import FOLDS, Clips, clips, fold_actors, window  # noqa: E402
from models.voice_mt.export import Served, calibrate, release, together  # noqa: E402
from models.voice_mt.network import CHANNELS, CLASSES, COLUMNS, OUTPUTS, VoiceNetwork, levelled  # noqa: E402
from models.voice_mt.scores import Heard, served  # noqa: E402
from models.voice_mt.spoil import FAULTS, gain  # noqa: E402
from models.voice_mt.train import Options, train  # noqa: E402
from service.adapters.voice import read_trust  # noqa: E402
from service.perception.mel import mel_power  # noqa: E402


def _mel(n: int = 2) -> "torch.Tensor":
    return -60 + 20 * torch.randn(n, 64, COLUMNS, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny RAVDESS: each actor says each emotion once, louder in channels that tell which."""
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    rows = [(actor, emotion) for actor in range(1, 25) for emotion in range(1, 9)]
    mel = rng.normal(-90, 2, (len(rows), 64, 350)).astype(np.float16)
    for one, (_, emotion) in zip(mel, rows, strict=True):
        one[4 * emotion : 4 * emotion + 8, 80:250] += 60
    actor, emotion = np.array(rows).T
    (folder / "ravdess").mkdir()
    np.savez(
        folder / "ravdess" / "0.npz", mel=mel, length=np.full(len(rows), 340), emotion=emotion, actor=actor,
        intensity=1 + actor % 2, name=np.array([f"{a}-{e}" for a, e in rows]),
    )  # fmt: skip
    return folder


def test_gain_changes_nothing() -> None:
    assert torch.allclose(levelled(_mel()), levelled(_mel() + 17.0), atol=1e-4)


def test_what_lies_above_eight_kilohertz_is_not_seen() -> None:
    mel = _mel()
    cut = mel.clone()
    cut[:, CHANNELS:] = -100.0
    assert torch.equal(levelled(mel), levelled(cut))


def test_both_looks_answer_and_are_summed() -> None:
    network = VoiceNetwork().eval()
    answers = network.answers(_mel())
    assert answers.shape == (2, 2, OUTPUTS)
    assert torch.allclose(network(_mel()), answers.sum(0), atol=1e-5)


def test_silence_gives_finite_answers() -> None:
    assert torch.isfinite(VoiceNetwork().eval()(torch.full((1, 64, COLUMNS), -100.0))).all()


def test_every_actor_is_held_out_once_with_as_many_women_as_men() -> None:
    folds = [fold_actors(fold) for fold in range(FOLDS)]
    assert sorted(np.concatenate(folds)) == list(range(1, 25))
    assert all((fold % 2 == 0).sum() == 3 for fold in folds)


def test_a_window_ends_where_it_is_asked_to_and_is_silent_before_the_clip(prepared: Path) -> None:
    data = clips(prepared / "ravdess")
    seen = window(data.mel[0], 250)
    assert (seen[:, : COLUMNS - 250] == -100).all()
    assert np.array_equal(seen[:, -250:], data.mel[0, :, :250].astype(np.float32))
    assert tuple(data.spoken[0]) == (80, 250)


def test_augmentation_repeats_with_its_generator_and_stays_finite() -> None:
    first, again = (augment(_mel(8), _mel(3), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (8, CHANNELS, COLUMNS)
    assert torch.isfinite(first).all()


def test_sounds_without_a_voice_are_turned_into_the_columns_that_the_service_computes() -> None:
    for kind in voice_sounds.KINDS:
        samples = voice_sounds.make(kind, 1, seed=0)
        expected = 10 * np.log10(np.maximum(mel_power(samples[0]), 1e-10))
        assert np.abs(voice_sounds.mel(samples)[0] - expected).max() < 0.5, kind  # dB
        assert np.array_equal(samples, voice_sounds.make(kind, 1, seed=0))


def test_calm_is_served_as_neutral() -> None:
    p = np.eye(len(CLASSES))
    assert (served(p).argmax(1) == [0, 1, 2, 3, 4, 5, 6, 0, 7]).all()


def _small(data: Clips) -> Clips:
    rows = np.flatnonzero(data.actor <= 4)
    return Clips(*(getattr(data, f)[rows] for f in ("mel", "length", "label", "actor", "strong", "spoken", "name")))


def test_a_killed_training_ends_where_an_uninterrupted_one_does(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, sounds = _small(clips(prepared / "ravdess")), _mel(4).numpy().astype(np.float16)
    options = Options("here", (1, 2), epochs=2, batch=8)
    train(options, data, sounds, tmp_path / "whole.pt")
    real, epochs = voice_train._batches, []

    def killed_in_the_second(*args: object) -> object:
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(voice_train, "_batches", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(options, data, sounds, tmp_path / "killed.pt")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="1 of 2 epochs"):
        voice_train.load(tmp_path / "killed.pt")
    train(options, data, sounds, tmp_path / "killed.pt")
    a, b = (torch.load(tmp_path / f"{run}.pt", weights_only=True)["average"] for run in ("whole", "killed"))
    assert all(torch.allclose(a[key].float(), b[key].float(), atol=1e-5) for key in a)
    with pytest.raises(ModelError, match="other options"):
        train(Options("here", (1, 2), epochs=3, batch=8), data, sounds, tmp_path / "killed.pt")


def test_a_run_is_released_as_a_file_that_computes_what_the_network_computes(prepared: Path, tmp_path: Path) -> None:
    rows = voice_train.main(prepared, tmp_path, epochs=1, lessons=1)
    assert [row["fold"] for row in rows] == [0, 1, 2, 3]
    fit = release(tmp_path, prepared, tmp_path / "voice.onnx")
    others = together([Heard.load(tmp_path / f"fold{k}.npz") for k in (1, 2, 3)])
    assert calibrate(others, clips(prepared / "ravdess")) == fit
    trust = read_trust(tmp_path / "voice.onnx")
    assert trust is not None
    assert (trust.valence, trust.arousal, trust.expression) == pytest.approx(fit.validation, abs=1e-4)
    network, options = voice_train.load(tmp_path / "fold0.pt")
    assert options.held_out == tuple(fold_actors(0))
    mel = _mel(3)
    found = OpenVinoEngine(tmp_path / "voice.onnx", caching=False)({"mel": mel.numpy()})
    for name, value in zip(("expression", "valence_arousal", "std"), Served(network, fit)(mel), strict=True):
        assert np.allclose(found[name], value.detach().numpy(), atol=5e-3), name
    assert found["expression"].shape == (3, len(EXPRESSIONS) + 1)
    assert np.allclose(found["expression"].sum(1), 1.0, atol=1e-5)


def test_faults_leave_length_and_loudness_in_range() -> None:
    samples = voice_sounds.make("music", 1, seed=3)[0]
    for function, degrees, _ in FAULTS.values():
        for degree in degrees:
            spoiled = function(samples, degree)
            assert spoiled.shape == samples.shape
            assert spoiled.dtype == np.float32
            assert np.isfinite(spoiled).all()
    quiet = gain(samples, -20)
    assert np.sqrt((quiet**2).mean()) == pytest.approx(0.1 * np.sqrt((samples**2).mean()), rel=1e-3)
