"""The sound branch, live: what weighs the voice, when it is read, whose it is, and faces alone where it is missing."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.faulty_engine import FAULTS, Compiler, until
from helpers.sounds import noise, voice

from engines import weights
from engines.engine import Arrays
from engines.errors import EngineError
from models.files import sha256
from models.voice_mt.baseline import ROWS
from models.voice_mt.descriptors import describe
from models.voice_mt.functionals import NAMES as FUNCTIONALS
from models.voice_mt.functionals import WINDOW, functionals
from service import metrics
from service.adapters.adapter import Estimate
from service.adapters.voice import HOLD, MIN_SPEECH, PERIOD, Trust, Voice, VoiceReader
from service.aggregation.fusion import Fusion, freshness, fuse, load_sound_branch, shares
from service.analyze import events_of_recording
from service.capture.demo import demo_voice
from service.capture.media import SAMPLE_RATE, Frame, Sound
from service.capture.open import open_source
from service.events import AffectEvent
from service.perception.mel import MelStream
from service.perception.silero import probabilities
from service.perception.speech import SpeechDetector
from service.perception.wideband import wideband
from service.pipeline import Pipeline
from service.runtime import Runtime, RuntimeOptions, load_runtime

EVEN = Trust(0.5, 0.5, 0.5)
HAPPY, ANGRY = np.eye(7, dtype=np.float32)[[4, 1]]
FACE = Estimate(track=3, t=5.0, valence=0.6, arousal=0.2, std=(0.1, 0.1), expression=HAPPY, aus={"AU12": 0.9})
SPOKEN = Voice(t=5.0, valence=-0.2, arousal=0.6, std=(0.3, 0.3), expression=ANGRY, no_speech=0.0)


def _fused(t: float, face: Estimate, spoken: Voice, of_face: Trust = EVEN, of_voice: Trust = EVEN) -> Estimate:
    return fuse(face, spoken, shares(freshness(t, spoken), of_face, of_voice))


def test_weights_are_proportional_to_how_well_each_did() -> None:
    of_face, of_voice = Trust(0.9, 0.6, 0.6), Trust(0.3, 0.6, 0.2)
    fused = _fused(5.0, FACE, SPOKEN, of_face, of_voice)
    assert fused.valence == pytest.approx(0.75 * 0.6 + 0.25 * -0.2)
    assert fused.arousal == pytest.approx(0.5 * 0.2 + 0.5 * 0.6)
    assert fused.expression == pytest.approx(0.75 * HAPPY + 0.25 * ANGRY)
    assert fused.raw == (0.6, 0.2)
    assert fused.aus == FACE.aus


def test_a_branch_that_agreed_with_nothing_says_nothing() -> None:
    assert _fused(5.0, FACE, SPOKEN, EVEN, Trust(-0.1, 0.0, 0.0)).valence == FACE.valence


def test_the_deviation_grows_where_the_two_disagree_and_not_where_they_agree() -> None:
    apart = _fused(5.0, FACE, SPOKEN)
    assert apart.std is not None
    assert apart.std[0] == pytest.approx(np.sqrt((0.1**2 + 0.3**2) / 2 + 0.4**2))
    alike = _fused(5.0, FACE, replace(SPOKEN, valence=0.6, std=(0.1, 0.1)))
    assert alike.std is not None
    assert alike.std[0] == pytest.approx(0.1)


def test_an_older_and_a_doubtful_voice_weigh_less() -> None:
    def share(t: float, spoken: Voice) -> float:
        fused = _fused(t, FACE, spoken)
        assert fused.valence is not None
        return (fused.valence - 0.6) / -0.8

    assert share(5.0, SPOKEN) == pytest.approx(0.5)
    assert share(5.5, SPOKEN) == pytest.approx(1 / 3)
    assert share(5.0 + HOLD, SPOKEN) == 0
    assert share(5.0, replace(SPOKEN, no_speech=0.4)) == pytest.approx(0.6 / 1.6)


def test_what_the_face_does_not_give_stays_unknown() -> None:
    fused = _fused(5.0, replace(FACE, arousal=None, std=None, expression=None), SPOKEN)
    assert (fused.arousal, fused.std, fused.expression) == (None, None, None)
    assert fused.valence == pytest.approx(0.2)


class _Listener:
    """A network that answers anger with the mean pitch of the window as valence, and keeps what it was asked."""

    def __init__(self) -> None:
        self.inputs: list[np.ndarray] = []
        self.fails = False

    def __call__(self, inputs: Arrays) -> tuple[Arrays, float]:
        if self.fails:
            raise EngineError("broken")
        voice = inputs["voice"]
        assert voice.shape == (1, ROWS, len(FUNCTIONALS))
        self.inputs.append(np.array(voice[0]))
        return {
            "expression": ANGRY[None],
            "valence_arousal": np.array([[voice[0, 0, 0] / 100, 0.5]], np.float32),
            "std": np.array([[0.2, 0.3]], np.float32),
        }, 0.0


def _listen(samples: np.ndarray, network: _Listener, piece: int = 1470, every: float = 1 / 30) -> list[Voice | None]:
    """What is known at each frame's time, however the sound came in pieces."""
    mel = MelStream()
    detector, reader = SpeechDetector(mel), VoiceReader(network)
    heard: list[Voice | None] = []
    due = every
    for at in range(0, len(samples), piece):
        mel.push(Sound(samples[at : at + piece], at / SAMPLE_RATE))
        while mel.end >= due:
            heard.append(reader(due, detector.status(due), detector))
            due += every
    return heard


