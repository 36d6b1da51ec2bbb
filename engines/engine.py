"""What every engine is: named numpy arrays in, named numpy arrays out, dynamic batch along axis 0."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]


class Engine(Protocol):
    """A compiled network. Calls are thread-safe and release the GIL while native code runs."""

    @property
    def name(self) -> str:
        """Backend: "openvino", "tensorrt" or "torch"."""

    @property
    def precision(self) -> str:
        """ "fp32", "bf16", "fp16" or "int8"."""

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Outputs by name for `inputs` by name; all share the batch size of axis 0. The arrays are the caller's."""
