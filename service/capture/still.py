"""Still pictures of every common kind to 8-bit RGB, whatever their name says, their depth is, or their tiles are.

This module decodes in the calling process. What strangers sent is decoded by `still_process`, where a crash costs one
picture.
"""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service.capture.limits import too_large

# Kinds by Pillow's names; those that OpenCV reads are read by it, because it keeps 16 bits and floats of colour.
_BY_OPENCV = frozenset({"JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM"})
_BY_PILLOW = frozenset({"GIF", "JPEG2000", "AVIF", "HEIF"})
_MAX_BYTES = 1 << 29  # of a file; the largest that 64 million pixels of 16-bit colour take uncompressed is 384 MB
_HEAD = 64  # bytes of a file that tell its kind
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_BITS = (8, 10, 12, 14, 16, 24, 32)  # depths that cameras and scanners write into 16 or 32 bits


def kind_of(path: Path) -> str | None:
    """Return which kind of picture the file `path` begins like, by its content, or None if like none.

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


def decode_still(path: Path) -> NDArray[np.uint8]:
    """Return the first picture of the file `path` as (height, width, 3) uint8 RGB, upright.

    Its size is read from its header and checked before anything is decoded. Of 12 bits in 16 and the like the bits
    that are used become the range from black to white; floats are taken as 0 to 1, or as 0 to 255 where they exceed 1.
    Raises `UserError`, a sentence's end, if it is too large or cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"is larger than {_MAX_BYTES >> 20} MiB")
    data = path.read_bytes()
    if not data:
        raise UserError("is empty (0 bytes); was its recording or copying interrupted?")
    kind = kind_of_bytes(data[:_HEAD])
    if kind is None:
        raise UserError("is not a picture of a kind that can be read")
    try:
        picture = _header(data, kind)
    except UserError:
        # Pillow does not know every header, such as that of a TIFF of three floats a pixel. OpenCV checks the size
        # itself, against the limit that `still_process` sets.
        image = _by_opencv(data) if kind in _BY_OPENCV else None
        if image is None:
            raise
        return to_8_bit(image)
    refused = too_large(*picture.size)
    if refused is not None:
        raise UserError(f"is too large: {refused}")
    image = _by_opencv(data) if picture.format in _BY_OPENCV else None
    if image is None:
        try:
            image = _by_pillow(picture)
        except Exception as error:  # Pillow's decoders raise whatever they stumble over
            raise UserError(
                f"is damaged: its {picture.format} data cannot be decoded ({type(error).__name__})"
            ) from error
    return to_8_bit(image)


def oversize(path: Path) -> str | None:
    """Return why the still picture in the file `path` is refused by the size in its header; None if it is not.

    Files of other kinds, and those whose header cannot be read, give None. Raises `OSError` if it cannot be opened.
    """
    kind = kind_of(path)
    if kind is None or path.stat().st_size > _MAX_BYTES:
        return None
    try:
        return too_large(*_header(path.read_bytes(), kind).size)
    except UserError:
        return None


def _header(data: bytes, kind: str) -> Any:
    """Return Pillow's picture of `data`, not yet decoded. Raises `UserError` if its header cannot be read."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is checked by `decode_still`
    if kind == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    try:
        return Image.open(io.BytesIO(data), formats=["JPEG", "MPO"] if kind == "JPEG" else [kind])
    except UnidentifiedImageError:
        raise UserError(f"is damaged: it begins like {kind}, but its header cannot be read") from None
    except Exception as error:  # as above
        raise UserError(f"is damaged: its {kind} header cannot be read ({type(error).__name__})") from error


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    """Return (h, w, 3) RGB in the depth of the file, or None if OpenCV cannot read it."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if image is None:
        return None
    if image.ndim == 2:
        return np.asarray(np.repeat(image[:, :, None], 3, axis=2))
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _by_pillow(picture: Any) -> NDArray[Any]:
    """Return (h, w, 3) RGB in the depth of the file."""
    from PIL import ImageOps

    picture.seek(0)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        return np.asarray(np.repeat(np.asarray(picture)[:, :, None], 3, axis=2))
    return np.asarray(picture.convert("RGB"))


def to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return `values` of any depth as uint8, black at 0 and white at the top of the range that they use.

    Whole numbers use the least of 8, 10, 12, 14, 16, 24 and 32 bits that holds them all; floats use 1 if none exceeds
    it, else the same.
    """
    if values.dtype == np.uint8:
        return values
    known = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    most = float(known.max(initial=0.0))
    if values.dtype.kind == "f" and most <= 1.0:
        white = 1.0
    else:
        white = float(next((1 << bits for bits in _BITS if most < 1 << bits), 1 << 32) - 1)
    return np.asarray(np.clip(known * (255.0 / white) + 0.5, 0, 255), np.uint8)
