"""A change of the picture's size: at one shape everything is scaled and nobody is lost; another shape begins anew."""

import cv2
import numpy as np
import pytest
from helpers.faces import Picture, centre, head, networks, place, room, watch

from service.adapters.frame_features import _Person
from service.capture.media import Frame
from service.perception.body import Region
from service.perception.perceive import Perception
from service.perception.picture_size import scale_between


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ((640, 360), (960, 540), True),
        ((640, 360), (426, 240), True),
        ((1280, 720), (320, 184), True),  # whole blocks of 8 pixels
        ((640, 360), (640, 480), False),
        ((640, 480), (480, 640), False),
        ((1280, 720), (1280, 800), False),
    ],
)
def test_the_shape_decides(old: tuple[int, int], new: tuple[int, int], same: bool) -> None:
    assert (scale_between(old, new) is not None) is same


def moving(portrait: Picture, sizes: list[tuple[int, int]], frames: int) -> list[Picture]:
    """Two people, one of them walking, in pictures that change their size every `frames` frames."""
    pictures = []
    for index in range(len(sizes) * frames):
        picture = room()
        place(picture, head(portrait, 180), 350 + 4 * index, 330, 180)
        place(picture, head(portrait, 180, (2, 1, 0)), 1000, 330, 180)
        size = sizes[index // frames]
        pictures.append(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))
    return pictures


def test_nobody_is_lost_while_a_sender_ramps_up_and_down(portrait: Picture) -> None:
    sizes = [(640, 360), (960, 540), (1280, 720), (640, 360)]
    steady, ramping = (watch(moving(portrait, given, 8)) for given in ([(1280, 720)] * 4, sizes))
    assert [[face.track for face in faces] for faces in ramping] == [[1, 2]] * 32
    for index, (true, seen) in enumerate(zip(steady, ramping, strict=True)):
        scale = sizes[index // 8][0] / 1280
        for one, other in zip(true, seen, strict=True):
            assert np.hypot(*(np.array(centre(other)) / scale - centre(one))) < 5, "pixels of 1280"
            assert other.quality.size / scale == pytest.approx(one.quality.size, rel=0.05)


def test_a_picture_of_another_shape_begins_anew(portrait: Picture) -> None:
    perception = Perception(networks())
    wide, tall = room(640, 360), room(360, 640)
    place(wide, head(portrait, 120), 320, 180, 120)
    place(tall, head(portrait, 120), 180, 320, 120)
    assert [face.track for face in perception(Frame(wide, 0.0))] == [1]
    seen = [perception(Frame(tall, index / 30)) for index in range(1, 20)]
    assert [face.track for face in seen[-1]] == [2]


def test_a_body_is_searched_for_where_it_was_in_the_pixels_of_the_new_picture() -> None:
    person = _Person(0.0, region=Region(100.0, 50.0, (0.0, -20.0)), size=(640, 360))
    assert person.region_in((640, 360)) == person.region
    assert person.region_in((1280, 720)) == Region(200.0, 100.0, (0.0, -40.0))
    assert person.region_in((360, 640)) is None