SENTENCE = np.concatenate([noise(1, 2e-4), voice(3) + noise(3, 2e-4), noise(3, 2e-4)])


def test_the_voice_is_read_at_a_bounded_rate_while_there_is_speech_and_for_a_while_after() -> None:
    network = _Listener()
    heard = _listen(SENTENCE, network)
    assert 5 <= len(network.inputs) <= 3.6 / PERIOD
    assert not any(heard[: round((1 + MIN_SPEECH) * 30)])
    assert all(heard[round(2.5 * 30) : 4 * 30])
    assert not any(heard[round((4.4 + HOLD) * 30) :])


def test_future_sound_changes_nothing() -> None:
    other = SENTENCE.copy()
    other[3 * SAMPLE_RATE :] = noise(4, 0.3)
    first, second = (_listen(samples, _Listener()) for samples in (SENTENCE, other))
    before = 3 * 30 - 1
    assert any(first[:before])
    for a, b in zip(first[:before], second[:before], strict=True):
        assert (a and (a.t, a.valence)) == (b and (b.t, b.valence))


def test_the_pieces_in_which_sound_comes_change_nothing() -> None:
    first, second = _Listener(), _Listener()
    _listen(SENTENCE, first, piece=441)
    _listen(SENTENCE, second, piece=22_050)
    assert first.inputs
    assert np.array_equal(np.stack(first.inputs), np.stack(second.inputs))


def test_the_live_path_reads_what_training_reads() -> None:
    """The functionals of the last window are those of the recording read as a whole, as for training."""
    network = _Listener()
    heard = _listen(SENTENCE, network)
    sound = wideband(SENTENCE)
    frames = describe(sound, probabilities(sound))
    last = next(one for one in reversed(heard) if one is not None)
    end = round(last.t * 100)
    assert np.allclose(network.inputs[-1][0], functionals(frames[end - WINDOW : end]), atol=1e-2)


def test_the_baseline_grows_with_speech_and_leaves_the_present_window_out() -> None:
    network = _Listener()
    spoken = np.concatenate([noise(1, 2e-4), voice(9) + noise(9, 2e-4)])
    heard = [one for one in _listen(spoken, network) if one is not None]
    seconds = [one.baseline for one in heard]
    assert seconds == sorted(seconds)
    assert seconds[0] == 0
    assert heard[0].baseline_t is None
    assert 3.0 < seconds[-1] < 9.5 - 3.0
    assert heard[-1].baseline_t is not None
    assert heard[-1].t - heard[-1].baseline_t >= 3.0 - 1e-6
    assert np.allclose(network.inputs[-1][3], seconds[-1])
    assert (network.inputs[0][1:] == 0).all()


def test_an_engine_that_fails_leaves_the_last_reading_until_it_is_old() -> None:
    network = _Listener()
    mel = MelStream()
    mel.push(Sound(SENTENCE[: 3 * SAMPLE_RATE], 0.0))
    detector = SpeechDetector(mel)
    status = replace(detector.status(3.0), status="speech", speech_s=2.0)
    reader = VoiceReader(network)
    assert reader(3.0, status, detector) is not None
    network.fails = True
    assert reader(3.0 + PERIOD, status, detector) is not None
    assert reader(3.1 + HOLD, status, detector) is None


def _fusion(weight: float = 1.0) -> Fusion:
    return Fusion(lambda t, audio, heard: replace(SPOKEN, t=t), EVEN, EVEN, weight)  # type: ignore[arg-type]


