"""Perception with the real networks: faces are found, measured and kept apart in pictures made of the portrait."""

import threading
from copy import copy

import cv2
import numpy as np
import pytest
from helpers.faces import Picture, centre, head, networks, place, room, watch
from numpy.typing import NDArray

from engines.errors import UserError
from service.capture.media import Frame
from service.perception.face import Face
from service.perception.networks import Runs
from service.perception.perceive import Perception, perceive_still
from service.perception.still import face_in_crop

PURPLE = (2, 0, 1)  # order of colour channels that makes another person of the portrait
GREEN = (1, 2, 0)


@pytest.fixture(scope="module")
def face(portrait: Picture) -> Face:
    """The face of the portrait."""
    (only,) = perceive_still(networks(), portrait)
    return only


def test_the_portraits_points_lie_where_a_face_has_them(face: Face) -> None:
    assert face.landmarks.shape == (68, 2)
    assert face.mesh.shape == (468, 3)
    eye_a, eye_b = face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)
    nose, mouth, chin = face.landmarks[30], face.landmarks[48:68].mean(0), face.landmarks[8]
    assert np.allclose(eye_a, (204, 103), atol=6)
    assert np.allclose(eye_b, (247, 106), atol=6)
    assert eye_a[0] < nose[0] < eye_b[0]
    assert eye_a[1] < nose[1] < mouth[1] < chin[1]
    assert eye_a[0] < mouth[0] < eye_b[0]
    assert face.landmarks[17:22, 1].mean() < eye_a[1]  # the brow above its eye
    assert face.landmarks[62, 1] <= face.landmarks[66, 1]  # the upper lip above the lower


def test_a_face_carries_all_that_the_next_room_needs(face: Face) -> None:
    assert face.track == 1
    assert face.crop.shape == (112, 112, 3)
    assert face.crop.dtype == np.uint8
    assert face.mask.shape == (112, 112)
    assert set(np.unique(face.mask)) == {0, 31, 63, 127, 159, 191, 223, 255}
    assert face.confidence > 0.99
    assert 95 < face.quality.size < 120
    assert 100 < face.quality.brightness < 180
    assert max(map(abs, (face.head_pose.pitch, face.head_pose.yaw, face.head_pose.roll))) < 8
    aligned = np.hstack([face.landmarks, np.ones((68, 1))]) @ face.matrix.T
    assert np.allclose(aligned[36:42].mean(0), (38.3, 51.7), atol=4)


def test_a_blurred_face_is_less_sharp_and_a_dark_one_less_bright(portrait: Picture, face: Face) -> None:
    (blurred,) = perceive_still(networks(), np.asarray(cv2.GaussianBlur(portrait, (0, 0), 3), np.uint8))
    (dark,) = perceive_still(networks(), (portrait * 0.3).astype(np.uint8))
    assert blurred.quality.sharpness < 0.2 * face.quality.sharpness
    assert dark.quality.brightness < 0.4 * face.quality.brightness


