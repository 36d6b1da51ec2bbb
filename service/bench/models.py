"""`affectstream bench models`: milliseconds for one prediction of every system, in torch and in OpenVINO."""

import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engines.engine import Arrays
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine, capabilities
from engines.papers import export
from models import registry
from service.bench import machine

PRECISIONS = ("fp32", "bf16")
WARM_UP = 2  # calls that are not measured
MOST = 30  # calls measured
SECONDS = 4.0  # spent on measuring at most


def models(names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the report on the systems `names` (all without any): medians for one face over all cores.

    Weights are random and of the published sizes. The tenth percentile beside each median shows how quiet the machine
    was. Raise `EngineError` for an unknown name, or without PyTorch.
    """
    for name in names:
        if name not in registry.systems():
            raise EngineError(f"There is no system {name!r} to measure; there are: {', '.join(registry.systems())}.")
    if find_spec("torch") is None:
        raise EngineError("Measuring against PyTorch needs it: pip install 'affectstream[train]'.")
    before = machine.facts(("torch", "openvino"))
    rows = [_row(name) for name in tqdm(names or registry.systems(), desc="models", disable=None)]
    return {"machine": before | {"load after": machine.facts(())["load"]}, "rows": rows}


def _row(name: str) -> dict[str, Any]:
    """Return the row of a system."""
    import torch

    live = export.live(name, dict.fromkeys(registry.row(name).parts))
    one = {key: x[:1].clone() for key, x in live.inputs.items()}
    with torch.inference_mode():
        eager = _milliseconds(lambda: live.module(*one.values()))
    row: dict[str, Any] = {
        "model": name,
        "parameters": f"{sum(x.numel() for x in live.module.parameters()) / 1e6:.1f} M",
        "torch eager": _shown(eager),
    }
    arrays: Arrays = {key: x.numpy() for key, x in one.items()}
    with tempfile.TemporaryDirectory(prefix="affectstream-bench-") as folder:
        path = Path(folder) / f"{name}.onnx"
        export.write(live, path)
        for precision in PRECISIONS:
            if precision == "bf16" and "BF16" not in capabilities():
                row[f"openvino {precision}"] = "not on this CPU"
                continue
            engine = OpenVinoEngine(path, precision=precision, caching=False)
            measured = _milliseconds(lambda engine=engine: engine(arrays))  # type: ignore[misc]
            row[f"openvino {precision}"] = _shown(measured)
            row[f"{precision} to torch"] = f"{np.median(eager) / np.median(measured):.1f}x"
    return row


def _milliseconds(call: Callable[[], Any]) -> list[float]:
    """Return the milliseconds of each measured call."""
    for _ in range(WARM_UP):
        call()
    spent: list[float] = []
    begin = time.perf_counter()
    while len(spent) < MOST and (len(spent) < 3 or time.perf_counter() - begin < SECONDS):
        started = time.perf_counter()
        call()
        spent.append((time.perf_counter() - started) * 1e3)
    return spent


def _shown(milliseconds: list[float]) -> str:
    """Return the median with the tenth percentile as text."""
    low, middle = np.percentile(milliseconds, [10, 50])
    return f"{middle:.1f} ms ({low:.1f})"
