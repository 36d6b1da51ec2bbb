"""Recordings: every kind of file becomes the same frames and sound, on one clock, up to where it is whole."""

import gc
import os
import subprocess
import threading
import time
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.clips import beep, write_clip

from engines.errors import UserError
from service import metrics
from service.capture.file import FileSource
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.open import open_source


def items_of(spec: str | Path, *, realtime: bool = False) -> list[Item]:
    return list(open_source(str(spec), realtime=realtime).read(threading.Event()))


def frames_of(items: list[Item]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def samples_of(items: list[Item]) -> np.ndarray:
    sounds = [item for item in items if isinstance(item, Sound)]
    for one, other in pairwise(sounds):
        assert other.t == pytest.approx(one.t + len(one.samples) / SAMPLE_RATE, abs=1e-6)
    return np.concatenate([sound.samples for sound in sounds])


def states_of(items: list[Item]) -> list[State]:
    return [item.state for item in items if isinstance(item, StateChange)]


def assert_looks_right(image: np.ndarray, number: int, width: int, height: int, tolerance: int = 12) -> None:
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    level = 100 + number % 100
    left, right = image[height // 4, width // 4].astype(int), image[height // 4, width * 3 // 4].astype(int)
    assert np.abs(left - (level, 0, 0)).max() <= tolerance
    assert np.abs(right - (0, 0, level)).max() <= tolerance
    assert image[height * 7 // 8, width // 4].min() > 240


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_clip(path, sound=beep(2.0, at=1.0), options={"movflags": "faststart"})


def test_pictures_and_sound_of_an_mp4(clip: Path) -> None:
    items = items_of(clip)
    frames = frames_of(items)
    assert [round(frame.t, 3) for frame in frames] == [round(n / 25, 3) for n in range(50)]
    for number in (0, 24, 49):
        assert_looks_right(frames[number].image, number, 160, 90)
    assert states_of(items) == [State.LIVE, State.ENDED]
    assert "h264 160x90 at 25 frames/s, aac 48000 Hz" in str(items[0])
    assert "Cut" not in str(items[-1])


def test_the_length_is_known_beforehand(clip: Path) -> None:
    source = FileSource(clip, "clip", realtime=False)
    assert source.duration == pytest.approx(2.0, abs=0.1)


def test_sound_lies_on_the_pictures_clock(clip: Path) -> None:
    items = items_of(clip)
    first = next(item for item in items if isinstance(item, Sound))
    samples = samples_of(items)
    assert samples.dtype == np.float32
    assert abs(samples).max() == pytest.approx(0.5, abs=0.05)
    onset = first.t + int(np.argmax(abs(samples) > 0.2)) / SAMPLE_RATE
    assert onset == pytest.approx(1.0, abs=0.005)


def test_sound_that_ended_precedes_the_picture(clip: Path) -> None:
    heard = 0.0
    for item in items_of(clip)[1:-1]:
        if isinstance(item, Sound):
            heard = item.t + len(item.samples) / SAMPLE_RATE
        elif isinstance(item, Frame):
            assert heard > item.t - 1024 / 48_000 - 0.002  # the chunk after `heard` ends later than the picture


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_number_of_channels_becomes_one_as_loud(tmp_path: Path, channels: int) -> None:
    path = write_clip(tmp_path / "a.mp4", size=None, sound=beep(1.0, at=0.0), channels=channels)
    samples = samples_of(items_of(path))
    loudness = np.abs(samples[1000:4000]).max()
    assert loudness == pytest.approx(0.5, rel=0.1) if channels < 3 else 0.2 < loudness <= 1.5


@pytest.mark.parametrize("channels", [3, 9, 16, 24, 64])
def test_many_channels_cost_no_process(tmp_path: Path, channels: int) -> None:
    """Interfaces of sound studios and arrays of microphones have them; their names of places do not go so far."""
    path = tmp_path / "a.wav"
    tone = np.round(beep(1.0, at=0.0, rate=SAMPLE_RATE) * 32_767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.repeat(tone[:, None], channels, axis=1).tobytes())
    samples = samples_of(items_of(path))
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=2000)
    assert 0.3 < np.abs(samples[1000:4000]).max() <= 1.5


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    stamps = [0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.24, 4.0]
    path = write_clip(tmp_path / "vfr.mkv", stamps=stamps, sound=beep(2.0, at=1.0))
    assert [round(frame.t, 3) for frame in frames_of(items_of(path))] == stamps


def with_pts(data: bytes, number: int, ahead: float) -> bytes:
    """A transport stream whose picture `number` says that it is shown `ahead` seconds later (ISO 13818-1, 2.4.3.7)."""
    at = -1
    for _ in range(number + 1):
        at = data.index(b"\x00\x00\x01\xe0", at + 1)
    field = data[at + 9 : at + 14]
    pts = (field[0] >> 1 & 7) << 30 | field[1] << 22 | (field[2] >> 1) << 15 | field[3] << 7 | field[4] >> 1
    pts += round(ahead * 90_000)
    head = field[0] & 0xF1 | (pts >> 30 & 7) << 1
    new = [head, pts >> 22 & 255, 1 | (pts >> 15 & 127) << 1, pts >> 7 & 255, 1 | (pts & 127) << 1]
    return data[: at + 9] + bytes(new) + data[at + 14 :]


@pytest.mark.parametrize("wrong", [3.0, -0.9])
def test_one_wrong_stamp_in_a_recording_moves_nothing_for_good(tmp_path: Path, wrong: float) -> None:
    path = write_clip(tmp_path / "a.ts", codec="mpeg2video")
    path.write_bytes(with_pts(path.read_bytes(), 25, wrong))
    times = [frame.t for frame in frames_of(items_of(path))]
    assert len(times) == 50
    assert np.abs(np.diff(times) - 0.04).max() < 0.01


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("odd.mkv", "libx264", "yuv444p", (321, 181)),
        ("odd.avi", "mjpeg", "yuvj420p", (321, 181)),
        ("ten.mkv", "libx264", "yuv420p10le", (160, 90)),
        ("large.mp4", "libx264", "yuv420p", (3840, 2160)),
    ],
)
def test_odd_deep_and_large_pictures(tmp_path: Path, name: str, codec: str, pixels: str, size: tuple[int, int]) -> None:
    frames = frames_of(items_of(write_clip(tmp_path / name, size=size, seconds=0.2, codec=codec, pixels=pixels)))
    assert len(frames) == 5
    assert_looks_right(frames[4].image, 4, *size)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "grey.mkv", codec="ffv1", pixels="gray", seconds=0.2)
    image = frames_of(items_of(path))[0].image
    assert image.shape == (90, 160, 3)
    assert np.ptp(image.astype(int), axis=2).max() <= 1
    assert image[80, 10, 0] > 240


