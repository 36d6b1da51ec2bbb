"""Still pictures of every kind, and what is no picture, told by content; a bomb or a crash costs one picture."""

import contextlib
import io
import os
import re
import signal
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import UserError
from service.capture import limits, still
from service.capture.open import open_source
from service.capture.still import decode_still, kind_of, to_8_bit
from service.capture.still_process import StillProcess

Array = NDArray[np.uint8]


@pytest.fixture(scope="module")
def decoder() -> Iterator[StillProcess]:
    with StillProcess(seconds=60.0) as process:
        yield process


def encoded(image: Array, format: str, **options: Any) -> bytes:
    if format == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    out = io.BytesIO()
    Image.fromarray(image).save(out, format=format, **options)
    return out.getvalue()


def grey(image: Array) -> Array:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def cv_encoded(image: NDArray[Any], suffix: str) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


KINDS: dict[str, tuple[Callable[[Array], bytes], float]] = {
    "a.jpg": (lambda p: encoded(p, "JPEG", quality=95), 3),
    "a.jfif": (lambda p: encoded(p, "JPEG", quality=95), 3),
    "a.png": (lambda p: encoded(p, "PNG"), 0),
    "a.bmp": (lambda p: encoded(p, "BMP"), 0),
    "a.webp": (lambda p: encoded(p, "WEBP", lossless=True), 0),
    "a.tif": (lambda p: encoded(p, "TIFF", compression="tiff_lzw"), 0),
    "a.ppm": (lambda p: encoded(p, "PPM"), 0),
    "a.gif": (lambda p: encoded(p, "GIF"), 12),
    "a.jp2": (lambda p: encoded(p, "JPEG2000"), 1),
    "a.avif": (lambda p: encoded(p, "AVIF", quality=90), 4),
    "a.heic": (lambda p: encoded(p, "HEIF", quality=95), 4),
    "lies.jpg": (lambda p: encoded(p, "PNG"), 0),
    "lies.png": (lambda p: encoded(p, "HEIF", quality=95), 4),
    "no_suffix": (lambda p: encoded(p, "JPEG", quality=95), 3),
    "sixteen.png": (lambda p: cv_encoded(p[:, :, ::-1].astype(np.uint16) * 257, ".png"), 0),
    "float.tiff": (lambda p: cv_encoded(p[:, :, ::-1].astype(np.float32) / 255, ".tiff"), 0.5),
    "float255.tiff": (lambda p: cv_encoded(p[:, :, ::-1].astype(np.float32), ".tiff"), 0.5),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_as_it_was(tmp_path: Path, portrait: Array, decoder: StillProcess, name: str) -> None:
    encode, tolerance = KINDS[name]
    path = tmp_path / name
    path.write_bytes(encode(portrait))
    image = decoder.read(path)
    assert image.shape == portrait.shape
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - portrait.astype(int)).mean() <= tolerance


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_few_bits_in_sixteen_are_as_bright_as_the_original(
    tmp_path: Path, portrait: Array, decoder: StillProcess, bits: int, suffix: str
) -> None:
    """Machine-vision and medical cameras write them so."""
    one = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(cv_encoded(np.round(one / 255.0 * (2**bits - 1)).astype(np.uint16), suffix))
    image = decoder.read(path)
    assert np.abs(image.astype(int) - grey(portrait).astype(int)).max() <= 2


def test_numbers_of_every_depth_fill_the_range() -> None:
    ramp = np.linspace(0, 1, 256)
    wanted = np.arange(256)
    for values in (ramp, ramp * 255, (ramp * 4095).astype(np.int32), (ramp * 65_535).astype(np.int32)):
        assert np.abs(to_8_bit(values).astype(int) - wanted).max() <= 1
    odd = to_8_bit(np.array([np.nan, np.inf, -np.inf, -5.0, 0.5, 1.0]))
    assert odd.tolist() == [0, 0, 0, 0, 128, 255]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_phone_held_sideways_gives_an_upright_picture(
    tmp_path: Path, portrait: Array, decoder: StillProcess, format: str
) -> None:
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned by a quarter
    path = tmp_path / "a"
    path.write_bytes(encoded(np.ascontiguousarray(np.rot90(portrait)), format, exif=exif))
    image = decoder.read(path)
    assert np.abs(image.astype(int) - portrait.astype(int)).mean() < 8


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims `width` x `height`, and whose rows are all zero."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(1 << 20))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def resized(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


