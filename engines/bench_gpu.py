"""`affectstream bench gpu`: what a batch costs in every engine of the GPU, beside eager torch there and its limit.

A prediction is whole: from arrays to arrays, with the copies to the GPU and back. Ratios are to eager torch in float32
on the same GPU at the same batch; all calls take turns. The limit is a large matrix product in the same precision.
What the convolutions alone reach is read from the profiler, without a CUDA graph, which hides whose kernel is whose.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines import imported, load, machine, torch_cuda, weights
from engines.engine import SOUND_EMBEDDING, Arrays, Engine
from engines.errors import EngineError
from engines.verify import compare

MODEL = "tsav"
GOAL = "tsav on one H200: 200 streams at 30 predictions/s, half of the measured bf16 peak in its convolutions"
BATCHES = (1, 4, 16, 64)
BACKENDS = ("tensorrt", "torch")
WARM_UP = 3  # calls of each that are not measured
MOST = 20  # rounds
SECONDS = 6.0  # spent on the rounds of a batch size
_SIDE = 8192  # of the matrix product
_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclass
class _Lane:
    """One call that takes its turn, and the milliseconds it took."""

    backend: str
    precision: str
    sound: str
    call: Callable[[], Any]
    facts: dict[str, Any] = field(default_factory=dict)
    spent: list[float] = field(default_factory=list)


def engines(name: str = MODEL) -> dict[str, Any]:
    """Rows for every engine and precision of the GPU. Systems without weights run on random ones. Raises `EngineError`
    where torch sees no GPU."""
    torch_cuda.precisions()
    import torch

    facts = machine.facts(("torch", "numpy")) | {"gpu": torch_cuda.device(), "cuda": torch.version.cuda}
    yardstick = load.Yardstick(load.weights_of(name, untrained=True), None)
    inputs = yardstick.inputs
    eager = _Eager(imported.network(name).module if name in imported.SYSTEMS else None, yardstick.reference)
    operations, convolutions = _operations(eager, {key: values[:1] for key, values in inputs.items()})
    refused: list[str] = []
    found = _opened(yardstick, refused)
    peaks = {precision: _peak(precision) for precision in _TYPES}
    rows = []
    for batch in BATCHES:
        given = {key: np.resize(values, (batch, *values.shape[1:])) for key, values in inputs.items()}
        lanes = _measured(eager.cuda(), found, given)
        rows += [_row(name, lane, batch, operations, peaks[lane.precision]) for lane in lanes]
    _ratios(rows)
    facts["peak TFLOP/s"] = {precision: round(value, 1) for precision, value in peaks.items()}
    parts = [
        _convolutions(yardstick.reference, precision, inputs, BATCHES[-1], convolutions, peaks[precision])
        for precision in torch_cuda.precisions()
    ]
    return {"machine": facts, "goal": GOAL, "rows": rows, "convolutions": parts, "refused": refused}


def _opened(yardstick: load.Yardstick, refused: list[str]) -> list[tuple[Engine, dict[str, Any]]]:
    """Every engine that this GPU has, with how it compares; one that is beyond the limits is measured all the same."""
    made = []
    for backend in BACKENDS:
        try:
            precisions = [p for p in load.BACKENDS[backend].precisions() if p in _TYPES]
        except EngineError as error:
            refused.append(str(error))
            continue
        for precision in precisions:
            engine = load.BACKENDS[backend].open(yardstick.reference, precision, 0, 1)
            figures = compare(yardstick.truth, engine, yardstick.inputs)
            errors = {key: float(f"{value:.4g}") for key, value in figures.values.items()}
            facts = {"verified": figures.excess is None, "errors": errors, "samples": figures.samples}
            made.append((engine, facts))
    return made


def _measured(eager: "_Eager", found: list[tuple[Engine, dict[str, Any]]], given: Arrays) -> list[_Lane]:
    lanes = [_Lane("torch eager", "fp32", "read", lambda: eager(given))]
    for engine, facts in found:
        outputs = engine(given)
        lanes.append(_Lane(engine.name, engine.precision, "read", lambda e=engine: e(given), facts))  # type: ignore[misc]
        if SOUND_EMBEDDING in outputs:
            kept = {"clip": given["clip"], SOUND_EMBEDDING: outputs[SOUND_EMBEDDING]}
            lanes.append(_Lane(engine.name, engine.precision, "kept", lambda e=engine, k=kept: e(k), facts))  # type: ignore[misc]
    for lane in lanes:
        for _ in range(WARM_UP):
            lane.call()
    begin = time.perf_counter()
    for done in range(MOST):
        if done >= 3 and time.perf_counter() - begin > SECONDS:
            break
        for lane in lanes:
            started = time.perf_counter()
            lane.call()
            lane.spent.append((time.perf_counter() - started) * 1e3)
    return lanes


def _row(name: str, lane: _Lane, batch: int, operations: int, peak: float) -> dict[str, Any]:
    low, middle, high = np.percentile(lane.spent, [10, 50, 90]).tolist()
    row = {
        "model": name, "backend": lane.backend, "precision": lane.precision, "sound": lane.sound, "batch": batch,
        "ms": round(middle, 3), "p10": round(low, 3), "p90": round(high, 3),
        "per_second": round(1e3 * batch / middle, 1),
    }  # fmt: skip
    if lane.sound == "read":
        reached = operations * batch / middle / 1e9
        row |= {"tflop_per_s": round(reached, 1), "of_peak": round(reached / peak, 3)}
    else:
        row |= {"tflop_per_s": None, "of_peak": None}
    return row | {"verified": None, "errors": None, "samples": None} | lane.facts


def _ratios(rows: list[dict[str, Any]]) -> None:
    eager = {row["batch"]: row["ms"] for row in rows if row["backend"] == "torch eager"}
    for row in rows:
        row["ratio"] = round(eager[row["batch"]] / row["ms"], 2)


class _Eager:
    """The network in torch as it is defined, float32, on arrays by name."""

    def __init__(self, module: Any, reference: weights.Weights) -> None:
        if module is None:
            import onnx

            from engines.onnx_torch import OnnxModule

            module = OnnxModule(onnx.load(str(weights.verified(reference)))).eval()
        self._module, self._device = module, "cpu"

    def cuda(self) -> "_Eager":
        """Itself, on the GPU from now on."""
        self._module, self._device = self._module.cuda(), "cuda"
        return self

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        import torch

        with torch.inference_mode():
            given = (torch.from_numpy(np.ascontiguousarray(x)).to(self._device) for x in inputs.values())
            return {key: value.cpu().numpy() for key, value in self._module(*given).items()}


def _operations(eager: _Eager, one: Arrays) -> tuple[int, int]:
    """Floating-point operations of one prediction, a multiplication and an addition counted as two: all, and those of
    convolutions."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        eager(one)
    every = counter.get_flop_counts()["Global"]
    return int(sum(every.values())), int(every.get(torch.ops.aten.convolution, 0))


