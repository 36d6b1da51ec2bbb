"""Still pictures of every common kind to 8-bit RGB, whatever their name says, their depth is, or their tiles are.

This module decodes in the calling process. What strangers sent is decoded by `still_process`, where a crash costs one
picture.
"""

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service.capture.limits import too_large
from service.capture.raw_tiff import RawTiff

# Kinds by Pillow's names; those that OpenCV reads are read by it, because it keeps 16 bits and floats of colour.
_BY_OPENCV = frozenset({"JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM"})
_MAX_BYTES = 1 << 29  # of a file; the largest that 64 million pixels of 16-bit colour take uncompressed is 384 MB
_HEAD = 64  # bytes of a file that tell its kind
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_LARGE = 16_000_000  # pixels
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_STRIP = 64  # rows that are converted at once: a whole picture in float32 takes four times its own memory
_BITS = (8, 10, 12, 14, 16, 24, 32)  # depths that cameras and scanners write into 16 or 32 bits


def kind_of(path: Path) -> str | None:
    """Return the kind of picture in the file `path`, recognised by its first bytes, or None if it is no picture.

    Raises `OSError` if it cannot be read. Do not call it on pipes.
    """
    with path.open("rb") as file:
        return kind_of_bytes(file.read(_HEAD))


def kind_of_bytes(head: bytes) -> str | None:
    """Return Pillow's name for the kind of picture that begins with `head`, at least 32 bytes; None if for none."""
    for kind, marks in {
        "JPEG": (b"\xff\xd8\xff",),
        "PNG": (b"\x89PNG\r\n\x1a\n",),
        "GIF": (b"GIF87a", b"GIF89a"),
        "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        "JPEG2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    }.items():
        if head.startswith(marks):
            return kind
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[at : at + 4] for at in (8, *range(16, size - 3, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    return None


class Decoded:
    """Hold a decoded picture in the depth of its file, and convert it to 8-bit RGB a few rows at a time.

    A second copy of a whole picture of 64 million pixels takes 190 MB. The picture's memory is therefore freed while it
    is read, and it can be read only once.
    """

    def __init__(self, values: Any, whole: tuple[int, int] | None = None) -> None:
        """Hold `values`: (h, w, 3) RGB or (h, w) grey numbers of any kind, Pillow's picture, or a file's rows.

        `whole`: width and height of the picture, where `values` are of half its scale.
        """
        self._values = values
        width, height = values.size if hasattr(values, "getbbox") else values.shape[1::-1]
        self._rows = height
        self._halved = whole is not None
        self.shape = (height, width, 3) if whole is None else (*whole[::-1], 3)
        self._white = None if hasattr(values, "getbbox") else _white_of(values.shape[0], self._numbers)

    def _numbers(self, top: int, bottom: int) -> NDArray[Any]:
        rows = self._values.rows(top, bottom) if isinstance(self._values, RawTiff) else self._values[top:bottom]
        return np.asarray(rows)

    def strips(self) -> Iterator[NDArray[np.uint8]]:
        """Yield (rows, width, 3) uint8 RGB, contiguous, from the top to the bottom."""
        left = self.shape[0]
        for top in range(0, self._rows, _STRIP):
            bottom = min(top + _STRIP, self._rows)
            if isinstance(self._values, np.ndarray | RawTiff):
                rows = _to_8_bit(self._numbers(top, bottom), self._white)
            else:
                rows = np.asarray(self._values.crop((0, top, self._values.width, bottom)).convert("RGB"), np.uint8)
            if self._halved:
                rows = rows.repeat(2, axis=0)[:left].repeat(2, axis=1)[:, : self.shape[1]]
            left -= len(rows)
            yield np.array(np.repeat(rows[:, :, None], 3, axis=2) if rows.ndim == 2 else rows, np.uint8, order="C")
            if isinstance(self._values, np.ndarray):
                give_back(self._values[top:bottom])


def decode_still(path: Path) -> NDArray[np.uint8]:
    """Return the first picture of the file `path` as (height, width, 3) uint8 RGB, upright; see `decode`."""
    return np.concatenate([*decode(path).strips()])


def decode(path: Path) -> Decoded:
    """Return the first picture of the file `path`, upright.

    Its size is read from its header and checked before anything is decoded. Of 12 bits in 16 and the like the bits
    that are used become the range from black to white; floats are taken as 0 to 1, or as 0 to 255 where they exceed 1.
    Raises `UserError`, a sentence's end, if it is too large or cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"is larger than {_MAX_BYTES >> 20} MiB")
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if not head:
            raise UserError("is empty (0 bytes); was its recording or copying interrupted?")
        kind = kind_of_bytes(head)
        if kind is None:
            raise UserError("is not a picture of a kind that can be read")
        if kind == "TIFF" and (rows := RawTiff.of(path)) is not None:
            return _of_rows(rows)
        try:
            picture = _header(file, kind)
        except UserError:
            # Pillow does not know every header, such as that of a TIFF of three floats a pixel. OpenCV checks the size
            # itself, against the limit that `still_process` sets.
            image = _by_opencv(path) if kind in _BY_OPENCV else None
            if image is None:
                raise
            return Decoded(image)
        _check_size(*picture.size)
        halved = _waits_for_its_last_scan(picture)
        image = _by_opencv(path, picture.size, halved=halved) if picture.format in _BY_OPENCV else None
        if image is not None:
            return Decoded(image, _as_turned(picture.size, image.shape[1::-1]) if halved else None)
        if picture.format in ("AVIF", "HEIF") and picture.width * picture.height > _LARGE:
            image = _by_ffmpeg(path, picture) if picture.format == "AVIF" else _by_libheif(file)
            if image is not None:
                return Decoded(image)
        try:
            if picture.format == "JPEG2000" and picture.width * picture.height > _LARGE:
                # OpenJPEG takes 16 bytes a pixel of the scale that it decodes at.
                with contextlib.suppress(OSError):  # there is no smaller scale in it
                    return _by_pillow(picture, halved=True)
                picture = _header(file, kind)
            return _by_pillow(picture)
        except Exception as error:  # Pillow's decoders raise whatever they stumble over
            raise UserError(
                f"is damaged: its {picture.format} data cannot be decoded ({type(error).__name__})"
            ) from error


def oversize(path: Path) -> str | None:
    """Return why the still picture in the file `path` is refused by the size in its header; None if it is not.

    Files of other kinds, and those whose header cannot be read, give None. Raises `OSError` if it cannot be opened.
    """
    kind = kind_of(path)
    if kind is None or path.stat().st_size > _MAX_BYTES:
        return None
    try:
        with path.open("rb") as file:
            return too_large(*_header(file, kind).size)
    except UserError:
        return None


def _header(file: BinaryIO, kind: str) -> Any:
    """Return Pillow's picture of `file`, not yet decoded. Raises `UserError` if its header cannot be read."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is checked by `decode_still`
    if kind == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    try:
        return Image.open(file, formats=["JPEG", "MPO"] if kind == "JPEG" else [kind])
    except UnidentifiedImageError:
        raise UserError(f"is damaged: it begins like {kind}, but its header cannot be read") from None
    except Exception as error:  # as above
        raise UserError(f"is damaged: its {kind} header cannot be read ({type(error).__name__})") from error


def _check_size(width: int, height: int) -> None:
    """Raise `UserError` for a picture of more pixels than are read."""
    refused = too_large(width, height)
    if refused is not None:
        raise UserError(f"is too large: {refused}")


def _of_rows(rows: RawTiff) -> Decoded:
    """Return an uncompressed TIFF upright. Raises `UserError` if it is too large."""
    height, width = rows.shape[:2]
    _check_size(width, height)
    if rows.orientation in (0, 1):
        return Decoded(rows)
    return Decoded(_oriented(rows.rows(0, height), rows.orientation))


def _oriented(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of `image` (h, w, ...) turned and mirrored as EXIF's `orientation`, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def _as_turned(size: tuple[int, int], like: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of `size`, exchanged where a picture of the size `like` lies on its side against it."""
    return size if (size[0] > size[1]) == (like[0] > like[1]) else size[::-1]


def _waits_for_its_last_scan(picture: Any) -> bool:
    """Return whether `picture` is a large progressive JPEG of whole colours, read at half its scale.

    Its decoder holds the coefficients of all colours, 6 bytes a pixel, until the last of them has come.
    """
    if picture.format not in ("JPEG", "MPO") or picture.width * picture.height <= _LARGE:
        return False
    areas = [across * down for _, across, down, _ in picture.layer]
    return bool(picture.info.get("progressive")) and 2 * sum(areas) > 4 * max(areas)


def _by_ffmpeg(path: Path, picture: Any) -> NDArray[np.uint8] | None:
    """Return (h, w, 3) RGB, upright, of a large AVIF; None if FFmpeg cannot read it whole, such as one made of tiles.

    Pillow holds it in four forms at once, 10 bytes a pixel; FFmpeg takes 4.5. `picture`: Pillow's header of it.
    """
    import av
    from av.video.reformatter import VideoReformatter

    try:
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1  # further threads hold pictures of their own
            frame = next(container.decode(stream))
            if (frame.width, frame.height) != picture.size:
                return None
            plane = VideoReformatter().reformat(frame, format="rgb24", threads=1).planes[0]
    except (av.error.FFmpegError, IndexError, StopIteration, UnicodeError):
        return None
    width, height = picture.size
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
    return _oriented(rows[:, : 3 * width].reshape(height, width, 3), picture.getexif().get(0x0112, 1))


def _by_libheif(file: BinaryIO) -> NDArray[np.uint8] | None:
    """Return (h, w, 3) RGB, upright, of a large HEIC; None if it cannot be decoded. Pillow makes another copy of it."""
    from pillow_heif import open_heif

    file.seek(0)
    try:
        values = np.asarray(open_heif(file))
    except (OSError, ValueError, RuntimeError, SyntaxError, EOFError):
        return None  # Pillow's way says what is wrong
    return np.asarray(values[:, :, :3], np.uint8) if values.ndim == 3 and values.shape[2] > 2 else None


def _by_opencv(path: Path, size: tuple[int, int] | None = None, *, halved: bool = False) -> NDArray[Any] | None:
    """Return (h, w, 3) RGB or (h, w) grey in the depth of the file, or None if OpenCV cannot read it.

    `size`: width and height by the header. A large picture is decoded into memory of that size, because OpenCV copies
    what it decodes into memory of its own; `halved`: a JPEG at half its scale.
    """
    how = cv2.IMREAD_REDUCED_COLOR_2 if halved else cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
    image: Any = None
    try:
        name = str(path).encode().decode()
        if size is not None and size[0] * size[1] > _LARGE and not halved:
            for depth in (np.uint8, np.uint16):
                with contextlib.suppress(cv2.error):  # it has another depth, or is turned upright
                    image = cv2.imread(name, np.empty((*size[::-1], 3), depth), how)
                    break
        if image is None:
            image = cv2.imread(name, how)
    except UnicodeEncodeError:  # OpenCV opens no such name
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), how)
    except cv2.error:
        return None
    if image is None:
        return None
    return np.asarray(image if image.ndim == 2 else image[:, :, ::-1])


def _by_pillow(picture: Any, *, halved: bool = False) -> Decoded:
    """Return Pillow's picture decoded and upright; `halved`: one of JPEG 2000 at half its scale."""
    from PIL import ImageOps

    picture.seek(0)
    whole = picture.size if halved else None
    if halved:
        picture.reduce = 1
    ImageOps.exif_transpose(picture, in_place=True)
    whole = _as_turned(whole, picture.size) if whole is not None else None
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Decoded(np.asarray(picture), whole)
    picture.load()
    return Decoded(picture, whole)


def give_back(values: NDArray[Any]) -> None:
    """Return the memory of `values`, which are not read any more, to the system as far as whole pages go.

    Does nothing where that cannot be asked for. `values` must be memory of its own kind, not of a file.
    """
    madvise = getattr(_LIBC, "madvise", None)
    if madvise is None:
        return
    low, high = np.lib.array_utils.byte_bounds(values)
    if high - low > values.nbytes + abs(values.strides[0]):  # what is read later lies between
        return
    low, high = -(-low // mmap.PAGESIZE) * mmap.PAGESIZE, high // mmap.PAGESIZE * mmap.PAGESIZE
    if high > low:
        madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), mmap.MADV_DONTNEED)