@pytest.mark.parametrize("angle", [-30, -15, 15, 30])
def test_a_turned_picture_reads_as_head_roll(portrait: Picture, face: Face, angle: int) -> None:
    matrix = cv2.getRotationMatrix2D((224, 130), -angle, 1.0)  # OpenCV's positive angle is counter-clockwise
    turned = np.asarray(cv2.warpAffine(portrait, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    (found,) = perceive_still(networks(), turned)
    assert found.head_pose.roll == pytest.approx(face.head_pose.roll + angle, abs=3)
    assert found.head_pose.yaw == pytest.approx(face.head_pose.yaw, abs=8)
    difference = np.abs(found.crop.astype(int) - face.crop)[20:100, 20:92].mean()
    assert difference < 12  # the aligned crop is the same picture


def test_a_mirrored_picture_mirrors_yaw_and_roll(portrait: Picture, face: Face) -> None:
    (mirrored,) = perceive_still(networks(), np.ascontiguousarray(portrait[:, ::-1]))
    assert mirrored.head_pose.yaw == pytest.approx(-face.head_pose.yaw, abs=4)
    assert mirrored.head_pose.roll == pytest.approx(-face.head_pose.roll, abs=2)
    assert mirrored.head_pose.pitch == pytest.approx(face.head_pose.pitch, abs=4)


@pytest.mark.parametrize("size", [50, 70, 150, 400])
def test_small_and_large_faces_are_found_in_a_720p_picture(portrait: Picture, size: int) -> None:
    picture = room()
    place(picture, head(portrait, size), 700, 330, size)
    (found,) = perceive_still(networks(), picture)
    assert np.hypot(*np.subtract(centre(found), (700, 330))) < 0.15 * size
    assert found.quality.size == pytest.approx(size, rel=0.2)


@pytest.mark.parametrize("size", [(48, 48), (97, 97), (224, 224)])
def test_a_tight_crop_of_a_face_is_enough(portrait: Picture, size: tuple[int, int]) -> None:
    crop = np.asarray(cv2.resize(portrait[55:185, 160:290], size, interpolation=cv2.INTER_AREA), np.uint8)
    for picture in (crop, np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)):
        found = face_in_crop(networks(), picture)
        assert found is not None
        eyes = found.landmarks[36:48].mean(0)
        assert np.allclose(eyes, ((225 - 160) / 130 * size[0], (105 - 55) / 130 * size[1]), atol=0.06 * max(size))
        aligned = np.hstack([found.landmarks, np.ones((68, 1))]) @ found.matrix.T
        assert np.allclose(aligned[36:48].mean(0), (55.9, 51.6), atol=4)


def test_twenty_faces_at_once_each_get_a_number(portrait: Picture) -> None:
    person = head(portrait, 110)[:230, 20:290]
    picture = np.tile(person, (4, 5, 1))
    found = perceive_still(networks(), picture)
    assert [face.track for face in found] == list(range(1, 21))
    cells = {(int(x // person.shape[1]), int(y // person.shape[0])) for x, y in map(centre, found)}
    assert len(cells) == 20
    assert len(perceive_still(networks(), picture, max_faces=6)) == 6


@pytest.mark.parametrize("shape", [(1, 1), (2, 3000), (37, 41), (719, 1281), (360, 640)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_pictures_without_a_face_have_none(shape: tuple[int, int], level: int) -> None:
    picture = np.full((*shape, 3), level, np.uint8)
    assert perceive_still(networks(), picture) == []
    assert face_in_crop(networks(), picture) is None


def test_noise_has_no_face() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (360, 640, 3)).astype(np.uint8)
    assert watch([noise] * 5) == [[]] * 5


def test_4k_and_read_only_and_strided_pictures(portrait: Picture) -> None:
    picture = room(3840, 2160)
    place(picture, head(portrait, 500), 2000, 1000, 500)
    picture.flags.writeable = False
    (found,) = perceive_still(networks(), picture)
    assert centre(found) == pytest.approx((2000, 1000), abs=60)
    (half,) = perceive_still(networks(), picture[::2, ::2])
    assert centre(half) == pytest.approx((1000, 500), abs=30)


def test_the_same_frames_give_the_same_faces(portrait: Picture) -> None:
    pictures = [np.roll(portrait, 3 * index, axis=1) for index in range(8)]
    first, second = watch(pictures), watch(pictures)
    for (a,), (b,) in zip(first, second, strict=True):
        assert np.array_equal(a.mesh, b.mesh)
        assert np.array_equal(a.crop, b.crop)


def test_future_frames_change_nothing(portrait: Picture) -> None:
    pictures = [np.roll(portrait, 3 * index, axis=1) for index in range(8)]
    other = [*pictures[:5], *(np.full_like(portrait, 90) for _ in range(3))]
    for (a,), (b,) in zip(watch(pictures)[:5], watch(other)[:5], strict=True):
        assert np.array_equal(a.mesh, b.mesh)


def test_many_threads_share_the_networks(portrait: Picture) -> None:
    pictures = [np.roll(portrait, 5 * index, axis=1) for index in range(6)]
    alone = [face.mesh for (face,) in watch(pictures)]
    together: list[list[NDArray[np.float32]]] = []

    def work() -> None:
        together.append([face.mesh for (face,) in watch(pictures)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 4
    assert all(np.array_equal(a, b) for meshes in together for a, b in zip(alone, meshes, strict=True))


def test_a_face_at_rest_trembles_less_than_its_picture(portrait: Picture) -> None:
    rng = np.random.default_rng(4)
    noisy = [np.clip(portrait + rng.normal(0, 12, portrait.shape), 0, 255).astype(np.uint8) for _ in range(25)]
    smoothed = np.array([face.mesh for (face,) in watch(noisy)])[8:, :, :2]
    single = np.array([perceive_still(networks(), picture)[0].mesh for picture in noisy])[8:, :, :2]
    assert np.diff(smoothed, axis=0).std() < 0.6 * np.diff(single, axis=0).std()


def test_a_newcomer_is_found_within_half_a_second(portrait: Picture) -> None:
    empty = room(640, 360)
    somebody = empty.copy()
    place(somebody, head(portrait, 90), 300, 180, 90)
    both = somebody.copy()
    place(both, head(portrait, 90, PURPLE), 520, 180, 90)
    counts = [len(faces) for faces in watch([empty] * 10 + [somebody] * 20 + [both] * 20)]
    assert counts[:10] == [0] * 10
    assert counts[10 + 7 : 30] == [1] * 13
    assert counts[30 + 16 :] == [2] * 4


def crossing(portrait: Picture, frames: int = 40) -> list[Picture]:
    """Two people walk past one another, the second in front of the first."""
    behind, front = head(portrait, 100), head(portrait, 110, PURPLE)[:, 30:-30]
    pictures = []
    for x in np.linspace(150, 490, frames):
        picture = room(640, 360)
        place(picture, behind, x, 170, 100)
        place(picture, front, 640 - x - 30 * 110 / 107, 185, 110)
        pictures.append(picture)
    return pictures


def test_two_people_who_cross_keep_their_numbers(portrait: Picture) -> None:
    seen = watch(crossing(portrait))
    first = {face.track: centre(face)[0] for face in seen[0]}
    last = {face.track: centre(face)[0] for face in seen[-1]}
    assert len(first) == 2
    assert last.keys() == first.keys()
    for track, x in first.items():
        assert (last[track] > 320) == (x < 320)
    assert {face.track for faces in seen for face in faces} == first.keys()
    assert all(len({face.track for face in faces}) == len(faces) for faces in seen)


def gone(portrait: Picture, seconds: float, back_at: float = 320.0) -> list[list[Face]]:
    """A person is there for half a second, away for `seconds`, and back at x = `back_at` for half a second."""
    there, back, empty = room(640, 360), room(640, 360), room(640, 360)
    place(there, head(portrait, 100), 320, 180, 100)
    place(back, head(portrait, 100), back_at, 180, 100)
    return watch([there] * 15 + [empty] * round(30 * seconds) + [back] * 15)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("back_at", [320.0, 380.0, 480.0])
def test_a_face_that_leaves_and_returns_within_a_second_keeps_its_number(
    portrait: Picture, seconds: float, back_at: float
) -> None:
    seen = gone(portrait, seconds, back_at)
    assert [face.track for face in seen[14]] == [1]
    assert seen[15 + round(30 * seconds) - 1] == []
    assert [face.track for face in seen[-1]] == [1]


def test_a_face_that_stays_away_longer_is_somebody_new(portrait: Picture) -> None:
    assert [face.track for face in gone(portrait, 2.0)[-1]] == [2]


def test_somebody_else_in_the_same_place_is_somebody_new(portrait: Picture) -> None:
    one, other, empty = room(640, 360), room(640, 360), room(640, 360)
    place(one, head(portrait, 100), 220, 180, 100)
    place(other, head(portrait, 100, GREEN)[:, ::-1], 520, 180, 100)
    seen = watch([one] * 15 + [empty] * 24 + [other] * 15)
    assert [face.track for face in seen[-1]] == [2]


def test_a_cut_to_a_picture_of_another_shape_starts_anew_with_new_numbers(portrait: Picture) -> None:
    large = np.asarray(cv2.resize(portrait[:400], (896, 700)), np.uint8)
    seen = watch([portrait, portrait, large, large, *([large] * 15)])
    assert [face.track for face in seen[1]] == [1]
    assert [face.track for face in seen[-1]] == [2]


def test_reset_begins_a_new_stream(portrait: Picture) -> None:
    perception = Perception(networks())
    perception(Frame(portrait, 5.0))
    perception.reset()
    (face,) = perception(Frame(portrait, 0.0))
    assert face.track == 1


def test_any_frame_rate_works(portrait: Picture) -> None:
    for fps in (0.25, 1.0, 5.0, 120.0):
        pictures = [np.roll(portrait, 2 * index, axis=1) for index in range(6)]
        assert [[face.track for face in faces] for faces in watch(pictures, fps)] == [[1]] * 6


def test_a_picture_beyond_what_can_be_addressed_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="40000x3 pixels"):
        perceive_still(networks(), np.zeros((3, 40_000, 3), np.uint8))


def test_only_the_nearest_face_is_kept_where_one_is_asked_for(portrait: Picture) -> None:
    picture = room()
    place(picture, head(portrait, 80), 300, 300, 80)
    place(picture, head(portrait, 200, PURPLE), 900, 350, 200)
    (found,) = perceive_still(networks(), picture, max_faces=1)
    assert centre(found)[0] == pytest.approx(900, abs=30)


class Failing:
    """A real network that gives something else than numbers while `broken`."""

    def __init__(self, network: Runs) -> None:
        self._network, self.size, self.broken = network, network.size, False

    def input(self) -> NDArray[np.uint8]:
        return self._network.input()

    def run(self) -> list[NDArray[np.float32]]:
        return [np.full_like(values, np.nan) if self.broken else values for values in self._network.run()]


@pytest.mark.parametrize("name", ["mesh", "full_range", "short_range"])
def test_a_network_that_gives_no_numbers_shows_no_face_and_harms_no_later_frame(portrait: Picture, name: str) -> None:
    mine = copy(networks())
    failing = Failing(getattr(mine, name))
    setattr(mine, name, failing)
    perception = Perception(mine)
    assert len(perception(Frame(portrait, 0.0))) == 1
    failing.broken = True
    for index in range(1, 20):
        for face in perception(Frame(portrait, index / 30)):
            assert np.isfinite([*face.box, face.confidence, face.head_pose.yaw]).all()
    failing.broken = False
    seen = [perception(Frame(portrait, index / 30)) for index in range(20, 40)]
    assert [face.track for face in seen[-1]] == [1]