def _peak(precision: str) -> float:
    """TFLOP/s of a matrix product that is large enough to show what the GPU reaches at best."""
    import torch

    kind = getattr(torch, _TYPES[precision])
    a, b = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=kind) for _ in range(2))
    return 2 * _SIDE**3 / (_milliseconds(lambda: a @ b, 5) * 1e9)


def _milliseconds(call: Callable[[], Any], rounds: int) -> float:
    """Median that the GPU takes."""
    import torch

    spent = []
    event: Any = torch.cuda.Event
    for _ in range(rounds + WARM_UP):
        begin, end = (event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        spent.append(begin.elapsed_time(end))
    return float(median(spent[WARM_UP:]))


def _convolutions(
    reference: weights.Weights, precision: str, inputs: Arrays, batch: int, operations: int, peak: float
) -> dict[str, Any]:
    """What the convolutions of a whole batch reach, in the kernels that are theirs."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    module = torch_cuda.module(weights.verified(reference), precision).cuda()
    given = [torch.from_numpy(np.resize(x, (batch, *x.shape[1:]))).cuda() for x in inputs.values()]
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        for _ in range(WARM_UP):
            module(*given)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
            for _ in range(WARM_UP):
                module(*given)
            torch.cuda.synchronize()
    spent = {event.key: event.self_device_time_total / 1e3 / WARM_UP for event in profiler.key_averages()}
    own = sum(ms for key, ms in spent.items() if "convolution" in key and key.startswith("aten::"))
    every = sum(ms for key, ms in spent.items() if key.startswith("aten::"))
    reached = operations * batch / own / 1e9 if own else 0.0
    slowest = sorted(((round(ms, 3), key) for key, ms in spent.items() if ms), reverse=True)[:20]
    return {
        "precision": precision, "batch": batch, "convolutions_ms": round(own, 3), "kernels_ms": round(every, 3),
        "tflop_per_s": round(reached, 1), "of_peak": round(reached / peak, 3),
        "slowest": {key: ms for ms, key in slowest},
    }  # fmt: skip
