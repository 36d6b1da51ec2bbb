"""The voice network: what it reads of speaker and population, who is held out, and what the served file computes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.openvino import OpenVinoEngine  # noqa: E402
from models.errors import ModelError  # noqa: E402
from models.labels import EXPRESSIONS  # noqa: E402
from models.voice_mt import export, train  # noqa: E402
from models.voice_mt.augment import CODECS, Session, coded, response, room  # noqa: E402
from models.voice_mt.baseline import ROWS  # noqa: E402
from models.voice_mt.baseline import of as baseline_of  # noqa: E402
from models.voice_mt.data import FOLDS, recordings  # noqa: E402
from models.voice_mt.descriptors import RATE  # noqa: E402
from models.voice_mt.evaluate import evaluate  # noqa: E402
from models.voice_mt.functionals import NAMES, RELATIVE  # noqa: E402
from models.voice_mt.network import CLASSES, OUTPUTS, TRUST_SECONDS, Population, VoiceNetwork  # noqa: E402
from models.voice_mt.scores import answers, served  # noqa: E402
from models.voice_mt.train import Options  # noqa: E402
from models.voice_mt.windows import Windows, after, drawn, in_order  # noqa: E402
from service.adapters.voice import network_input, read_trust  # noqa: E402

EMOTIONS = {"ravdess": CLASSES, "nemo": ("neutral", "anger", "fear", "happiness", "sadness", "surprise")}
SPEAKERS = {"ravdess": [f"ravdess-{k:02}" for k in range(1, 9)], "nemo": [f"nemo-XX{k}" for k in range(4)]}


def _voice(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """A buzz with wandering pitch and uneven loudness."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(RATE * seconds)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 2 * t + rng.uniform(0, 6)))) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * (1 + 0.5 * np.sin(2 * np.pi * 4 * t))
    return np.asarray(0.1 * wave + 1e-3 * rng.standard_normal(len(t)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny corpora: each speaker says each emotion twice, at a pitch that tells which."""
    folder = tmp_path_factory.mktemp("prepared")
    for corpus, emotions in EMOTIONS.items():
        rows = [(speaker, emotion) for speaker in SPEAKERS[corpus] for emotion in emotions for _ in range(2)]
        sounds = [
            _voice((90 + 30 * CLASSES.index(e)) * (1 + 0.1 * SPEAKERS[corpus].index(s)), 1.2, i)
            for i, (s, e) in enumerate(rows)
        ]
        frames = [len(sound) // 160 for sound in sounds]
        whole = [sound[: 160 * n] for sound, n in zip(sounds, frames, strict=True)]
        (folder / corpus).mkdir()
        np.savez(
            folder / corpus / "0.npz",
            samples=(np.concatenate(whole) * 32767).astype(np.int16),
            speech=np.full(sum(frames), 250, np.uint8), length=np.array(frames),
            emotion=np.array([e for _, e in rows]), speaker=np.array([s for s, _ in rows]),
            strong=np.arange(len(rows)) % 2 == 0, name=np.arange(len(rows)).astype(str),
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run on them, of few epochs."""
    out = tmp_path_factory.mktemp("run")
    train.main(prepared, out, Options(epochs=1, batch=32))
    export.main(prepared, out)
    return out


def _inputs(n: int = 3, seconds: float = 40.0) -> Any:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (n, ROWS, len(NAMES)))
    rows[:, 2] = np.abs(rows[:, 2])
    rows[:, 3] = seconds
    return torch.from_numpy(rows.astype(np.float32))


def _network() -> VoiceNetwork:
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    return VoiceNetwork(Population(rng.normal(0, 1, len(NAMES)), np.ones(len(NAMES)), np.ones(len(NAMES)))).eval()


def test_without_a_baseline_the_population_is_the_baseline() -> None:
    network, x = _network(), _inputs(seconds=0.0)
    other = x.clone()
    other[:, 1:3] = 7.0  # what a baseline of no speech holds does not matter
    assert torch.allclose(network.seen(x), network.seen(other))
    plain = torch.tensor([name not in RELATIVE for name in NAMES])
    z = x[:, 0] - network.mean
    assert torch.allclose(network.seen(x)[:, : len(NAMES)][:, plain], z[:, plain].clamp(-4, 4), atol=1e-5)


def test_a_long_baseline_takes_the_speaker_out() -> None:
    network, x = _network(), _inputs(seconds=1e6)
    shift = torch.randn(len(NAMES), generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    other = x.clone()
    other[:, :2] += shift
    assert torch.allclose(network.seen(x), network.seen(other), atol=1e-3)


def test_loudness_says_nothing_of_a_speaker_who_was_never_heard_and_gain_nothing_of_one_who_was() -> None:
    network = _network()
    loud = [NAMES.index(name) for name in RELATIVE]
    unheard = _inputs(seconds=0.0)
    louder = unheard.clone()
    louder[:, 0, loud] += 2.0
    assert torch.allclose(network(unheard), network(louder), atol=1e-5)
    heard = _inputs(seconds=TRUST_SECONDS) / 4
    heard[:, 3] = TRUST_SECONDS
    gained = heard.clone()
    gained[:, :2, loud] += 0.5
    assert torch.allclose(network(heard), network(gained), atol=1e-5)
    shouted = heard.clone()
    shouted[:, 0, loud] += 0.5
    assert not torch.allclose(network(heard), network(shouted), atol=1e-3)


def test_every_speaker_is_held_out_once(prepared: Path) -> None:
    data = recordings(prepared)
    assert data.speakers == (*SPEAKERS["ravdess"], *SPEAKERS["nemo"])
    folds = data.fold()
    for speaker in range(len(data.speakers)):
        assert len(set(folds[data.speaker == speaker])) == 1
    assert {int(f) for f in folds} == set(range(FOLDS))
    held = train.runs(data)
    for k in range(FOLDS):
        assert not set(data.speaker[held[f"fold{k}"]]) & set(data.speaker[~held[f"fold{k}"]])
    assert set(data.corpus[held["from-nemo"]]) == {1}


def test_corpora_count_by_their_weights_and_their_classes_the_same(prepared: Path) -> None:
    data = recordings(prepared)
    weight = train.weights_of(data, np.arange(len(data)))
    assert weight.sum() == pytest.approx(1)
    assert weight[data.corpus == 0].sum() == pytest.approx(2 / 3)
    shares = [weight[(data.corpus == 0) & (data.label == c)].sum() for c in range(len(CLASSES))]
    assert np.allclose(shares, shares[0])


def _windows(data_length: int, seed: int = 0) -> Windows:
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (3, 2, data_length, len(NAMES))).astype(np.float32)
    return Windows(rows, rng.uniform(1, 3, (3, data_length)).astype(np.float32))


def test_baselines_hold_what_came_before_and_never_the_window_itself(prepared: Path) -> None:
    data = recordings(prepared)
    found = _windows(len(data))
    among = data.speaker == 0
    asked = in_order(data, found, among, seed=3)
    for k, row in enumerate(asked.row):
        before = asked.row[:k]
        expected = baseline_of(found.rows[0, 0, before].astype(np.float64), found.seconds[0, before].astype(np.float64))
        assert np.allclose(asked.inputs[k], network_input(found.rows[0, 0, row], expected)[0], atol=1e-3)
    assert (in_order(data, found, among, seed=3, known=False).seconds == 0).all()
    same = after(data, found, among, 3, 1, "same")
    for k, row in enumerate(same.row):
        other = [r for r in np.flatnonzero(among & (data.label == data.label[row])) if r != row]
        assert np.allclose(same.inputs[k, 1], found.rows[0, 0, other[0]], atol=1e-4)


def test_drawn_baselines_are_of_the_same_speaker_and_of_many_lengths(prepared: Path) -> None:
    data = recordings(prepared)
    found = _windows(len(data))
    found.rows[..., 0] = data.speaker  # tells whose it is
    asked = drawn(data, found, np.ones(len(data), bool), np.random.default_rng(0))
    assert len(asked.row) == 6 * len(data)
    with_some = asked.seconds > 0
    assert 0.1 < 1 - with_some.mean() < 0.5
    assert np.allclose(asked.inputs[with_some, 1, 0], data.speaker[asked.row[with_some]], atol=1e-3)


def test_a_recording_without_voiced_speech_is_left_out(prepared: Path) -> None:
    data = recordings(prepared)
    found = _windows(len(data))
    found.rows[:, :, 5] = np.nan
    every = np.ones(len(data), bool)
    assert 5 not in in_order(data, found, every, 1).row
    assert 5 not in drawn(data, found, every, np.random.default_rng(0)).row


def test_calm_is_served_as_neutral() -> None:
    p = np.eye(len(CLASSES))
    assert (served(p).argmax(1) == [0, 1, 2, 3, 4, 5, 6, 0]).all()


def test_a_session_repeats_and_leaves_the_sound_finite_and_in_place() -> None:
    samples = _voice(150, 1.0, 0).astype(np.float32)
    for seed in range(12):
        first, again = (Session(np.random.default_rng(seed))(samples, np.random.default_rng(7)) for _ in range(2))
        assert np.array_equal(first, again)
        assert first.dtype == np.float32
        assert np.isfinite(first).all()
        assert 0.85 < len(first) / len(samples) < 1.15


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.encoder}-{c.bits}")
def test_a_codec_gives_the_sound_back_in_length_and_level(codec: object) -> None:
    samples = _voice(150, 1.0, 0).astype(np.float32)
    back = coded(samples, codec)  # type: ignore[arg-type]
    assert back.shape == samples.shape
    assert back.std() == pytest.approx(samples.std(), rel=0.4)