BOMBS: dict[str, Callable[[], bytes]] = {
    "bomb.jpg": lambda: resized(encoded(np.zeros((64, 64, 3), np.uint8), "JPEG"), 30_000, 30_000),
    "bomb.png": lambda: png_of(60_000, 60_000),
    "bomb.gif": lambda: b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\1\0\0;",
    "bomb.bmp": lambda: b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "bomb.ppm": lambda: b"P6\n40000 40000\n255\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_size_beyond_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, decoder: StillProcess, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    with pytest.raises(UserError, match=f"{name} is too large.*more than 64 million") as caught:
        decoder.read(path)
    assert limits.VARIABLE in str(caught.value)
    assert psutil.Process(decoder._child.pid).memory_info().rss < 400e6  # type: ignore[union-attr]


LARGE = {
    "a.jpg": lambda image: encoded(image, "JPEG"),
    "turned.jpg": lambda image: encoded(image, "JPEG", exif=orientation(6)),
    "b.png": lambda image: encoded(image, "PNG"),
    "grey.png": lambda image: encoded(grey(image), "PNG"),
    "c16.png": lambda image: cv_encoded(image[:, :, ::-1].astype(np.uint16) * 257, ".png"),
    "d.jp2": lambda image: encoded(image, "JPEG2000"),
    "one_scale.jp2": lambda image: encoded(image, "JPEG2000", num_resolutions=1),
    "odd.jp2": lambda image: encoded(image[:-1, :-1], "JPEG2000"),
    "f.tif": lambda image: encoded(image, "TIFF"),
    "strips.tif": lambda image: encoded(image, "TIFF", tiffinfo={278: 7}),
    "big.tif": lambda image: encoded(image, "TIFF", big_tiff=True),
    "sixteen.tif": lambda image: cv_tiff(image.astype(np.uint16) * 257),
    "float.tif": lambda image: cv_tiff(image.astype(np.float32) / 255),
    "lzw.tif": lambda image: encoded(image, "TIFF", compression="tiff_lzw"),
    "g.avif": lambda image: encoded(image, "AVIF", quality=95),
    "turned.avif": lambda image: encoded(image, "AVIF", quality=95, exif=orientation(6)),
    "alpha.avif": lambda image: encoded(np.dstack([image, np.full(image.shape[:2], 9, np.uint8)]), "AVIF", quality=95),
    "h.heic": lambda image: encoded(image, "HEIF", quality=95),
    "alpha.heic": lambda image: encoded(np.dstack([image, np.full(image.shape[:2], 9, np.uint8)]), "HEIF", quality=95),
    "scans.jpg": lambda image: encoded(image, "JPEG", progressive=True, subsampling=0),
    "odd_scans.jpg": lambda image: encoded(image[:-1, :-1], "JPEG", progressive=True, subsampling=0),
    "turned_scans.jpg": lambda image: encoded(image, "JPEG", progressive=True, subsampling=0, exif=orientation(6)),
}


def cv_tiff(image: NDArray[Any]) -> bytes:
    return cv2.imencode(".tiff", image[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def gradients(width: int, height: int) -> Array:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 250 // width, y * 250 // height, (x + y) * 250 // (width + height)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", LARGE)
def test_pictures_that_are_decoded_to_save_memory_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(still, "_LARGE", 1000)
    image = gradients(402, 300)
    path = tmp_path / name
    path.write_bytes(LARGE[name](image))
    if name.startswith("odd"):
        image = image[:-1, :-1]
    if name.startswith("turned"):
        image = np.rot90(image, -1)
    shown = decode_still(path)
    wanted = grey(image) if name.startswith("grey") else image
    assert shown.shape == image.shape
    assert np.abs(shown.astype(int) - wanted).max() <= (6 if name.endswith(("jpg", "jp2", "avif", "heic")) else 0)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "JPEG", "HEIF"])
def test_large_pictures_are_turned_and_mirrored_as_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, number: int
) -> None:
    path = tmp_path / "a"
    path.write_bytes(encoded(gradients(402, 300), kind, exif=orientation(number)))
    with Image.open(path) as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture).convert("RGB")).astype(int)
    monkeypatch.setattr(still, "_LARGE", 1000)
    assert np.abs(decode_still(path) - wanted).max() <= 6


