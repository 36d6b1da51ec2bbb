"""OpenVINO on a CPU: the default engine. Runs ONNX and TFLite files.

Every caller sees a dynamic batch. A small network is compiled for each of `SIZES`, a large one for any number of rows;
one with a fixed batch of 1 (MediaPipe's TFLite files, where batching was measured to gain nothing) is run row by row.
"""

import os
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engines.batches import in_sizes
from engines.cache import cache_dir
from engines.engine import Arrays, require_finite
from engines.errors import EngineError

PRECISIONS = ("auto", "fp32", "bf16", "int8")

SMALL = 64_000_000  # bytes of weights, up to which a network is kept once for each number of rows
# Rows that a small network is compiled for, each when it first comes; a batch between two of them is filled up. A graph
# whose shapes are known works out none while it runs: the default model's takes about half of the time.
SIZES = (1, 2, 4, 8, 12, 16)
SESSIONS_PER_THREAD = 10  # of 30 faces/s: 2 ms a face keep a thread busy for 60 % of the time


@cache
def core() -> ov.Core:
    """The process's only OpenVINO runtime."""
    return ov.Core()


def capabilities() -> tuple[str, ...]:
    """What this CPU computes natively, such as ("FP32", "BF16", "INT8")."""
    return tuple(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for(cores: int, sessions: int, *, heavy: bool) -> int:
    """Threads of an engine that `sessions` share; one call at a time goes to it, so there is one stream.

    A `heavy` network gets all cores, which is 0: its latency is what is felt. A small one gets as few as carry its
    sessions, and half of the cores at most: a further thread was measured to cost CPU time and gain no latency.
    """
    return 0 if heavy else max(1, min(cores // 2, -(-sessions // SESSIONS_PER_THREAD)))


def version() -> str:
    """Of the runtime."""
    return str(ov.get_version())


def device() -> str:
    """The CPU, and what it computes natively: what a compiled network and its rounding depend on."""
    name = str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    return f"{name} ({', '.join(sorted(capabilities()))}; int8 with {arithmetic('int8')})"


def arithmetic(precision: str) -> str:
    """What floating point is computed in, in OpenVINO's words. int8 is in the file (quantised beforehand): what remains
    is rounded to bf16 at little loss beside it (docs/engines.md), for a fifth less time of the default model's call.
    """
    return "bf16" if precision == "bf16" or (precision == "int8" and "BF16" in capabilities()) else "f32"


def precisions() -> tuple[str, ...]:
    """What this CPU may run a network in, the fastest first."""
    return ("int8", "bf16", "fp32") if "BF16" in capabilities() else ("int8", "fp32")


def resolve_precision(precision: str) -> str:
    """ "auto" becomes bf16 where the CPU has it, else fp32. Raises `EngineError` for what this CPU cannot do."""
    if precision not in PRECISIONS:
        raise EngineError(f"There is no precision {precision!r} in OpenVINO; choose one of {', '.join(PRECISIONS)}.")
    has_bf16 = "BF16" in capabilities()
    if precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    if precision == "bf16" and not has_bf16:
        raise EngineError("This CPU has no bf16 arithmetic; choose openvino:fp32 or openvino:int8.")
    return precision


class OpenVinoEngine:
    """A network compiled for the CPU, callable from any number of threads.

    `model`: path of an .onnx, .tflite or .xml file, or an `openvino.Model`. `threads`: cores over all streams together,
    0 leaves it to OpenVINO. `streams`: calls that run at the same time, each on its share of the threads. `check`:
    raise `EngineError` for outputs with NaN or Inf. Raises `EngineError` if the file cannot be compiled.
    """

    name = "openvino"

    def __init__(
        self,
        model: Path | ov.Model,
        *,
        precision: str = "fp32",
        threads: int = 0,
        streams: int = 1,
        check: bool = False,
        caching: bool = True,
    ) -> None:
        self.precision = resolve_precision(precision)
        self._check = check
        self._label = model.name if isinstance(model, Path) else model.get_friendly_name()
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": arithmetic(self.precision),  # unset, a CPU with bf16 would use it unasked
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads of several engines would share the first cores and leave the others idle.
            "ENABLE_CPU_PINNING": False,
        }
        if caching:
            config["CACHE_DIR"] = str(cache_dir() / "openvino")
        try:
            network = core().read_model(model) if isinstance(model, Path) else model
            self._sizes = _sizes(network)
            first = 1 if self._sizes else None
            try:
                self._graphs = _Graphs(network, config, streams, first)
            except RuntimeError:
                if self.precision != "int8":
                    raise
                # Beside bf16 OpenVINO has no convolution of signed bytes with a zero point, such as TSAV's first ones.
                self._graphs = _Graphs(network, config | {"INFERENCE_PRECISION_HINT": "f32"}, streams, first)
            compiled = self._graphs.of(first).compiled
        except RuntimeError as e:
            raise EngineError(f"OpenVINO cannot compile {self._label}: {_reason(e)}.") from e
        any_rows = self._sizes == SIZES
        self.inputs = {_input_name(port): _shape(port, any_rows) for port in compiled.inputs}
        self.types = {_input_name(port): port.element_type.to_dtype().name for port in compiled.inputs}
        self.outputs = {_output_name(port): _shape(port, any_rows) for port in compiled.outputs}

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Outputs by name; see `engines.engine.Engine`. Raises `EngineError` for wrong names or shapes."""
        batch = self.rows(inputs)
        try:
            whole = batch and not self._sizes
            outputs = self._run(inputs, batch) if whole else in_sizes(batch, inputs, self._run, self._sizes)
        except RuntimeError as e:
            raise EngineError(f"{self._label} failed: {_reason(e)}.") from e
        if self._check:
            require_finite(outputs, self._label)
        return outputs

    def rows(self, inputs: Mapping[str, NDArray[np.generic]]) -> int:
        """Return the batch size that all `inputs` share. Raise `EngineError` for wrong names or shapes."""
        if inputs.keys() != self.inputs.keys():
            raise EngineError(f"{self._label} takes the inputs {sorted(self.inputs)}, but was given {sorted(inputs)}.")
        for name, shape in self.inputs.items():
            given = inputs[name].shape
            if given[1:] == shape[1:] and len(given) == len(shape):
                continue  # as nearly always
            if len(given) != len(shape) or any(d not in (-1, g) for d, g in zip(shape[1:], given[1:], strict=True)):
                raise EngineError(f"{self._label} takes {name!r} of shape {shape}, but was given {given}.")
        sizes = {values.shape[0] for values in inputs.values()}
        if len(sizes) != 1:
            raise EngineError(f"{self._label} was given inputs of different batch sizes: {sorted(sizes)}.")
        return int(sizes.pop())

    def _run(self, inputs: Mapping[str, NDArray[np.generic]], size: int) -> Arrays:
        """Outputs of a graph for `size` rows, of which `inputs` may have fewer."""
        rows = len(next(iter(inputs.values())))
        if rows < size:
            inputs = {name: np.resize(values, (size, *values.shape[1:])) for name, values in inputs.items()}
        graph = self._graphs.of(size if self._sizes else None)
        request = graph.idle.get()
        try:
            # Inputs are read where they lie; outputs are copied out, because the request is used again at once.
            results = request.infer(dict(inputs), share_inputs=True, share_outputs=False)
        finally:
            graph.idle.put(request)
        return {name: values[:rows] for name, values in zip(self.outputs, results.values(), strict=True)}


class _Graph:
    """A compiled network, and the requests of which none runs: the last used comes first, for its memory is warm."""

    def __init__(self, compiled: ov.CompiledModel, requests: int) -> None:
        self.compiled = compiled
        self.idle: LifoQueue[ov.InferRequest] = LifoQueue()
        for _ in range(requests):
            self.idle.put(compiled.create_infer_request())


class _Graphs:
    """A network compiled for each number of rows that comes; for `first` at once."""

    def __init__(self, network: ov.Model, config: dict[str, Any], requests: int, first: int | None) -> None:
        self._network = network
        self._config = config
        self._requests = requests
        self._by_rows: dict[int | None, _Graph] = {}
        self._compiles = threading.Lock()
        self.of(first)

    def of(self, rows: int | None) -> _Graph:
        """The graph for so many rows; None: for any number, as far as the network leaves it open."""
        graph = self._by_rows.get(rows)
        if graph is not None:
            return graph
        with self._compiles:
            if rows not in self._by_rows:
                network = self._network if rows is None else _with_rows(self._network, rows)
                self._by_rows[rows] = _Graph(_compile(network, self._config), self._requests)
            return self._by_rows[rows]


def _compile(network: ov.Model, config: dict[str, Any]) -> ov.CompiledModel:
    try:
        return core().compile_model(network, "CPU", config)
    except RuntimeError:
        if "CACHE_DIR" not in config:
            raise
        # A full, read-only or corrupt cache must not keep a network from running.
        return core().compile_model(network, "CPU", {k: v for k, v in config.items() if k != "CACHE_DIR"})


def _sizes(network: ov.Model) -> tuple[int, ...]:
    """Numbers of rows to compile `network` for; none where one graph is to take them all."""
    shapes = [_shape(port) for port in network.inputs]
    if any(shape[:1] == (1,) for shape in shapes):
        return (1,)
    only_rows_open = all(shape[:1] == (-1,) and -1 not in shape[1:] for shape in shapes)
    size = sum(node.get_byte_size() for node in network.get_ops() if node.get_type_name() == "Constant")
    return SIZES if only_rows_open and size <= SMALL else ()


def _with_rows(network: ov.Model, rows: int) -> ov.Model:
    copy = network.clone()
    copy.reshape({port: [rows, *_shape(port)[1:]] for port in copy.inputs})
    return copy


def _reason(error: RuntimeError) -> str:
    """OpenVINO's last line says what is wrong; those before it say where in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"


def _input_name(port: Any) -> str:
    name = port.node.friendly_name
    return str(name if name in port.names else port.any_name)


def _output_name(port: Any) -> str:
    """A folded Identity leaves several names on one tensor; the graph's own is in the name of the result node."""
    name = port.node.friendly_name.removesuffix("/sink_port_0")
    return str(name if name in port.names else port.any_name)


def _shape(port: Any, any_rows: bool = False) -> tuple[int, ...]:
    """Dimensions, -1 for dynamic ones. `any_rows`: the first is, though this graph is for some number of rows."""
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.partial_shape)
    return (-1, *shape[1:]) if any_rows else shape