def test_a_room_keeps_the_direct_sound() -> None:
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    heard = room(click, response(np.random.default_rng(0), 0.5, -6.0))
    assert heard[100] == pytest.approx(1.0, abs=1e-5)
    assert (heard[101:] ** 2).sum() == pytest.approx(10**-0.6, rel=0.01)


def test_a_run_that_was_stopped_goes_on_with_the_networks_that_are_missing(run: Path, prepared: Path) -> None:
    kept, lost = run / "fold0.pt", run / "fold1.pt"
    before = (kept.stat().st_mtime_ns, torch.load(lost, weights_only=True)["network"])
    lost.unlink()
    with pytest.raises(FileNotFoundError, match="train voice-mt"):
        train.load(lost)
    train.main(prepared, run, Options(epochs=1, batch=32))
    assert kept.stat().st_mtime_ns == before[0]
    again = torch.load(lost, weights_only=True)["network"]
    assert all(torch.equal(again[key], value) for key, value in before[1].items())


def test_windows_of_other_recordings_are_refused(run: Path, prepared: Path, tmp_path: Path) -> None:
    found = Windows.load(run / "windows.npz")
    Windows(found.rows[:, :, :-1], found.seconds[:, :-1]).save(tmp_path / "windows.npz")
    with pytest.raises(ModelError, match="other recordings"):
        train.main(prepared, tmp_path)


