"""Mix the channels of a sound to one, also where swapped wires have inverted one, which an average would cancel."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE

_BLOCK = SAMPLE_RATE // 50  # samples: the sign of a channel is decided anew every 20 ms
_MEMORY = 0.5  # seconds that the decision looks back on
_OPPOSITE, _ALIKE = -0.3, 0.3  # correlation with the first channel below and above which a channel is turned
_LOUDEST = 4.0  # of full scale, 12 dB above it: what float sound may hold; beyond it are broken encoders
_SILENT = 1e-3  # of the other channel's energy: below this the first channel says nothing about the sign


class MonoMixer:
    """Average the channels of one stream, with the sign of channels of opposite phase inverted.

    A cable or plug that swaps two wires inverts one channel, and the plain average of such a pair is silence. Each
    block of 20 ms is mixed by the correlation of the sound before it, so that the result does not depend on how the
    sound was cut into pieces, and a change of sign is faded over one block.
    """

    def __init__(self) -> None:
        self._energy: NDArray[np.float64] | None = None  # (channels,), with a memory of `_MEMORY`
        self._product = np.zeros(0)  # (channels,) of each channel with the first
        self._signs = np.zeros(0, np.float32)  # (channels,) of this block's end
        self._before = np.zeros(0, np.float32)  # of the block before
        self._at = 0  # samples of this block that have come
        self._keep = math.exp(-_BLOCK / SAMPLE_RATE / _MEMORY)

    @property
    def inverted(self) -> bool:
        """Return whether a channel's sign is inverted now."""
        return bool((self._signs < 0).any())

    def __call__(self, sound: NDArray[Any]) -> NDArray[np.float32]:
        """Return (n,) float32 of `sound` (channels, n), floats at `SAMPLE_RATE`, the next n samples of the stream.

        What is no finite number is silence, because one such sample would spoil every window that it lies in.
        """
        channels = np.asarray(sound, np.float32)
        if not np.abs(channels).max(initial=0.0) <= _LOUDEST:
            channels = np.clip(np.nan_to_num(channels, nan=0.0, posinf=0.0, neginf=0.0), -_LOUDEST, _LOUDEST)
        count, length = channels.shape
        if count == 1:
            return np.ascontiguousarray(channels[0])
        if self._energy is None or len(self._energy) != count:
            self._energy, self._product = np.zeros(count), np.zeros(count)
            self._signs = self._before = np.ones(count, np.float32)
            self._at = 0
        mixed = np.empty(length, np.float32)
        start = 0
        while start < length:
            end = min(length, start + _BLOCK - self._at)
            piece = channels[:, start:end]
            mixed[start:end] = self._mixed(piece)
            self._energy += np.einsum("cn,cn->c", piece, piece)
            self._product += piece @ piece[0]
            self._at += end - start
            if self._at == _BLOCK:
                self._decide()
            start = end
        return mixed

    def _mixed(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = self._signs / np.float32(len(piece))
        if (self._signs == self._before).all():
            return np.asarray(weights @ piece, np.float32)
        fade = (np.arange(self._at, self._at + piece.shape[1], dtype=np.float32) + 1) / _BLOCK
        before = self._before / np.float32(len(piece))
        return np.asarray((before @ piece) * (1 - fade) + (weights @ piece) * fade, np.float32)

    def _decide(self) -> None:
        assert self._energy is not None
        self._before, self._at = self._signs, 0
        known = self._energy[0] > _SILENT * self._energy
        likeness = self._product / np.sqrt(np.maximum(self._energy[0] * self._energy, 1e-20))
        signs = np.where(known & (likeness < _OPPOSITE), -1, np.where(known & (likeness > _ALIKE), 1, self._signs))
        self._signs = signs.astype(np.float32)
        self._energy *= self._keep
        self._product *= self._keep