def test_the_voice_goes_into_the_only_face_and_with_several_into_none() -> None:
    fusion = _fusion()
    one, two = SimpleNamespace(track=3), SimpleNamespace(track=4)
    fusion.hear(5.0, None, None)  # type: ignore[arg-type]
    assert fusion(5.0, [one], {3: FACE})[3].valence == pytest.approx(0.2)  # type: ignore[list-item]
    assert (fusion.entry(5.0) or {})["fused_into"] == 3
    fusion.hear(5.1, None, None)  # type: ignore[arg-type]
    both = {3: FACE, 4: replace(FACE, track=4)}
    assert fusion(5.1, [one, two], both) == both  # type: ignore[list-item]
    assert (fusion.entry(5.1) or {})["fused_into"] is None
    assert fusion(5.1, [one, two], {3: FACE}) == {3: FACE}  # type: ignore[list-item]


@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.5), (0.5, 1 / 3), (0.0, 0.0)])
def test_the_share_of_the_voice_is_the_operators_and_the_event_says_what_it_was(weight: float, share: float) -> None:
    fusion = _fusion(weight)
    fusion.hear(5.0, None, None)  # type: ignore[arg-type]
    fused = fusion(5.0, [SimpleNamespace(track=3)], {3: FACE})[3]  # type: ignore[list-item]
    assert fused.valence == pytest.approx((1 - share) * 0.6 + share * -0.2)
    entry = fusion.entry(5.0) or {}
    assert entry["share"] == {name: pytest.approx(share, abs=1e-4) for name in ("valence", "arousal", "expression")}
    assert entry["fused_into"] == (3 if weight else None)
    assert entry["valence"] == -0.2


def _timeless(data: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in ("captured_at", "timing_ms", "seq", "session", "state")}


def _sound_events(pipeline: Pipeline, samples: np.ndarray, piece: int = 4410) -> list[dict[str, Any]]:
    pieces = [Sound(samples[i : i + piece], i / SAMPLE_RATE) for i in range(0, len(samples), piece)]
    return [_timeless(event.data) for sound in pieces for event in pipeline.sound(sound)]


def test_raw_is_the_face_and_the_event_says_what_it_heard(runtime: Runtime) -> None:
    frame = next(i for i in open_source("demo:", realtime=False).read(threading.Event()) if isinstance(i, Frame))
    alone, both = runtime.pipeline("a"), runtime.pipeline("b")
    alone._fusion, both._fusion = None, _fusion()
    one, other = (pipeline.frame(frame).data for pipeline in (alone, both))
    assert other["faces"][0]["raw"] == one["faces"][0]["raw"]
    assert other["faces"][0]["valence"] != one["faces"][0]["valence"]
    assert other["audio"]["voice"]["fused_into"] == other["faces"][0]["track"]
    assert other["audio"]["voice"]["expression"]["label"] == "anger"
    assert "voice" not in one["audio"]
    for data in (one, other):
        AffectEvent.model_validate({**data, "t": 0.0})


def test_the_sound_of_the_demo_is_read_and_neutral(runtime: Runtime) -> None:
    events = _sound_events(runtime.pipeline("x"), np.tile(demo_voice(), 3))
    read = [event["audio"]["voice"] for event in events if event["audio"]["voice"]]
    assert len(read) > 50
    assert np.mean([one["expression"]["label"] == "neutral" for one in read]) > 0.9
    assert abs(np.mean([one["valence"] for one in read])) < 0.2
    assert abs(np.mean([one["arousal"] for one in read])) < 0.2


@pytest.mark.parametrize("kind", ["tone", "noise", "silence"])
def test_what_is_no_voice_has_no_reading(runtime: Runtime, kind: str) -> None:
    seconds = 4 * SAMPLE_RATE
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(seconds) / SAMPLE_RATE)
    samples = {"tone": tone, "noise": noise(4, 0.05), "silence": np.zeros(seconds)}[kind].astype(np.float32)
    events = _sound_events(runtime.pipeline("x"), samples)
    assert len(events) >= 35
    assert all(event["audio"]["voice"] is None for event in events)


def test_live_equals_replay_however_the_sound_comes_in_pieces(runtime: Runtime) -> None:
    truth = _sound_events(runtime.pipeline("x"), SENTENCE, 441)
    assert _sound_events(runtime.pipeline("x"), SENTENCE, 11_025) == truth


