"""Pictures and sound that a replica has received already are not sent again.

TSAV is asked about eight pictures of a face, of which seven were in the request before: sent whole, a face takes 2 MB/s
of the network, and an eighth of that with the newest picture alone. A picture is named by its hash. A replica that does
not have a named picture answers so, and is sent all of them. Sound is in `service.pool.columns`. Where `--pool` asks
for it, pictures go as JPEG (`service.pool.jpeg`).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from service.pool.columns import KeptSound, SentSound, Shifted, has_columns
from service.pool.jpeg import Compressed, compressed, restored

SMALLEST = 4096  # bytes of a picture that is worth a name
KEPT = 4  # requests whose pictures are kept; those of two may be on their way
FORGET = 5.0  # s without a request, after which a replica drops the pictures of a session

Seen = OrderedDict[bytes, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Named:
    """Hold an array (rows, pictures, ...) of bytes: the names of all pictures in order, and those that are new."""

    shape: tuple[int, ...]
    names: list[bytes]
    new: dict[bytes, NDArray[np.generic] | Compressed]


Packed = dict[str, NDArray[np.generic] | Named | Compressed | Shifted]


@dataclass(slots=True)
class Sent:
    """Hold what a replica has of a session: the names of pictures in the order of their last use, and sound."""

    replica: str
    jpeg: int | None = None  # quality of pictures on their way; None sends them as they are
    names: Seen = field(default_factory=OrderedDict)
    used: float = 0.0  # s, when a request was sent last
    sound: dict[str, SentSound] = field(default_factory=dict)  # by input

    def packed(self, inputs: Mapping[str, NDArray[np.generic]], now: float) -> Packed:
        """Return the arrays to send at `now` seconds, without what the replica has."""
        self.used = now
        return {name: self._packed(name, values) for name, values in inputs.items()}

    def _packed(self, name: str, values: NDArray[np.generic]) -> NDArray[np.generic] | Named | Compressed | Shifted:
        if has_pictures(values):
            return self._named(values)
        if has_columns(values):
            return self.sound.setdefault(name, SentSound()).packed(values.astype(np.float32, copy=False))
        if self.jpeg is not None and is_picture(values):
            return compressed(values, self.jpeg)
        return values

    def _named(self, values: NDArray[np.generic]) -> Named:
        pictures = values.reshape(-1, *values.shape[2:])
        names = [hashlib.blake2b(np.ascontiguousarray(one).data, digest_size=16).digest() for one in pictures]
        new = {name: one for name, one in zip(names, pictures, strict=True) if name not in self.names}
        used(self.names, names, dict.fromkeys(new, _NONE))
        if self.jpeg is None:
            return Named(values.shape, names, {**new})
        return Named(values.shape, names, {name: compressed(one[None], self.jpeg) for name, one in new.items()})


class Kept:
    """Hold the newest pictures and the last sound of each session, on a replica."""

    def __init__(self) -> None:
        """Begin without pictures."""
        self._sessions: dict[str, Seen] = {}
        self._sound: dict[str, dict[str, KeptSound]] = {}  # by session and input
        self._asked: dict[str, float] = {}  # s, of the last request

    def unpacked(self, session: str, packed: Packed, now: float) -> Arrays | None:
        """Return the arrays of a request at `now` seconds; None if it needs a picture or sound that is not here."""
        for gone in [name for name, asked in self._asked.items() if now - asked > FORGET]:
            del self._asked[gone]
            self._sessions.pop(gone, None)
            self._sound.pop(gone, None)
        found: Arrays = {}
        complete = True
        for name, values in packed.items():
            if isinstance(values, Compressed):
                found[name] = restored(values)
                continue
            if isinstance(values, Shifted):
                self._asked[session] = now
                sound = self._sound.setdefault(session, {}).setdefault(name, KeptSound()).unpacked(values)
                if sound is None:
                    complete = False
                else:
                    found[name] = sound
                continue
            if not isinstance(values, Named):
                found[name] = values
                continue
            self._asked[session] = now
            seen = self._sessions.setdefault(session, OrderedDict())
            if any(one not in seen and one not in values.new for one in values.names):
                return None
            # Copies, because the arrays of a call lie in one block of shared memory, which one picture would keep.
            used(seen, values.names, {one: _own(picture) for one, picture in values.new.items()})
            found[name] = np.stack([seen[one] for one in values.names]).reshape(values.shape)
        return found if complete else None


def has_pictures(values: NDArray[np.generic]) -> bool:
    """Return whether an array (rows, pictures, height, width, channels) holds sequences of pictures."""
    return values.ndim == 5 and values.dtype == np.uint8 and values[0, 0].nbytes >= SMALLEST


def is_picture(values: NDArray[np.generic]) -> bool:
    """Return whether an array (rows, height, width, 3 or 4) of bytes holds one picture a row that is worth a JPEG."""
    return (
        values.ndim == 4 and values.dtype == np.uint8 and len(values) > 0
        and values.shape[3] in (3, 4) and values[0].nbytes >= SMALLEST
    )  # fmt: skip


def _own(picture: NDArray[np.generic] | Compressed) -> NDArray[np.generic]:
    return restored(picture)[0] if isinstance(picture, Compressed) else picture.copy()


def used(seen: Seen, names: list[bytes], new: Mapping[bytes, NDArray[np.generic]]) -> None:
    """Add the `new` pictures, note that all of `names` were used last, and drop the oldest.

    Client and replica both call it for each request, so that both know the same names.
    """
    seen.update(new)
    for name in names:
        seen.move_to_end(name)
    while len(seen) > KEPT * len(names):
        seen.popitem(last=False)


_NONE = np.zeros(0, np.uint8)  # a client keeps names alone
