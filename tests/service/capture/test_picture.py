"""The picture as it is meant to be shown, made by encoders with the marks of real cameras and studios."""

import struct
import subprocess
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorTrc
from helpers.encode import write_pictures
from numpy.typing import NDArray

from service.capture.media import Frame, Item, State, StateChange
from service.capture.open import open_source
from service.capture.picture import square
from service.capture.tone_map import to_sdr

Array = NDArray[np.uint8]


def read(spec: str | Path) -> tuple[list[Frame], str]:
    """The frames of a source, and the detail that the session shows last while live."""
    items: list[Item] = list(open_source(str(spec), realtime=False).read(threading.Event()))
    details = [item.detail for item in items if isinstance(item, StateChange) and item.state is State.LIVE]
    return [item for item in items if isinstance(item, Frame)], details[-1]


def disc(width: int, height: int, radius: float, at: tuple[float, float] = (0.5, 0.5)) -> Array:
    """A white disc on grey, drawn with soft edges; `at` in parts of the picture."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(x + 0.5 - at[0] * width, y + 0.5 - at[1] * height)
    level = 60 + 180 * np.clip(radius + 0.5 - distance, 0, 1)
    return np.repeat(level[:, :, None], 3, axis=2).astype(np.uint8)


def difference(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    ("aspect", "squeezed"), [(Fraction(4, 3), (240, 180)), (Fraction(2), (160, 180)), (Fraction(8, 9), (320, 160))]
)
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, squeezed: tuple[int, int], name: str) -> None:
    whole = disc(320, 180, 60)
    picture = cv2.resize(whole, squeezed, interpolation=cv2.INTER_AREA)
    frames, detail = read(write_pictures(tmp_path / name, [picture] * 3, aspect=aspect))
    assert frames[0].image.shape == whole.shape
    assert difference(frames[0].image, whole) < 4
    assert f"stretched to {whole.shape[1]}x{whole.shape[0]} with square pixels" in detail


def test_ordinary_pictures_are_left_alone_and_nothing_is_said(tmp_path: Path) -> None:
    whole = disc(320, 180, 60)
    frames, detail = read(write_pictures(tmp_path / "a.mkv", [whole] * 3, aspect=Fraction(1)))
    assert frames[0].image.shape == whole.shape
    assert ";" not in detail


def test_a_broken_aspect_ratio_is_not_believed() -> None:
    assert square(640, 360, Fraction(255, 1)) == (640, 360)
    assert square(640, 360, Fraction(1, 255)) == (640, 360)


def interlaced(path: Path, pictures: list[Array]) -> Path:
    """Weave each two of `pictures` into one and encode them as a camera of the television age does."""
    woven = []
    for top, bottom in zip(pictures[::2], pictures[1::2], strict=True):
        both = top.copy()
        both[1::2] = bottom[1::2]
        woven.append(both)
    raw = b"".join(picture.tobytes() for picture in woven)
    height, width = woven[0].shape[:2]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25",
         "-i", "-", "-vf", "setfield=tff,format=yuv420p", "-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts",
         "tff=1", "-crf", "10", str(path)],
        input=raw, check=True,
    )  # fmt: skip
    return path


def test_interlaced_pictures_lose_their_comb(tmp_path: Path) -> None:
    moving = [disc(320, 180, 40, (0.3 + 0.01 * n, 0.5)) for n in range(24)]
    frames, detail = read(interlaced(tmp_path / "i.mp4", moving))
    assert len(frames) == 12
    assert "deinterlaced" in detail
    assert [frame.t for frame in frames] == pytest.approx([n / 25 for n in range(12)], abs=0.002)
    for number in range(2, 10):
        wanted = moving[2 * number]
        comb = wanted.copy()
        comb[1::2] = moving[2 * number + 1][1::2]
        assert difference(frames[number].image, wanted) < 0.5 * difference(comb, wanted)


def hdr(picture: Array, encode: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.uint16]:
    """A picture of BT.709 as 16-bit RGB of BT.2020 light, 203 cd/m2 at white, by a transfer function."""
    light = (picture / 255.0) ** 2.4 * 203
    matrix = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # ITU-R BT.2087
    return np.asarray(np.round(encode(light @ matrix.T) * 65_535), np.uint16)


def pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (light / 10_000) ** m1
    return np.asarray(((c1 + c2 * power) / (1 + c3 * power)) ** m2)


def hlg(light: NDArray[np.float64]) -> NDArray[np.float64]:
    display = light / 1000
    luminance = display @ np.array((0.2627, 0.6780, 0.0593))
    scene = display * np.maximum(luminance, 1e-9)[..., None] ** ((1 - 1.2) / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c))


@pytest.mark.parametrize(("name", "encode"), [("PQ", pq), ("HLG", hlg)])
def test_hdr_looks_as_on_an_ordinary_screen(
    tmp_path: Path, portrait: Array, name: str, encode: Callable[..., NDArray[np.float64]]
) -> None:
    whole = np.clip(portrait[:256, 100:356].astype(int), 0, 215).astype(np.uint8)  # highlights are rolled off
    deep = hdr(whole, encode)
    path = tmp_path / "hdr.mov"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "256x256", "-r", "25", "-i", "-",
         "-vf", "scale=out_color_matrix=bt2020:out_range=limited,format=yuv420p10le", "-c:v", "libx265", "-crf", "8",
         "-x265-params", "log-level=none", "-color_primaries", "bt2020", "-colorspace", "bt2020nc",
         "-color_trc", {"PQ": "smpte2084", "HLG": "arib-std-b67"}[name], "-tag:v", "hvc1", str(path)],
        input=deep.tobytes() * 3, check=True,
    )  # fmt: skip
    frames, detail = read(path)
    assert frames[0].image.shape == whole.shape
    assert difference(frames[0].image, whole) < 4
    assert f"HDR ({name}) mapped to BT.709" in detail


def test_highlights_are_rolled_off_and_keep_their_order() -> None:
    levels = np.repeat(np.linspace(0, 1, 200)[:, None], 3, axis=1)
    shown = to_sdr(levels, ColorTrc.SMPTE2084)[:, 0]
    assert (np.diff(shown) >= -1e-9).all()
    assert 0.99 < shown[-1] <= 1.0
    assert shown[0] == 0


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_camera_that_hangs_otherwise_is_turned(tmp_path: Path, degrees: int, turns: int) -> None:
    whole = disc(320, 180, 40, (0.3, 0.4))
    path = write_pictures(tmp_path / "a.mkv", [np.ascontiguousarray(np.rot90(whole, -turns))] * 2)
    frames, detail = read(f"file:{path}?rotate={degrees}")
    assert difference(frames[0].image, whole) < 3
    assert f"turned by {degrees} degrees as asked" in detail


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ((1, 0, 0, 1), None),
        ((-1, 0, 0, 1), "mirrored as the file says"),
        ((-1, 0, 0, -1), "turned by 180 degrees as the file says"),
        ((1, 0, 0, -1), "mirrored and turned by 180 degrees as the file says"),
        ((0, 1, 1, 0), "mirrored and turned by 270 degrees as the file says"),
        ((0, 1, -1, 0), "turned by 90 degrees as the file says"),
        ((0, -1, -1, 0), "mirrored and turned by 90 degrees as the file says"),
        ((0, -1, 1, 0), "turned by 270 degrees as the file says"),
    ],
)
def test_a_display_matrix_turns_and_mirrors_as_in_a_player(
    tmp_path: Path, matrix: tuple[int, int, int, int], said: str | None
) -> None:
    path = write_pictures(tmp_path / "a.mp4", [disc(320, 180, 40, (0.3, 0.4))] * 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # ISO 14496-12, 8.3.2: the matrix follows version, times, layer and volume
    a, b, c, d = (number << 16 for number in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frames, detail = read(path)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vframes", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    assert frames[0].image.shape == ((180, 320, 3) if matrix[0] else (320, 180, 3))
    assert difference(frames[0].image, shown.reshape(frames[0].image.shape)) < 2
    assert said in detail if said else ";" not in detail


def test_colours_are_read_by_the_matrix_that_the_file_names(tmp_path: Path) -> None:
    whole = np.full((64, 64, 3), (200, 60, 30), np.uint8)
    path = tmp_path / "a.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x64", "-r", "25", "-i", "-",
         "-vf", "scale=out_color_matrix=bt709,format=yuv444p", "-colorspace", "bt709", "-color_primaries", "bt709",
         "-color_trc", "bt709", "-c:v", "libx264", "-crf", "1", str(path)],
        input=whole.tobytes() * 2, check=True,
    )  # fmt: skip
    frames, _ = read(path)
    assert difference(frames[0].image, whole) < 4