def test_corpora_of_an_earlier_version_are_to_be_prepared_again(tmp_path: Path) -> None:
    for corpus in EMOTIONS:
        (tmp_path / corpus).mkdir()
        np.savez(tmp_path / corpus / "0.npz", mel=np.zeros((1, 64, 10)))
    with pytest.raises(ModelError, match="prepare ravdess again"):
        recordings(tmp_path)


def test_a_run_is_released_as_a_file_that_computes_what_the_network_computes(run: Path, prepared: Path) -> None:
    data, found = recordings(prepared), Windows.load(run / "windows.npz")
    assert np.isfinite(found.rows).all()
    fit = export.release(run, data, found, run / "again.onnx")
    trust = read_trust(run / "voice-mt.onnx")
    assert trust is not None
    assert (trust.valence, trust.arousal, trust.expression) == pytest.approx(fit.validation, abs=1e-4)
    network = train.load(run / "shipped.pt")
    asked = in_order(data, found, data.speaker == 0, 1)
    got = OpenVinoEngine(run / "voice-mt.onnx", caching=False)({"voice": asked.inputs})
    expected = export.Served(network, fit)(torch.from_numpy(asked.inputs))
    for name, value in zip(("expression", "valence_arousal", "std"), expected, strict=True):
        assert np.allclose(got[name], value.detach().numpy(), atol=5e-3), name
    assert got["expression"].shape == (len(asked.row), len(EXPRESSIONS))
    assert np.allclose(got["expression"].sum(1), 1.0, atol=1e-5)
    assert answers(network, asked).logits.shape == (len(asked.row), OUTPUTS - 2)


def test_the_evidence_page_is_written(run: Path, prepared: Path, tmp_path: Path) -> None:
    tables = evaluate(run / "voice-mt.onnx", prepared, run, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text("utf-8")
    for title in tables:
        assert f"## {title}" in text
    assert "ravdess -> nemo, all that came before: mean recall of 6" in text
    assert (tmp_path / "page-confusions.png").is_file()
