"""Shared by `bench engines` and `bench gpu`: calls that alternate, and eager PyTorch, which ratios refer to."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines import weights
from engines.engine import Arrays
from engines.errors import EngineError
from engines.papers import imported
from engines.verify import Comparison
from models import registry


@dataclass(kw_only=True)
class Lane:
    """Hold one of the alternating calls, the milliseconds that each took, and `facts` for its row."""

    backend: str
    precision: str
    call: Callable[[], Any]
    facts: dict[str, Any] = field(default_factory=dict)
    spent: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        """Return the median in milliseconds."""
        return float(np.median(self.spent))


def alternate(lanes: Sequence[Lane], *, warm_up: int, fewest: int, most: int, seconds: float, name: str) -> None:
    """Call all of `lanes` in turn, round after round, so that other work on the machine disturbs all of them alike.

    There are `most` rounds, fewer if they take longer than `seconds`, and at least `fewest`. Each lane is called
    `warm_up` times before. `name` labels the progress bar.
    """
    for lane in lanes:
        for _ in range(warm_up):
            lane.call()
    begin = time.perf_counter()
    for done in tqdm(range(most), desc=name, unit="round", disable=None):
        if done >= fewest and time.perf_counter() - begin > seconds:
            break
        for lane in lanes:
            started = time.perf_counter()
            lane.call()
            lane.spent.append((time.perf_counter() - started) * 1e3)


def facts_of(figures: Comparison) -> dict[str, Any]:
    """Return what a row holds of a comparison with the reference."""
    errors = {key: float(f"{value:.4g}") for key, value in figures.values.items()}
    return {"verified": figures.excess is None, "errors": errors, "samples": figures.samples}


class Eager:
    """Run a network in eager PyTorch on arrays by name: a paper's system by its own code, others from their ONNX file.

    Raise `EngineError` without PyTorch or onnx.
    """

    def __init__(self, name: str, reference: weights.Weights, inputs: Sequence[str]) -> None:
        try:
            if name in registry.systems():
                live = imported.network(name)
                self.module, self._names = live.module, list(live.inputs)
            else:
                import onnx

                from engines.gpu.onnx_torch import OnnxModule

                self.module = OnnxModule(onnx.load(str(weights.verified(reference)))).eval()
                self._names = list(inputs)
        except ImportError:
            raise EngineError("Measuring against PyTorch needs it: pip install 'affectstream[train]'.") from None
        self._device = "cpu"

    def cuda(self) -> Self:
        """Move the network to the GPU and return this object."""
        self.module, self._device = self.module.cuda(), "cuda"
        return self

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name."""
        import torch

        with torch.inference_mode():
            given = (torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self._device) for name in self._names)
            return {key: value.cpu().numpy() for key, value in self.module(*given).items()}

    def operations(self, one: Arrays) -> tuple[int, int]:
        """Return the floating-point operations of one prediction, and those of its convolutions.

        A multiplication and an addition count as two.
        """
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self(one)
        counts = counter.get_flop_counts()["Global"]
        return int(counter.get_total_flops()), int(counts.get(torch.ops.aten.convolution, 0))