TURNED = {
    "a quarter to the right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "a quarter to the left": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "flipped": ((1, 0, 0, -1), lambda image: image[::-1]),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
}


@pytest.mark.parametrize("turn", TURNED)
def test_rotation_of_the_container_is_applied(tmp_path: Path, clip: Path, turn: str) -> None:
    (a, b, c, d), turned = TURNED[turn]

    def matrix(values: tuple[int, int, int, int]) -> bytes:
        a, b, c, d = (value << 16 for value in values)
        return b"".join(n.to_bytes(4, "big", signed=True) for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))

    data = bytearray(clip.read_bytes())
    header = data.index(b"tkhd")  # of the first track, which holds the pictures
    at = data.index(matrix((1, 0, 0, 1)), header)
    data[at : at + 36] = matrix((a, b, c, d))
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    image = frames_of(items_of(path))[0].image
    np.testing.assert_array_equal(image, turned(frames_of(items_of(clip))[0].image))
    assert image.flags.c_contiguous


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "voice.wav", size=None, sound=beep(2.0, at=1.0), sound_codec="pcm_s16le")
    items = items_of(path)
    assert not frames_of(items)
    assert len(samples_of(items)) == pytest.approx(2 * SAMPLE_RATE, abs=2)
    assert states_of(items) == [State.LIVE, State.ENDED]


def test_pictures_without_sound(tmp_path: Path) -> None:
    items = items_of(write_clip(tmp_path / "silent.mp4", seconds=1.0))
    assert len(frames_of(items)) == 25
    assert not any(isinstance(item, Sound) for item in items)