def test_an_uncompressed_tiff_that_was_cut_or_lies_gets_a_sentence(tmp_path: Path) -> None:
    data = encoded(gradients(402, 300), "TIFF")
    for name, cut in {"half.tif": data[: len(data) // 2], "head.tif": data[:40]}.items():
        (tmp_path / name).write_bytes(cut)
        with StillProcess(seconds=60.0) as fresh, contextlib.suppress(UserError):
            assert fresh.read(tmp_path / name).shape == (300, 402, 3)


@pytest.mark.parametrize("name", ["a.jpg", "c16.png", "sixteen.tif", "g.avif"])
def test_a_large_picture_takes_little_more_memory_than_its_pixels(tmp_path: Path, name: str) -> None:
    image = gradients(5000, 4000)
    path = tmp_path / name
    path.write_bytes(LARGE[name](image))
    with StillProcess(seconds=60.0) as fresh:
        assert fresh.read(path).shape == image.shape
        status = Path(f"/proc/{fresh._child.pid}/status").read_text("utf-8")  # type: ignore[union-attr]
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    assert peak < 120e6 + image.nbytes * {"a.jpg": 1.6, "c16.png": 2.2, "sixteen.tif": 0.2, "g.avif": 1.9}[name]


def test_the_limit_is_a_setting(tmp_path: Path, portrait: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(portrait, "PNG"))
    monkeypatch.setenv(limits.VARIABLE, "0.1")
    with pytest.raises(UserError, match=r"512x512 pixels are more than 0.1 million"):
        decode_still(path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("text.png", b"only words", "not a picture of a kind that can be read"),
        ("empty.jpg", b"", "empty"),
        ("cut.png", png_of(100, 100)[:40], "damaged"),
        ("noise.jpg", b"\xff\xd8\xff" + bytes(range(256)) * 10, "damaged"),
        ("noise.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\xfe" * 500, "damaged"),
    ],
)
def test_what_cannot_be_read_gets_its_own_reason(
    tmp_path: Path, decoder: StillProcess, name: str, data: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"^{name} .*{words}"):
        decoder.read(path)


@pytest.mark.skipif(os.name == "nt", reason="has neither pipes nor links in folders")
def test_what_is_no_file_is_never_opened(tmp_path: Path, decoder: StillProcess) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    for name, words in {
        "pipe.png": "a pipe",
        "folder.jpg": "a folder",
        "dangling.png": "a link to a file that is not there",
        "missing.png": "not there",
        "x" * 300 + ".png": "cannot be read",
    }.items():
        with pytest.raises(UserError, match=words):
            decoder.read(tmp_path / name)


def test_a_crash_costs_one_picture(tmp_path: Path, portrait: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(portrait, "PNG"))
    with StillProcess(seconds=60.0) as decoder:
        decoder.read(path)
        child = psutil.Process(decoder._child.pid)  # type: ignore[union-attr]
        child.suspend()
        answer = decoder._answer

        def crash(asked: subprocess.Popen[bytes]) -> dict[str, Any]:
            os.kill(child.pid, signal.SIGSEGV)
            child.resume()
            return answer(asked)

        monkeypatch.setattr(decoder, "_answer", crash)
        with pytest.raises(UserError, match=r"crashed its decoder"):
            decoder.read(path)
        monkeypatch.undo()
        assert decoder.read(path).shape == portrait.shape


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, portrait: Array) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(portrait, "PNG"))
    with StillProcess(seconds=60.0) as decoder:
        decoder.read(path)
        decoder._seconds = 0.3
        child = psutil.Process(decoder._child.pid)  # type: ignore[union-attr]
        child.suspend()
        with pytest.raises(UserError, match=r"took longer than 0.3 s"):
            decoder.read(path)
        decoder._seconds = 60.0
        assert decoder.read(path).shape == portrait.shape
    assert not child.is_running()


