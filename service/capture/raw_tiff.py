"""Uncompressed TIFF, whose rows lie in the file as they are: they are read a few at a time, and never copied whole."""

from operator import index
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

# Numbers of TIFF 6.0's tags, and of values in them.
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _PLANAR, _TILE, _FORMAT = 273, 274, 277, 278, 284, 322, 339
_BLACK_IS_ZERO, _RGB = 1, 2
_DTYPES = {(8, 1): "u1", (16, 1): "u2", (32, 1): "u4", (32, 3): "f4", (64, 3): "f8"}  # by bits and sample format


class RawTiff:
    """Give rows of an uncompressed TIFF as numbers in the depth of the file."""

    def __init__(self, path: Path, tags: dict[int, Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Read rows of `shape` (h, w) or (h, w, 3) and kind `dtype` from where the `tags` of `path` say."""
        self.shape = shape
        self.orientation = index(tags.get(_ORIENTATION, 1))  # as in EXIF
        self._path, self._dtype = path, dtype
        self._offsets = tuple(index(at) for at in tags[_OFFSETS])
        self._together = min(index(tags.get(_ROWS, shape[0])), shape[0])  # rows of a strip of the file

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the picture in the file `path`; None for tiles, compression, palettes, alpha and other rare forms."""
        from PIL.TiffImagePlugin import ImageFileDirectory_v2

        with path.open("rb") as file:
            head = file.read(8)
            if head[2:4] in (b"+\0", b"\0+"):
                head += file.read(8)
            try:
                directory = cast("Any", ImageFileDirectory_v2)(head)
                file.seek(directory.next)
                directory.load(file)
                tags = {number: directory[number] for number in directory}
                return cls._of_tags(path, tags, "<" if head[:2] == b"II" else ">")
            except Exception:  # Pillow raises whatever it stumbles over; the decoders say what is wrong
                return None

    @classmethod
    def _of_tags(cls, path: Path, tags: dict[int, Any], order: str) -> Self | None:
        samples, width, height = tags.get(_SAMPLES, 1), index(tags[_WIDTH]), index(tags[_LENGTH])
        bits, formats = set(tags.get(_BITS, (1,))), set(tags.get(_FORMAT, (1,)))
        plain = (tags.get(_COMPRESSION, 1), tags.get(_FILL, 1), tags.get(_PLANAR, 1)) == (1, 1, 1) and _TILE not in tags
        coloured = (tags[_PHOTOMETRIC], samples) in ((_BLACK_IS_ZERO, 1), (_RGB, 3))
        if not plain or not coloured or len(bits) != 1 or len(formats) != 1:
            return None
        kind = _DTYPES.get((bits.pop(), formats.pop()))
        if kind is None or min(width, height, tags.get(_ROWS, height)) < 1:
            return None
        picture = cls(path, tags, np.dtype(order + kind), (height, width) if samples == 1 else (height, width, 3))
        return picture if picture._is_whole() else None

    def _is_whole(self) -> bool:
        """Return whether the file has all rows."""
        strips = -(-self.shape[0] // self._together)
        last = self.shape[0] - (strips - 1) * self._together
        if len(self._offsets) != strips:
            return False
        rows = [*[self._together] * (strips - 1), last]
        size = self._path.stat().st_size
        return all(0 <= at <= size - count * self._row_bytes for at, count in zip(self._offsets, rows, strict=True))

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape[1:])) * self._dtype.itemsize

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return the rows from `top` to before `bottom`, in the order of the file, in numbers of this machine's order.

        Raises `OSError` if the file is cut meanwhile.
        """
        rows = np.empty((bottom - top, *self.shape[1:]), self._dtype)
        with self._path.open("rb") as file:
            at = top
            while at < bottom:
                strip, within = divmod(at, self._together)
                until = min(bottom, (strip + 1) * self._together)
                file.seek(self._offsets[strip] + within * self._row_bytes)
                part = memoryview(rows[at - top : until - top].data).cast("B")
                if file.readinto(part) != len(part):
                    raise OSError(f"{self._path.name} became shorter while it was read")
                at = until
        return rows.astype(self._dtype.newbyteorder("="), copy=False)
