"""Which picture and which sound of a file are used."""

import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import beep, write_clip
from helpers.encode import write_pictures, write_tracks

from models.errors import UserError
from service.capture import limits
from service.capture.media import Frame, Item, Sound, StateChange
from service.capture.open import open_source


def items_of(path: Path) -> list[Item]:
    return list(open_source(str(path), realtime=False).read(threading.Event()))


def loudest(items: list[Item]) -> float:
    return max(float(np.abs(item.samples).max()) for item in items if isinstance(item, Sound))


@pytest.mark.parametrize("default", [0, 1, 2])
@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_the_sound_marked_as_default_is_used(tmp_path: Path, default: int, name: str) -> None:
    tone = np.sin(np.arange(16_000) * 0.3).astype(np.float32)
    sounds = [tone * level for level in (0.1, 0.4, 0.8)]
    items = items_of(write_tracks(tmp_path / name, sounds=sounds, default=default))
    assert loudest(items) == pytest.approx((0.1, 0.4, 0.8)[default], rel=0.15)


@pytest.mark.parametrize("default", [0, 1])
def test_the_picture_marked_as_default_is_used(tmp_path: Path, default: int) -> None:
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (40, 200)]
    items = items_of(write_tracks(tmp_path / "a.mkv", sounds=[], pictures=pictures, default=default))
    first = next(item for item in items if isinstance(item, Frame))
    assert first.image.mean() == pytest.approx((40, 200)[default], abs=2)


def test_sound_at_an_impossible_rate_is_left_out(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "voice.wav", size=None, sound=beep(1.0, at=0.5), sound_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = (1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match="1 Hz is not between"):
        open_source(str(path))


def test_a_film_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pictures(tmp_path / "a.mkv", [np.zeros((200, 300, 3), np.uint8)] * 2)
    assert items_of(path)
    monkeypatch.setenv(limits.VARIABLE, "0.05")
    with pytest.raises(UserError, match=r"300x200 pixels are more than 0\.05 million"):
        open_source(str(path))


def test_a_limit_that_is_no_number_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("many", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(limits.VARIABLE, text)
        with pytest.raises(UserError, match="not a number above 0"):
            limits.max_pixels()


def test_the_detail_names_what_is_used(tmp_path: Path) -> None:
    items = items_of(write_clip(tmp_path / "a.mkv", sound=beep(2.0, at=1.0)))
    assert isinstance(items[0], StateChange)
    assert items[0].detail == "h264 160x90 at 25 frames/s, aac 48000 Hz"
