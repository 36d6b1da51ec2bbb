"""`affectstream bench engines`: the time of one prediction in every engine, beside eager PyTorch and the CPU's limit.

The calls of all engines alternate, round after round, so that other work on the machine disturbs all of them alike.
Ratios are those of medians. The limit is a large matrix product in the same precision, with as many threads, by the
same runtime.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from engines import load
from engines.cores import usable_cores
from engines.engine import Arrays
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine, precisions
from engines.verify import compare
from service.bench import machine
from service.bench.lanes import Eager, Lane, alternate, facts_of

MODELS = ("tsav", "face-mt")  # the largest of the papers' systems that runs live, and the default model
GOAL = "tsav in int8 on two cores: at least 9 times eager torch, and 25 predictions/s"
PRECISIONS = ("int8", "bf16", "fp32")  # of OpenVINO; the page has rows for each of them
WARM_UP = 2  # calls of each engine that are not measured
MOST = 25  # rounds
FEW = 8  # samples that eager torch is compared on; it is slow, and never serves
FEWEST = 5  # rounds, even on a slow machine
SECONDS = 45.0  # after which no further round of a model begins
_ROWS, _INNER, _COLUMNS = 1024, 2048, 2048  # of the matrix product
_TORCH, _PEAK = "torch eager", "peak"


@dataclass(kw_only=True)
class _Lane(Lane):
    """Hold a call on so many threads and its times."""

    threads: int


def engines(
    names: Sequence[str] = (), *, probe_of: Callable[[str], load.Probe | None] = lambda model: None
) -> dict[str, Any]:
    """Return the report on the models `names` (`MODELS` without any): each precision, on one thread and on all cores.

    Systems without weights run on random ones, and their rows say so. A missing 8-bit file is quantised on the inputs
    that `probe_of` gives for the model. `refused` holds a sentence for each engine that is missing, or beyond the
    limits of `engines.verify`. Raise `EngineError` without PyTorch.
    """
    before = machine.facts(("torch", "openvino", "numpy"))
    refused: list[str] = []
    rows = [row for name in names or MODELS for row in _rows(name, probe_of(name), refused)]
    before["load after"] = machine.facts(())["load"]
    return {"machine": before, "goal": GOAL, "rows": rows, "refused": refused}


def _rows(name: str, probe: load.Probe | None, refused: list[str]) -> list[dict[str, Any]]:
    """Return the rows of a model, and add a sentence to `refused` for each engine that is missing or beyond limits."""
    import torch

    threads_before = torch.get_num_threads()
    yardstick = load.Yardstick(load.weights_of(name, untrained=True), probe)
    inputs = yardstick.inputs
    one = {key: values[-1:] for key, values in inputs.items()}
    eager = Eager(name, yardstick.reference, list(one))
    operations, _ = eager.operations(one)
    counts = tuple(dict.fromkeys((1, len(usable_cores()))))
    as_engine = _AsEngine(eager)
    found = compare(yardstick.truth, as_engine, {key: values[:FEW] for key, values in inputs.items()})
    lanes = [
        _Lane(backend=_TORCH, precision="fp32", threads=n, call=partial(_on, n, eager, one), facts=facts_of(found))
        for n in counts
    ]
    for precision in PRECISIONS:
        if precision not in precisions():
            refused.append(f"{precision} of {name} is not measured: this CPU has no {precision} arithmetic.")
            continue
        try:
            entry, figures = load.prepared(yardstick, precision)
        except EngineError as error:
            refused.append(str(error))
            continue
        if figures.excess is not None:
            refused.append(f"{precision} of {name} is refused: {figures.excess}.")
        for n in counts:
            engine = load.BACKENDS[load.REFERENCE].open(entry, precision, n, 1)
            call = partial(engine, one)
            lanes += [
                _Lane(backend="openvino", precision=precision, threads=n, call=call, facts=facts_of(figures)),
                _Lane(backend=_PEAK, precision=precision, threads=n, call=_product(precision, n)),
            ]
    try:
        alternate(lanes, warm_up=WARM_UP, fewest=FEWEST, most=MOST, seconds=SECONDS, name=name)
    finally:
        torch.set_num_threads(threads_before)
    of = {(lane.backend, lane.precision, lane.threads): lane for lane in lanes}
    return [
        _row(lane, of[_TORCH, "fp32", lane.threads], of[_PEAK, lane.precision, lane.threads], operations)
        | {"model": name, "weights": yardstick.reference.version, "trained": yardstick.reference.trained}
        for lane in lanes
        if lane.backend != _PEAK
    ]


def _row(lane: _Lane, eager: _Lane, peak: _Lane, operations: int) -> dict[str, Any]:
    """Return the row of an engine, with its ratio to eager PyTorch and its share of the limit."""
    low, high = np.percentile(lane.spent, [10, 90])
    reached = operations / lane.ms / 1e6  # 1e9/s
    most = 2 * _ROWS * _INNER * _COLUMNS / min(peak.spent) / 1e6  # of the fastest call, because it is a limit
    return {
        "backend": lane.backend,
        "precision": lane.precision,
        "threads": lane.threads,
        "ms": round(lane.ms, 2),
        "ratio": round(eager.ms / lane.ms, 2),
        "p10": round(float(low), 2),
        "p90": round(float(high), 2),
        "per_second": round(1e3 / lane.ms, 1),
        "gflop": round(operations / 1e9, 3),
        "gflop_per_s": round(reached, 1),
        "peak_gflop_per_s": round(most, 1),
        "of_peak": round(reached / most, 3),
        **lane.facts,
        "rounds": len(lane.spent),
        "warm_up": WARM_UP,
    }


def _on(threads: int, eager: Eager, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return the outputs of eager PyTorch on so many threads."""
    import torch

    torch.set_num_threads(threads)
    return eager(inputs)


class _AsEngine:
    """Present eager PyTorch as an `Engine`, so that it can be compared with one."""

    name = "torch"
    precision = "fp32"
    inputs: Mapping[str, tuple[int, ...]] = {}

    def __init__(self, eager: Eager) -> None:
        self._eager = eager

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        return _on(len(usable_cores()), self._eager, inputs)


def _product(precision: str, threads: int) -> Callable[[], Any]:
    """Return a call that computes a matrix product, large enough for the runtime's best rate in that precision."""
    rng = np.random.default_rng(0)
    left = rng.uniform(-1, 1, (_ROWS, _INNER)).astype(np.float32)
    right = rng.uniform(-1, 1, (_INNER, _COLUMNS)).astype(np.float32)
    given = ops.parameter(left.shape, ov.Type.f32, name="left")
    a, b = given, ops.constant(right)
    if precision == "int8":
        a, b = (ops.fake_quantize(x, *(np.float32(v) for v in (-1, 1, -1, 1)), 255) for x in (a, b))
    model = ov.Model([ops.matmul(a, b, False, False)], [given], f"product {precision}")
    engine = OpenVinoEngine(model, precision=precision, threads=threads, caching=False)
    return lambda: engine({"left": left})
