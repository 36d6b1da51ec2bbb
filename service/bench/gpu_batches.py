"""`affectstream bench gpu`: the time of a batch in every engine of the GPU, beside eager PyTorch and the GPU's limit.

A prediction is measured from arrays to arrays, with the copies to the GPU and back. Ratios are to eager PyTorch in
float32 on the same GPU at the same batch size, and the calls of all engines alternate. The limit is a large matrix
product in the same precision. The rate of the convolutions alone comes from the profiler, in a run without a CUDA
graph, because a graph hides which operation a kernel belongs to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from engines import load, weights
from engines.engine import SOUND_EMBEDDING, Arrays, Engine
from engines.errors import EngineError
from engines.gpu import torch_cuda
from engines.verify import compare
from service.bench import machine
from service.bench.lanes import Eager, Lane, alternate, facts_of

MODEL = "tsav"
GOAL = "tsav on one H200: 200 streams at 30 predictions/s, half of the measured bf16 peak in its convolutions"
BATCHES = (1, 4, 16, 64)
WARM_UP = 3  # calls of each engine that are not measured
MOST = 20  # rounds
FEWEST = 3
SECONDS = 6.0  # spent on the rounds of a batch size
_SIDE = 8192  # of the matrix product
_TORCH = "torch eager"
_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclass(kw_only=True)
class _Lane(Lane):
    """Hold a call that reads the sound ("read"), or is given the embedding of an earlier call ("kept")."""

    sound: str


def engines(name: str = MODEL) -> dict[str, Any]:
    """Return the report on a model in every engine and precision of the GPU.

    Systems without weights run on random ones. Raise `EngineError` if PyTorch finds no GPU.
    """
    torch_cuda.precisions()
    import torch

    facts = machine.facts(("torch", "numpy")) | {"gpu": torch_cuda.device(), "cuda": torch.version.cuda}
    yardstick = load.Yardstick(load.weights_of(name, untrained=True), None)
    inputs = yardstick.inputs
    eager = Eager(name, yardstick.reference, list(inputs))
    operations, convolutions = eager.operations({key: values[:1] for key, values in inputs.items()})
    refused: list[str] = []
    found = _opened(yardstick, refused)
    peaks = {precision: _peak(precision) for precision in _TYPES}
    rows = []
    for batch in BATCHES:
        given = {key: np.resize(values, (batch, *values.shape[1:])) for key, values in inputs.items()}
        lanes = _measured(f"{name}, {batch} at once", eager.cuda(), found, given)
        rows += [_row(name, lane, batch, operations, peaks[lane.precision]) for lane in lanes]
    _ratios(rows)
    facts["peak TFLOP/s"] = {precision: round(value, 1) for precision, value in peaks.items()}
    parts = [
        _convolutions(yardstick.reference, precision, inputs, BATCHES[-1], convolutions, peaks[precision])
        for precision in torch_cuda.precisions()
    ]
    return {"machine": facts, "goal": GOAL, "rows": rows, "convolutions": parts, "refused": refused}


def _opened(yardstick: load.Yardstick, refused: list[str]) -> list[tuple[Engine, dict[str, Any]]]:
    """Return every engine that this GPU runs with its comparison; one beyond the limits is measured as well.

    A sentence is added to `refused` for each backend that does not run.
    """
    made = []
    for backend in load.ON_GPU:
        try:
            precisions = [p for p in load.BACKENDS[backend].precisions() if p in _TYPES]
        except EngineError as error:
            refused.append(str(error))
            continue
        for precision in precisions:
            engine = load.BACKENDS[backend].open(yardstick.reference, precision, 0, 1)
            made.append((engine, facts_of(compare(yardstick.truth, engine, yardstick.inputs))))
    return made


def _measured(name: str, eager: Eager, found: list[tuple[Engine, dict[str, Any]]], given: Arrays) -> list[_Lane]:
    """Return the lanes of all engines on the inputs `given`, measured."""
    lanes = [_Lane(backend=_TORCH, precision="fp32", sound="read", call=partial(eager, given))]
    for engine, facts in found:
        asked = {"read": given}
        outputs = engine(given)
        if SOUND_EMBEDDING in outputs:
            asked["kept"] = {"clip": given["clip"], SOUND_EMBEDDING: outputs[SOUND_EMBEDDING]}
        lanes += [
            _Lane(
                backend=engine.name, precision=engine.precision, sound=sound, call=partial(engine, inputs), facts=facts
            )
            for sound, inputs in asked.items()
        ]
    alternate(lanes, warm_up=WARM_UP, fewest=FEWEST, most=MOST, seconds=SECONDS, name=name)
    return lanes


def _row(name: str, lane: _Lane, batch: int, operations: int, peak: float) -> dict[str, Any]:
    """Return the row of an engine at a batch size."""
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
    """Add to each row its ratio to eager PyTorch at the same batch size."""
    eager = {row["batch"]: row["ms"] for row in rows if row["backend"] == _TORCH}
    for row in rows:
        row["ratio"] = round(eager[row["batch"]] / row["ms"], 2)


def _peak(precision: str) -> float:
    """Return the TFLOP/s of a matrix product that is large enough for the GPU's best rate."""
    import torch

    kind = getattr(torch, _TYPES[precision])
    a, b = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=kind) for _ in range(2))
    return 2 * _SIDE**3 / (_milliseconds(lambda: a @ b, 5) * 1e9)


def _milliseconds(call: Callable[[], Any], rounds: int) -> float:
    """Return the median milliseconds of a call on the GPU."""
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
    """Return the row on the kernels of a whole batch's convolutions."""
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