def test_the_operator_can_switch_it_off() -> None:
    silent = load_runtime(RuntimeOptions(voice=False))
    try:
        assert silent.info["missing"] == ["sound"]
        event = _sound_events(silent.pipeline("x"), SENTENCE)[-1]
        assert "voice" not in event["audio"]
    finally:
        silent.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_voice_engine_that_fails_is_tried_again_and_faces_are_read_meanwhile(runtime: Runtime, fault: str) -> None:
    branch = runtime._sound
    assert branch is not None
    compiler = Compiler(branch.loaded, fp32=fault)
    broken = replace(branch, loaded=compiler("openvino:fp32"), reload=compiler)
    made = Runtime(
        runtime.loaded, runtime.networks, RuntimeOptions(max_faces=1), sound=broken,
        hung_after=0.5 if fault == "hangs" else 60.0,
        reload=lambda name: pytest.fail("the face's engine was replaced"),
    )  # fmt: skip
    assert made._voice is not None
    made._voice._wait = 0.01
    gauge = metrics.ENGINE_INFO.labels("voice-mt", branch.loaded.weights.version, "openvino", "fp32")
    try:
        compiler.allowed.clear()  # no other engine is compiled yet
        events = _sound_events(made.pipeline("x"), SENTENCE)
        assert events[0]["model"]["voice"] == branch.loaded.weights.version
        assert events[-1]["model"]["missing"] == ["sound"]
        assert "voice" not in events[-1]["model"]
        assert not any(event["audio"]["voice"] for event in events)
        made._scheduler._hung_after = 60.0  # from now on no call hangs
        assert gauge._value.get() == 0
        assert made.problems() == [], "the service is ready: faces are read"
        frame = next(i for i in open_source("demo:", realtime=False).read(threading.Event()) if isinstance(i, Frame))
        seen = made.pipeline("y").frame(frame).data
        assert seen["faces"][0]["valence"] is not None
        AffectEvent.model_validate(seen)
        for engine in compiler.engines:
            engine.mended.set()
        compiler.faults = {}
        compiler.allowed.set()
        until(lambda: "voice" in made.info)
        assert "missing" not in made.info
        assert compiler.made == ["openvino:fp32"] * 2
        assert gauge._value.get() == 1
        assert any(event["audio"]["voice"] for event in _sound_events(made.pipeline("z"), SENTENCE))
    finally:
        compiler.allowed.set()
        for engine in compiler.engines:
            engine.mended.set()
        made.close()
    until(lambda: not made.lingers)


def test_closing_ends_the_search_for_a_voice_engine(runtime: Runtime) -> None:
    branch = runtime._sound
    assert branch is not None
    compiler = Compiler(branch.loaded, fp32="raises")
    broken = replace(branch, loaded=compiler("openvino:fp32"), reload=compiler)
    made = Runtime(runtime.loaded, runtime.networks, RuntimeOptions(max_faces=1), sound=broken)
    assert made._voice is not None
    made._voice._wait = 60.0
    _sound_events(made.pipeline("x"), SENTENCE)
    until(lambda: made.lingers)  # it waits for a minute before it tries again
    made.close()
    until(lambda: not made.lingers)
    assert compiler.made == ["openvino:fp32"]


def test_an_altered_file_is_named_with_both_hashes_and_faces_are_served_alone(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = weights.entry("voice-mt")
    altered = tmp_path / entry.file
    altered.write_bytes(entry.location.read_bytes()[:-1] + b"x")
    found = replace(entry, sources=(replace(entry.sources[0], path=str(altered)),))
    monkeypatch.setitem(weights._manifest(weights.MANIFEST), "voice-mt", found)
    assert load_sound_branch(runtime.loaded) is None
    assert entry.sha256 in caplog.text
    assert sha256(altered) in caplog.text


def test_an_unheard_actor_is_read_through_the_live_path(runtime: Runtime, shared: Path) -> None:
    """Actor 1 was held out; of the 16 files of strong anger and strong sadness most are told apart."""
    right = []
    for emotion, label in (("05", "anger"), ("04", "sadness")):
        for path in sorted((shared / "data" / "ravdess").glob(f"03-01-{emotion}-02-*-01.flac")):
            source = open_source(f"file:{path}", realtime=False)
            events = [e.data["audio"] for e in events_of_recording(runtime, source, stop=threading.Event())]
            read = [audio["voice"]["expression"]["probabilities"] for audio in events if audio.get("voice")]
            assert read, path.name
            right.append(max((label, "sadness" if label == "anger" else "anger"), key=lambda k: read[-1][k]) == label)
    assert np.mean(right) >= 0.7
