"""What networks read of sound for a frame ends, to the sample, where the frame is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.networks import spectrogram
from models.training import inputs
from service.adapters.vgg import SoundPictures
from service.capture.media import SAMPLE_RATE, Sound
from service.perception.mel import MelStream, mel_power

SECONDS = 13.0
NOISE = np.random.default_rng(0)
SAMPLES = NOISE.normal(0, 0.1, round(SECONDS * SAMPLE_RATE)).astype(np.float32)

READERS = {
    "TSAV, the last 10 s": lambda samples, t: inputs.sound_window(mel_power(samples), t, "past10"),
    "TSAV, the last 5 s": lambda samples, t: inputs.sound_window(mel_power(samples), t, "truncate"),
    "A/V-MT-VGG-GRU": lambda samples, t: inputs.sound_picture(spectrogram.power(samples), t),
}


def disturbed(after: int) -> np.ndarray:
    """The sound with everything from sample `after` on replaced by something much louder."""
    samples = SAMPLES.copy()
    samples[after:] = NOISE.normal(0, 1, len(samples) - after)
    return samples


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=8, deadline=None)
@given(t=st.floats(0.05, SECONDS - 0.05))
def test_a_trained_network_hears_nothing_at_or_after_its_frame(reader, t):
    now = int(t * SAMPLE_RATE + 1e-4)
    read = READERS[reader]
    np.testing.assert_array_equal(read(disturbed(now), t), read(SAMPLES, t))
    back = max(now - 3 * SAMPLE_RATE // 100, 0)  # one step of the slower columns, 22 ms, and some samples
    assert (read(disturbed(back), t) != read(SAMPLES, t)).any(), "but what is before it"


@pytest.mark.parametrize("mode", ["past10", "truncate", "delayed", "picture"])
@settings(max_examples=8, deadline=None)
@given(t=st.floats(0.05, SECONDS - 0.05), later=st.floats(0.0, 1.0))
def test_a_live_network_hears_nothing_at_or_after_its_frame(mode, t, later):
    """Whatever has come in already, when it is asked, of what follows."""
    now = int(t * SAMPLE_RATE + 1e-4)

    def heard(samples):
        mel = MelStream()
        mel.push(Sound(samples[: now + round(later * SAMPLE_RATE)], 0.0))
        return SoundPictures().before(mel, t) if mode == "picture" else mel.window(t, mode)

    np.testing.assert_array_equal(heard(disturbed(now)), heard(SAMPLES))