def test_a_file_cut_in_the_middle_gives_all_before_the_cut_and_says_so(tmp_path: Path, clip: Path) -> None:
    whole = clip.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    items, complete = items_of(path), frames_of(items_of(clip))
    frames = frames_of(items)
    assert 10 < len(frames) < 50
    for frame, same in zip(frames, complete, strict=False):
        assert frame.t == same.t
        np.testing.assert_array_equal(frame.image, same.image)
    assert isinstance(items[-1], StateChange)
    assert items[-1].state is State.ENDED
    assert "Cut short at" in items[-1].detail


def blank_pictures(data: bytes, numbers: range) -> bytes:
    """An AVI's bytes with the packets of those pictures overwritten with zeros."""
    out, at = bytearray(data), data.index(b"movi")
    for number in range(numbers.stop):
        at = data.index(b"00dc", at) + 4
        size = int.from_bytes(data[at : at + 4], "little")
        if number in numbers:
            out[at + 4 : at + 4 + size] = bytes(size)
        at += size
    return bytes(out)


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p", seconds=2.0)
    path.write_bytes(blank_pictures(path.read_bytes(), range(20, 23)))
    before = metrics.FRAMES_DROPPED.labels("corrupt")._value.get()
    items = items_of(path)
    assert len(frames_of(items)) == 47
    assert "3 damaged packets" in str(items[-1])
    assert metrics.FRAMES_DROPPED.labels("corrupt")._value.get() == before + 3


def test_a_looped_file_goes_on_rising(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "short.mp4", seconds=0.4, sound=beep(0.4, at=0.2))
    stop, times, heard = threading.Event(), [], []
    for item in open_source(f"file:{path}?loop=1", realtime=False).read(stop):
        if isinstance(item, Frame):
            times.append(item.t)
        elif isinstance(item, Sound):
            heard.append(item.t)
        if len(times) == 35:
            stop.set()
    assert len(times) == 35
    assert np.diff(times).min() > 0.03
    assert np.diff(times).max() < 0.15
    assert np.diff(heard).min() > 0


def test_realtime_releases_no_frame_before_its_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "short.mp4", seconds=0.4)
    began, began_at = time.perf_counter(), time.time()
    frames = frames_of(items_of(path, realtime=True))
    for frame in frames:
        assert frame.entered - began >= frame.t
        assert began_at <= frame.captured_at <= time.time()


def test_stopping_ends_a_paced_file_at_once(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "slow.mkv", stamps=[0, 60.0])
    stop = threading.Event()
    items: list[Item] = []
    for item in open_source(str(path), realtime=True).read(stop):
        items.append(item)
        if isinstance(item, Frame):
            threading.Timer(0.1, stop.set).start()
    assert len(frames_of(items)) == 1


def test_pictures_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", size=(1280, 720), seconds=4.0)
    gc.collect()
    gc.disable()
    try:
        process = psutil.Process()
        resident = [
            process.memory_info().rss
            for item in open_source(str(path), realtime=False).read(threading.Event())
            if isinstance(item, Frame)
        ]
    finally:
        gc.enable()
    assert resident[-1] - resident[20] < 40e6  # 80 pictures of 2.8 MB RGB and 1.4 MB decoded


@pytest.mark.parametrize("name", ["text.txt", "noise.mp4", "empty.mp4", "folder", "pipe", "missing.mp4"])
def test_what_is_not_a_video_gets_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("Not a film, only words about one.\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(1).bytes(5000))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=name) as caught:
        items_of(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_of_which_nothing_decodes_gets_a_sentence(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p", seconds=0.2)
    path.write_bytes(blank_pictures(path.read_bytes(), range(5)))
    with pytest.raises(UserError, match="can be decoded"):
        items_of(path)


def test_a_film_whose_key_is_not_here_is_said_to_be_encrypted(tmp_path: Path) -> None:
    write_clip(tmp_path / "plain.mp4")
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "plain.mp4"), "-c", "copy"]
    command += ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb"]
    command += ["-encryption_kid", "a7e61c373e219033c21091fa607bf3b8", str(tmp_path / "locked.mp4")]
    subprocess.run(command, check=True)
    with pytest.raises(UserError, match="it is encrypted"):
        items_of(tmp_path / "locked.mp4")