def to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return `values` of any depth as uint8, black at 0 and white at the top of the range that they use.

    Whole numbers use the least of 8, 10, 12, 14, 16, 24 and 32 bits that holds them all; floats use 1 if none exceeds
    it, else the same.
    """
    return _to_8_bit(values, _white_of(len(values), lambda top, bottom: values[top:bottom]))


def _white_of(height: int, rows: Callable[[int, int], NDArray[Any]]) -> float | None:
    """Return the value of white in a picture's `rows` (top, bottom); None for bytes, which need no conversion."""
    dtype = rows(0, 1).dtype
    if dtype == np.uint8:
        return None
    tops = range(0, height, _STRIP)
    most = max((float(_finite(rows(top, min(top + _STRIP, height))).max(initial=0.0)) for top in tops), default=0.0)
    if dtype.kind == "f" and most <= 1.0:
        return 1.0
    return float(next((1 << bits for bits in _BITS if most < 1 << bits), 1 << 32) - 1)


def _to_8_bit(values: NDArray[Any], white: float | None) -> NDArray[np.uint8]:
    if white is None:
        return np.asarray(values, np.uint8)
    return np.asarray(np.clip(_finite(values) * (255.0 / white) + 0.5, 0, 255), np.uint8)


def _finite(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return `values` as float32, with 0 for what is no finite number."""
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
