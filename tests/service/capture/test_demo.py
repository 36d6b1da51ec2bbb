"""The demo: a face that moves and a voice that pauses, the same every time."""

import threading
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from engines.errors import UserError
from service.capture.demo import HEIGHT, RATE, WIDTH, DemoSource, demo_voice
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "portrait.png"
    cv2.imwrite(str(path), data.astronaut()[:, :, ::-1])
    return path


@pytest.fixture(scope="module")
def items(picture: Path) -> list[Item]:
    return list(DemoSource(picture, realtime=False, seconds=2.0).read(threading.Event()))


def images(items: list[Item]) -> list[NDArray[np.uint8]]:
    return [item.image for item in items if isinstance(item, Frame)]


def test_it_shows_thirty_frames_a_second(items: list[Item]) -> None:
    frames = [item for item in items if isinstance(item, Frame)]
    assert [frame.t for frame in frames] == [n / RATE for n in range(60)]
    assert all(frame.image.shape == (HEIGHT, WIDTH, 3) for frame in frames)


def test_it_is_the_same_every_time(picture: Path, items: list[Item]) -> None:
    again = list(DemoSource(picture, realtime=False, seconds=2.0).read(threading.Event()))
    for one, other in zip(images(items), images(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_moves_and_no_frame_is_written_to_later(items: list[Item]) -> None:
    shown = images(items)
    assert all(np.abs(one.astype(int) - other).mean() > 0.1 for one, other in pairwise(shown))
    assert not np.shares_memory(shown[0], shown[1])


def test_its_colours_are_not_swapped(items: list[Item]) -> None:
    face = images(items)[0][HEIGHT // 2 - 40 : HEIGHT // 2 + 40, WIDTH // 2 - 40 : WIDTH // 2 + 40]
    red, _, blue = face.reshape(-1, 3).mean(axis=0)
    assert red > blue + 20  # skin


def test_sound_reaches_up_to_each_frame_without_a_gap(items: list[Item]) -> None:
    heard = 0
    for item in items:
        if isinstance(item, Sound):
            assert item.t == pytest.approx(heard / SAMPLE_RATE)
            heard += len(item.samples)
        elif isinstance(item, Frame):
            assert heard / SAMPLE_RATE == pytest.approx(item.t)


def test_the_voice_speaks_and_pauses() -> None:
    voice = demo_voice()
    assert voice.dtype == np.float32
    seconds = np.abs(voice).reshape(-1, SAMPLE_RATE).max(axis=1)
    assert seconds[:4].min() > 0.3
    assert seconds[4:].max() == 0.0
    assert np.abs(voice).max() <= 1.0


def test_states_frame_the_rest(items: list[Item]) -> None:
    assert isinstance(items[0], StateChange)
    assert items[0].state is State.LIVE
    assert isinstance(items[-1], StateChange)
    assert items[-1].state is State.ENDED


def test_a_portrait_that_is_no_picture_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(UserError, match="is no picture"):
        DemoSource(tmp_path / "x.png", realtime=False)
