"""Pictures are sent once, what a replica computes on is what the session gave, and a replica that lacks one says so."""

from dataclasses import replace

import numpy as np
import pytest

from engines.engine import Arrays
from service.capture.media import SAMPLE_RATE, Sound
from service.perception.mel import MelStream, log_mel
from service.pool.columns import Shifted
from service.pool.jpeg import Compressed
from service.pool.pictures import FORGET, KEPT, Kept, Named, Sent

PICTURES = np.random.default_rng(0).integers(0, 256, (200, 112, 112, 4), np.uint8)


def clip(last: int, faces: int = 1) -> Arrays:
    """Return a request of TSAV that ends with picture `last` of each face."""
    pictures = np.stack([PICTURES[50 * face + last - 7 : 50 * face + last + 1] for face in range(faces)])
    return {"clip": pictures, "sound": np.zeros((0, 1, 64, 1001), np.float32)}


def sent_bytes(packed: dict[str, object]) -> int:
    named = packed["clip"]
    assert isinstance(named, Named)
    return sum(picture.nbytes for picture in named.new.values() if isinstance(picture, np.ndarray))


def test_each_request_after_the_first_brings_its_newest_picture_alone() -> None:
    sent, kept = Sent("a"), Kept()
    sizes = []
    for last in range(8, 40):
        packed = sent.packed(clip(last, faces=2), last)
        sizes.append(sent_bytes(packed) // PICTURES[0].nbytes)
        found = kept.unpacked("session", packed, last)
        assert found is not None
        for name, values in clip(last, faces=2).items():
            np.testing.assert_array_equal(found[name], values)
    assert sizes == [16, *[2] * 31]


def test_both_sides_forget_the_same_pictures() -> None:
    sent, kept = Sent("a"), Kept()
    for last in [8, 30, 20, 40, 8, 30, 9, 41, 8]:
        assert kept.unpacked("session", sent.packed(clip(last), 0.0), 0.0) is not None
    assert list(sent.names) == list(kept._sessions["session"])
    assert len(sent.names) <= KEPT * 8


def test_sessions_do_not_share_pictures_and_are_forgotten() -> None:
    sent, kept = Sent("a"), Kept()
    kept.unpacked("one", sent.packed(clip(8), 0.0), 0.0)
    assert kept.unpacked("two", sent.packed(clip(9), 0.2), 0.2) is None
    assert kept.unpacked("one", replace(sent).packed(clip(9), FORGET + 1), FORGET + 1) is None


def test_other_arrays_are_sent_as_they_are() -> None:
    face = np.zeros((2, 96, 96, 3), np.uint8)
    assert Sent("a").packed({"face": face}, 0.0)["face"] is face


def windows(seconds: float, faces: int = 1) -> Arrays:
    """Return a request with the ten seconds of a growing noise before that moment, and no picture."""
    return {"sound": np.repeat(STREAM.window(seconds)[None, None], faces, axis=0)}


STREAM = MelStream()
NOISE = np.random.default_rng(1).standard_normal(11 * SAMPLE_RATE).astype(np.float32)
STREAM.push(Sound(NOISE * np.linspace(0.0, 1.0, len(NOISE), dtype=np.float32) ** 8, 0.0))


def test_sound_goes_as_its_new_columns_and_arrives_bit_for_bit() -> None:
    sent, kept = Sent("a"), Kept()
    counts = []
    for half in range(2, 22):  # the loudest cell changes, and with it the floor of the window
        given = windows(half / 2, faces=1 + half % 2)
        packed = sent.packed(given, half / 2)
        shifted = packed["sound"]
        assert isinstance(shifted, Shifted)
        counts.append(len(shifted.at))
        found = kept.unpacked("session", packed, half / 2)
        assert found is not None
        np.testing.assert_array_equal(found["sound"], given["sound"])
    assert counts[0] == 1001
    assert min(counts[1:]) < 60
    silent = sent.packed({"sound": np.repeat(log_mel(np.zeros(0, np.float32))[None, None], 2, axis=0)}, 12.0)
    assert kept.unpacked("session", silent, 12.0) is not None
    again = sent.packed({"sound": log_mel(np.zeros(0, np.float32))[None, None]}, 12.5)["sound"]
    assert isinstance(again, Shifted)
    assert len(again.at) == 0


@pytest.mark.parametrize(
    ("before", "given"), [(clip(8), clip(9)), (windows(5.0), windows(5.5))], ids=["pictures", "sound"]
)
def test_a_replica_that_lacks_what_came_before_says_so_and_takes_all_of_it(before: Arrays, given: Arrays) -> None:
    sent = Sent("a")
    sent.packed(before, 0.0)
    restarted = Kept()
    assert restarted.unpacked("session", sent.packed(given, 0.5), 0.5) is None
    found = restarted.unpacked("session", Sent("a").packed(given, 0.5), 0.5)
    assert found is not None
    assert found.keys() == given.keys()
    for name, values in given.items():
        np.testing.assert_array_equal(found[name], values)


def test_pictures_go_as_jpeg_where_asked_for_and_masks_without_loss() -> None:
    ramp = np.linspace(0, 255, 112, dtype=np.uint8)
    picture = np.stack([ramp[None].repeat(112, 0), ramp[:, None].repeat(112, 1), ramp[None].repeat(112, 0)], axis=-1)
    masked = np.concatenate([picture, (picture[..., :1] > 99).astype(np.uint8) * 255], axis=-1)
    sent, kept = Sent("a", jpeg=95), Kept()
    given = {"clip": masked[None, None].repeat(8, axis=1), "face": picture[None]}
    packed = sent.packed(given, 0.0)
    assert isinstance(packed["face"], Compressed)
    assert len(packed["face"].jpegs[0]) < picture.nbytes / 4
    found = kept.unpacked("session", packed, 0.0)
    assert found is not None
    for name, values in given.items():
        assert np.abs(found[name][..., :3].astype(int) - values[..., :3]).max() < 10
    np.testing.assert_array_equal(found["clip"][..., 3], given["clip"][..., 3])
    again = kept.unpacked("session", sent.packed(given, 0.2), 0.2)  # by name
    assert again is not None
    np.testing.assert_array_equal(again["clip"], found["clip"])
