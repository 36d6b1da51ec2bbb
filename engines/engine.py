"""The interface of all engines: named numpy arrays in and out, with the batch along axis 0."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError

Arrays = dict[str, NDArray[np.generic]]
SOUND_EMBEDDING = "sound_embedding"  # an output that may be given back as an input instead of sound: `engines.split`


class Engine(Protocol):
    """Run a compiled network. Calls are thread-safe and release the GIL while native code runs."""

    @property
    def name(self) -> str:
        """Return the backend: "openvino", "tensorrt" or "torch"."""

    @property
    def precision(self) -> str:
        """Return the precision: "fp32", "bf16", "fp16" or "int8"."""

    @property
    def inputs(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the inputs by name, batch first, with -1 where any size is taken."""

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name for `inputs` by name; all share the batch size of axis 0.

        The caller may change the returned arrays. Raise `EngineError` where the network cannot be run on the inputs.
        """


@runtime_checkable
class KeepsSound(Protocol):
    """Give the embedding of the sound as an output that may be given back as an input; see `engines.split`."""

    kept: int  # values in an embedding


@runtime_checkable
class Prepares(Protocol):
    """Compile for each number of rows when its first batch comes, or earlier, where `prepare` is called."""

    def prepare(self, rows: int) -> None:
        """Compile what a batch of so many rows needs, unless that was done. Raise `EngineError` where it fails."""


def is_finite(outputs: Mapping[str, NDArray[np.generic]]) -> bool:
    """Return whether no output holds NaN or Inf."""
    return all(bool(np.isfinite(values).all()) for values in outputs.values() if values.dtype.kind == "f")


def require_finite(outputs: Mapping[str, NDArray[np.generic]], who: str) -> None:
    """Raise `EngineError` if an output holds NaN or Inf, because such a number must never become an estimate.

    `who` names the engine in the error.
    """
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int(np.size(values) - np.isfinite(values).sum())
            raise EngineError(f"{who} gave {count} values that are not finite in {name!r}; its result was discarded.")
