"""Voice activity: speech is told from silence and steady noise at any gain, causally."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import no_voice
from helpers.sounds import Samples, noise, voice

from service.adapters.voice import MIN_SPEECH
from service.capture.media import SAMPLE_RATE, Sound
from service.perception.mel import MelStream
from service.perception.speech import AudioStatus, SpeechDetector


def listen(samples: Samples, step: int = 1470, t: float = 0.0) -> list[tuple[float, AudioStatus]]:
    mel = MelStream()
    detector = SpeechDetector(mel)
    heard = []
    for at in range(0, len(samples) - step + 1, step):
        mel.push(Sound(samples[at : at + step], t + at / SAMPLE_RATE))
        now = t + (at + step) / SAMPLE_RATE
        heard.append((now, detector.status(now)))
    return heard


def speaking(heard: list[tuple[float, AudioStatus]], start: float, stop: float) -> float:
    """Share of the answers between two times that say "speech"."""
    return float(np.mean([status.status == "speech" for now, status in heard if start < now <= stop]))


@pytest.mark.parametrize("gain", [0.03, 1.0, 8.0])
def test_speech_between_pauses_is_found_at_any_gain(gain: float) -> None:
    samples = np.concatenate([noise(2, 2e-4), voice(3) + noise(3, 2e-4), noise(2, 2e-4)])
    heard = listen(np.clip(gain * samples, -1, 1).astype(np.float32))
    assert speaking(heard, 0.0, 2.0) == 0
    assert speaking(heard, 2.3, 5.0) > 0.9
    assert speaking(heard, 5.6, 7.0) == 0


@pytest.mark.parametrize("amplitude", [0.0, 0.001, 0.1])
def test_silence_and_steady_noise_are_not_speech(amplitude: float) -> None:
    assert speaking(listen(noise(5, amplitude)), 0, 5) == 0


def test_a_steady_tone_is_not_speech() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)
    assert speaking(listen(tone), 0, 4) == 0


def test_a_fan_that_is_switched_on_is_forgotten_within_a_second() -> None:
    heard = listen(np.concatenate([noise(2, 3e-4), noise(4, 0.05)]))
    assert speaking(heard, 3.0, 6.0) == 0


def test_speech_is_heard_over_a_fan() -> None:
    samples = noise(6, 0.004)
    samples[2 * SAMPLE_RATE : 5 * SAMPLE_RATE] += voice(3)
    heard = listen(samples)
    assert speaking(heard, 0.0, 2.0) == 0
    assert speaking(heard, 2.4, 5.0) > 0.8


@pytest.mark.parametrize("amplitude", [2e-4, 0.003, 0.05])
@pytest.mark.parametrize("gap", [0.02, 0.05, 0.1])
def test_a_gap_in_steady_noise_is_not_speech(amplitude: float, gap: float) -> None:
    """A gap that was lost on the way is filled with silence."""
    mel = MelStream()
    detector = SpeechDetector(mel)
    samples, missing, step = noise(6, amplitude), round(gap * SAMPLE_RATE), 441
    for at in range(0, len(samples) - step + 1, step):
        if at % SAMPLE_RATE >= missing or at < SAMPLE_RATE:
            mel.push(Sound(samples[at : at + step], at / SAMPLE_RATE))
        assert detector.status((at + step) / SAMPLE_RATE).status != "speech"


@pytest.mark.parametrize("kind", no_voice.KINDS)
def test_music_tones_noise_breath_and_knocks_are_not_enough_speech_to_read(kind: str) -> None:
    """Twenty sounds of each kind; a voice is read from `MIN_SPEECH` seconds of speech within 3 s."""
    longest = [max(status.speech_s for _, status in listen(one, 4410)) for one in no_voice.make(kind, 20, seed=7)]
    assert max(longest) < MIN_SPEECH
    assert np.mean(longest) < 0.1


def test_speech_is_counted_in_seconds_of_the_last_three() -> None:
    heard = dict(listen(np.concatenate([noise(1, 2e-4), voice(6) + noise(6, 2e-4), noise(4, 2e-4)])))
    counted = {round(now, 2): status.speech_s for now, status in heard.items()}
    assert counted[1.0] == 0
    assert 0.5 < counted[2.0] <= 1.0
    assert 2.0 < counted[7.0] <= 3.0
    assert counted[10.5] == 0


def test_without_sound_it_says_so() -> None:
    assert SpeechDetector(MelStream()).status(3.0) == AudioStatus("no_sound", None, None)


def test_sound_that_stops_is_no_sound_after_half_a_second() -> None:
    mel = MelStream()
    detector = SpeechDetector(mel)
    mel.push(Sound(voice(2), 0.0))
    assert detector.status(2.0).age_ms == 0
    assert detector.status(2.3).age_ms == 300
    assert detector.status(2.6).status == "no_sound"
    assert detector.status(2.6).level_db is None


def test_the_level_is_that_of_the_last_tenth_of_a_second() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    sine[SAMPLE_RATE:] *= 0.1
    levels = {round(now, 1): status.level_db for now, status in listen(sine, 4410)}
    assert levels[1.0] == pytest.approx(-3.0, abs=0.2)
    assert levels[2.0] == pytest.approx(-23.0, abs=0.2)


def test_sound_after_t_and_the_times_of_asking_change_nothing() -> None:
    samples = np.concatenate([noise(1, 2e-4), voice(2), noise(1, 2e-4)])
    live = dict(listen(samples, 441))
    ahead = MelStream()
    ahead.push(Sound(samples, 0.0))
    detector = SpeechDetector(ahead)
    times = sorted(live)[::7]
    assert [detector.status(t) for t in times] == [live[t] for t in times]


def test_a_clip_of_real_speech_is_speech_where_it_is_loud(shared: Path) -> None:
    """Half a second of the room first: two actors, two emotions."""
    for name in ("03-01-05-02-01-01-03", "03-01-04-01-02-01-14"):
        with av.open(str(shared / "data" / "ravdess" / f"{name}.flac")) as container:
            resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
            frames = [g for f in container.decode(audio=0) for g in resampler.resample(f)] + resampler.resample(None)
        clip = np.concatenate([g.to_ndarray()[0] for g in frames]).astype(np.float32)
        heard = listen(np.concatenate([noise(1, 1e-4), clip]))
        power = np.convolve(clip**2, np.ones(4410) / 4410, "same")
        loud = np.flatnonzero(power > power.max() / 100) / SAMPLE_RATE + 1
        assert speaking(heard, 0, 1) == 0
        assert speaking(heard, loud[0] + 0.3, loud[-1]) > 0.85


def test_the_answer_changes_at_most_a_few_times_a_sentence() -> None:
    heard = listen(np.concatenate([noise(1, 2e-4), voice(6), noise(1, 2e-4)]))
    changes = sum(a[1].status != b[1].status for a, b in pairwise(heard))
    assert changes <= 4
