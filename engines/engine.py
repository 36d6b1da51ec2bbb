"""What every engine is: named numpy arrays in, named numpy arrays out, dynamic batch along axis 0."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError

Arrays = dict[str, NDArray[np.generic]]
SOUND_EMBEDDING = "sound_embedding"  # an output that may be kept, and given back in place of the sound: `engines.split`


class Engine(Protocol):
    """A compiled network. Calls are thread-safe and release the GIL while native code runs."""

    @property
    def name(self) -> str:
        """Backend: "openvino", "tensorrt" or "torch"."""

    @property
    def precision(self) -> str:
        """ "fp32", "bf16", "fp16" or "int8"."""

    @property
    def inputs(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the inputs by name, batch first, -1 where any size is taken."""

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Outputs by name for `inputs` by name; all share the batch size of axis 0. The arrays are the caller's."""


def is_finite(outputs: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether no output holds NaN or Inf."""
    return all(bool(np.isfinite(values).all()) for values in outputs.values() if values.dtype.kind == "f")


def require_finite(outputs: Mapping[str, NDArray[np.generic]], who: str) -> None:
    """Raises `EngineError` when an output holds NaN or Inf: such a number must never become an estimate."""
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int(np.size(values) - np.isfinite(values).sum())
            raise EngineError(f"{who} gave {count} values that are not finite in {name!r}; its result was discarded.")