def test_the_child_ends_with_its_parent(tmp_path: Path, portrait: Array) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(portrait, "PNG"))
    with StillProcess(seconds=60.0) as decoder:
        decoder.read(path)
        child = psutil.Process(decoder._child.pid)  # type: ignore[union-attr]
    deadline = time.monotonic() + 60
    while child.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running()


def test_films_are_no_pictures(tmp_path: Path) -> None:
    for name, head in {
        "a.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        "a.wav": b"RIFF\0\0\0\0WAVEfmt ",
    }.items():
        (tmp_path / name).write_bytes(head + bytes(100))
        assert kind_of(tmp_path / name) is None


# A photograph of a phone: tiles of 64x64, coded one by one, and an item that says how they lie beside each other.
def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + kind + data


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def grid_of(tiles: list[bytes], configuration: bytes, side: int, width: int, height: int) -> bytes:
    """A HEIC file (ISO 23008-12, 6.6.2.3) whose primary item is a grid of 2 x 2 `tiles`, cropped to `width` x `height`.

    `tiles`: HEVC access units with length prefixes; `configuration`: the content of their hvcC box.
    """
    count = len(tiles)
    grid = struct.pack(">BBBBHH", 0, 0, 1, 1, width, height)
    infe = b"".join(
        full(b"infe", struct.pack(">HH", item, 0), kind, b"\0", version=2, flags=item <= count)
        for item, kind in [*((n + 1, b"hvc1") for n in range(count)), (count + 1, b"grid")]
    )
    properties = box(
        b"ipco",
        box(b"hvcC", configuration),
        full(b"ispe", struct.pack(">II", side, side)),
        full(b"ispe", struct.pack(">II", width, height)),
    )
    tile_properties = b"".join(struct.pack(">HBBB", n + 1, 2, 0x81, 2) for n in range(count))
    association = full(b"ipma", struct.pack(">I", count + 1), tile_properties, struct.pack(">HBB", count + 1, 1, 3))

    def meta(start: int) -> bytes:
        places, at = [], start
        for item, data in enumerate([*tiles, grid], 1):
            places.append(struct.pack(">HHHII", item, 0, 1, at, len(data)))
            at += len(data)
        return full(
            b"meta",
            full(b"hdlr", struct.pack(">I", 0), b"pict", bytes(12), b"\0"),
            full(b"pitm", struct.pack(">H", count + 1)),
            full(b"iloc", struct.pack(">BBH", 0x44, 0, count + 1), *places),
            full(b"iinf", struct.pack(">H", count + 1), infe),
            box(b"iprp", properties, association),
            full(b"iref", box(b"dimg", struct.pack(f">{count + 2}H", count + 1, count, *range(1, count + 1)))),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *tiles, grid)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, portrait: Array) -> Path:
    """The portrait in four tiles of 256x256, cropped by 12 pixels."""
    folder = tmp_path_factory.mktemp("grid")
    tiles, configuration = [], b""
    for y in (0, 256):
        for x in (0, 256):
            path = folder / f"{y}{x}.mp4"
            subprocess.run(
                ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "256x256", "-i", "-",
                 "-vf", "scale=out_range=full,format=yuvj420p", "-frames:v", "1", "-c:v", "libx265", "-crf", "8",
                 "-tag:v", "hvc1", "-x265-params", "log-level=none:info=0", str(path)],
                input=portrait[y : y + 256, x : x + 256].tobytes(), check=True,
            )  # fmt: skip
            with av.open(str(path)) as container:
                tiles.append(bytes(next(iter(container.demux(video=0)))))
            data = path.read_bytes()
            at = data.index(b"hvcC")
            configuration = data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    path = folder / "grid.heic"
    path.write_bytes(grid_of(tiles, configuration, 256, 500, 500))
    return path


def test_a_photograph_in_tiles_is_read_whole(grid: Path, portrait: Array, decoder: StillProcess) -> None:
    image = decoder.read(grid)
    assert image.shape == (500, 500, 3)
    assert np.abs(image.astype(int) - portrait[:500, :500].astype(int)).mean() < 5


def test_tiles_are_not_played_as_a_film(grid: Path) -> None:
    with pytest.raises(UserError, match="in 4 parts that make a whole only together"):
        open_source(str(grid))
