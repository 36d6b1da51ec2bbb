"""OpenVINO on a CPU, the default engine: it runs ONNX and TFLite files.

Every caller may give any batch size. A small network is compiled for each of `SIZES`, a large one for any number of
rows. A network with a fixed batch of 1 (MediaPipe's TFLite files, where batching was measured to gain nothing) runs row
by row.
"""

import hashlib
import logging
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

from engines.batches import in_sizes, size_for
from engines.cache import cache_dir
from engines.cores import cpu_quota
from engines.engine import Arrays, require_finite
from engines.errors import EngineError

PRECISIONS = ("auto", "fp32", "bf16", "int8")

SMALL = 64_000_000  # bytes of weights, up to which a network is compiled once for each number of rows
# Numbers of rows that a small network is compiled for, each at its first use; a batch between two of them is filled up.
# A graph with fixed shapes computes no shapes while it runs: the default model takes about half of the time.
SIZES = (1, 2, 4, 8, 12, 16)
SESSIONS_PER_THREAD = 10  # of 30 faces/s each: at 2 ms a face they keep a thread busy for 60 % of the time
CACHE_WITHIN = 2.0  # s that a network waits for the cache before it is compiled without
_TOO_OLD = ("SSE41", "AVX")  # limits under which OpenVINO 2026.4 was seen to end with a segmentation fault

log = logging.getLogger(__name__)

# While OpenVINO 2026.4 compiles with its cache, the whole process has the locale "C". Each call restores the locale
# that it found, so two at once may leave "C", in which Python reads and writes text files as ASCII.
_uses_cache = threading.Lock()


@cache
def core() -> ov.Core:
    """Return the process's only OpenVINO runtime. Raise `EngineError` where it would crash on this processor."""
    if (isa := _isa_limit()) in _TOO_OLD:
        raise EngineError(f"OpenVINO needs AVX2, and ONEDNN_MAX_CPU_ISA={isa} forbids it; unset that variable.")
    return ov.Core()


def metadata(path: Path) -> Mapping[str, ov.OVAny]:
    """Return the metadata of an ONNX file by key. Raise `RuntimeError` if it cannot be read, or has none."""
    info: Mapping[str, ov.OVAny] = core().read_model(path).get_rt_info(["framework"])  # where OpenVINO keeps it
    return info


def capabilities() -> tuple[str, ...]:
    """Return what this CPU computes natively, such as ("FP32", "BF16", "INT8")."""
    return tuple(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def threads_for(cores: int, sessions: int, *, heavy: bool) -> int:
    """Return the number of threads of an engine that `sessions` share on so many `cores`; 0 lets OpenVINO choose.

    One call at a time goes to the engine, so that it has one stream. A `heavy` network gets all cores, because its own
    time is most of an event's latency; OpenVINO knows them, unless a container's quota allows fewer. A small network
    gets as few threads as carry its sessions, and half of the cores at most: a further thread was measured to cost CPU
    time and to gain no latency.
    """
    if heavy:
        return cores if cpu_quota() is not None else 0
    return max(1, min(cores // 2, -(-sessions // SESSIONS_PER_THREAD)))


def version() -> str:
    """Return the version of the OpenVINO runtime."""
    return str(ov.get_version())


def device() -> str:
    """Return the CPU and what it computes natively, which a compiled network and its rounding depend on."""
    name = str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    limit = f"; at most {isa}" if (isa := _isa_limit()) else ""
    return f"{name} ({', '.join(sorted(capabilities()))}; int8 with {arithmetic('int8')}{limit})"


def compiled_folder() -> Path:
    """Return the folder of compiled networks, one for each OpenVINO and CPU: what others compiled is never read.

    A cache may be copied from another machine, mounted by several of them, or older than this OpenVINO.
    """
    key = hashlib.sha256(f"{version()} {device()}".encode()).hexdigest()[:12]
    return cache_dir() / "openvino" / key


def _isa_limit() -> str:
    """Return the instruction set that ONEDNN_MAX_CPU_ISA limits this process to, or "" for no limit."""
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "").strip().upper()
    return "" if isa in ("ALL", "DEFAULT") else isa


def arithmetic(precision: str) -> str:
    """Return OpenVINO's name of the type that a network's floating-point operations are computed in.

    An int8 network is quantised in its file. What remains in floating point is computed in bf16 where the CPU has it:
    that loses little beside int8 (docs/engines.md) and takes a fifth off the default model's call.
    """
    return "bf16" if precision == "bf16" or (precision == "int8" and "BF16" in capabilities()) else "f32"


def precisions() -> tuple[str, ...]:
    """Return the precisions that this CPU runs a network in, the fastest first."""
    return ("int8", "bf16", "fp32") if "BF16" in capabilities() else ("int8", "fp32")


def resolve_precision(precision: str) -> str:
    """Return the precision that is asked for; "auto" is bf16 where the CPU has it, else fp32.

    Raise `EngineError` for a precision that is unknown or that this CPU has no arithmetic for.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"There is no precision {precision!r} in OpenVINO; choose one of {', '.join(PRECISIONS)}.")
    has_bf16 = "BF16" in capabilities()
    if precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    if precision == "bf16" and not has_bf16:
        raise EngineError("This CPU has no bf16 arithmetic; choose openvino:fp32 or openvino:int8.")
    return precision


class OpenVinoEngine:
    """Run a network compiled for the CPU; any number of threads may call it.

    `model` is the path of an .onnx, .tflite or .xml file, or an `openvino.Model`. `threads` are the cores that all
    streams use together; 0 leaves the number to OpenVINO. `streams` is the number of calls that run at the same time,
    each on its share of the threads. With `check`, outputs that hold NaN or Inf raise `EngineError`. With `caching`,
    the compiled network is kept in the cache. Raise `EngineError` if the file cannot be compiled.
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
        config = _configuration(arithmetic(self.precision), streams, threads, caching)
        try:
            network = core().read_model(model) if isinstance(model, Path) else model
            self._sizes = _sizes(network)
            first = 1 if self._sizes else None
            try:
                self._graphs = _Graphs(network, config, streams, first)
            except RuntimeError:
                if self.precision != "int8":
                    raise
                # In a network computed in bf16, OpenVINO has no convolution of signed bytes with a zero point, which
                # TSAV's first ones are; and a CPU may have int8 but no bf16.
                self._graphs = _Graphs(network, config | {"INFERENCE_PRECISION_HINT": "f32"}, streams, first)
            compiled = self._graphs.of(first).compiled
        except RuntimeError as e:
            raise EngineError(f"OpenVINO cannot compile {self._label}: {_reason(e)}.") from e
        any_rows = self._sizes == SIZES
        self.inputs = {_input_name(port): _shape(port, any_rows) for port in compiled.inputs}
        self.types = {_input_name(port): port.element_type.to_dtype().name for port in compiled.inputs}
        self.outputs = {_output_name(port): _shape(port, any_rows) for port in compiled.outputs}

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name; see `engines.engine.Engine`. Raise `EngineError` for wrong names or shapes."""
        batch = self.rows(inputs)
        try:
            whole = batch and not self._sizes
            outputs = self._run(inputs, batch) if whole else in_sizes(batch, inputs, self._run, self._sizes)
        except RuntimeError as e:
            raise EngineError(f"{self._label} failed: {_reason(e)}.") from e
        if self._check:
            require_finite(outputs, self._label)
        return outputs

    def prepare(self, rows: int) -> None:
        """Compile what a batch of so many rows needs, unless that was done. Raise `EngineError` where it fails."""
        if not self._sizes:
            return  # one graph takes every number of rows
        try:
            self._graphs.of(size_for(rows, self._sizes))
        except RuntimeError as e:
            raise EngineError(f"OpenVINO cannot compile {self._label} for {rows} rows: {_reason(e)}.") from e

    def rows(self, inputs: Mapping[str, NDArray[np.generic]]) -> int:
        """Return the batch size that all `inputs` share. Raise `EngineError` for wrong names or shapes."""
        if inputs.keys() != self.inputs.keys():
            raise EngineError(f"{self._label} takes the inputs {sorted(self.inputs)}, but was given {sorted(inputs)}.")
        for name, shape in self.inputs.items():
            given = inputs[name].shape
            if given[1:] == shape[1:] and len(given) == len(shape):
                continue  # the usual case, checked first because it is fast
            if len(given) != len(shape) or any(d not in (-1, g) for d, g in zip(shape[1:], given[1:], strict=True)):
                raise EngineError(f"{self._label} takes {name!r} of shape {shape}, but was given {given}.")
        sizes = {values.shape[0] for values in inputs.values()}
        if len(sizes) != 1:
            raise EngineError(f"{self._label} was given inputs of different batch sizes: {sorted(sizes)}.")
        return int(sizes.pop())

    def _run(self, inputs: Mapping[str, NDArray[np.generic]], size: int) -> Arrays:
        """Return the outputs of the graph for `size` rows, of which `inputs` may fill fewer."""
        rows = len(next(iter(inputs.values())))
        if rows < size:
            inputs = {name: np.resize(values, (size, *values.shape[1:])) for name, values in inputs.items()}
        graph = self._graphs.of(size if self._sizes else None)
        request = graph.idle.get()
        try:
            # Inputs are not copied. Outputs are, because another call may use the request at once.
            results = request.infer(dict(inputs), share_inputs=True, share_outputs=False)
        finally:
            graph.idle.put(request)
        return {name: values[:rows] for name, values in zip(self.outputs, results.values(), strict=True)}


class _Graph:
    """Hold a compiled network and its idle requests; the last used is taken first, because its memory is in cache."""

    def __init__(self, compiled: ov.CompiledModel, requests: int) -> None:
        self.compiled = compiled
        self.idle: LifoQueue[ov.InferRequest] = LifoQueue()
        for _ in range(requests):
            self.idle.put(compiled.create_infer_request())


class _Graphs:
    """Compile a network for each number of rows at its first use; for the number `first` at once."""

    def __init__(self, network: ov.Model, config: dict[str, Any], requests: int, first: int | None) -> None:
        self._network = network
        self._config = config
        self._requests = requests
        self._by_rows: dict[int | None, _Graph] = {}
        self._compiles = threading.Lock()
        self.of(first)

    def of(self, rows: int | None) -> _Graph:
        """Return the graph for so many rows; None stands for any number that the network takes."""
        graph = self._by_rows.get(rows)
        if graph is not None:
            return graph
        with self._compiles:
            if rows not in self._by_rows:
                network = self._network if rows is None else _with_rows(self._network, rows)
                self._by_rows[rows] = _Graph(_compile(network, self._config), self._requests)
            return self._by_rows[rows]


def compile_file(path: Path) -> ov.CompiledModel:
    """Return the network of a file, compiled in float32 for calls that run in the thread which makes them.

    With more than one stream, each call would go to a thread of OpenVINO's and back. The compiled network is kept in
    the cache under the file's path, time and size, so that the file is not read again. Raise `RuntimeError` if it
    cannot be compiled.
    """
    return _compile(path, _configuration("f32", streams=1, threads=1, caching=True))


def _configuration(precision_hint: str, streams: int, threads: int, caching: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision_hint,  # without it, a CPU with bf16 uses bf16 for fp32
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # With pinning, the threads of several engines would share the first cores and leave the others idle.
        "ENABLE_CPU_PINNING": False,
    }
    return config | ({"CACHE_DIR": str(compiled_folder())} if caching else {})


def _compile(network: Path | ov.Model, config: dict[str, Any]) -> ov.CompiledModel:
    """Return the compiled network. Raise `RuntimeError` if it cannot be compiled without the cache either."""
    cache_fails = False
    # Another network may take a minute to be compiled for the first time; sessions must not wait for that.
    if "CACHE_DIR" in config and _uses_cache.acquire(timeout=CACHE_WITHIN):
        try:
            return core().compile_model(network, "CPU", config)
        except RuntimeError:  # a cache that is full, read-only or corrupt must not keep a network from running
            cache_fails = True
        finally:
            _uses_cache.release()
    compiled = core().compile_model(network, "CPU", {k: v for k, v in config.items() if k != "CACHE_DIR"})
    if cache_fails:
        label = network.name if isinstance(network, Path) else network.get_friendly_name()
        log.warning("%s was compiled without the cache %s, which fails", label, cache_dir())
    return compiled


def _sizes(network: ov.Model) -> tuple[int, ...]:
    """Return the numbers of rows to compile `network` for; none where one graph takes them all."""
    shapes = [_shape(port) for port in network.inputs]
    if any(shape[:1] == (1,) for shape in shapes):
        return (1,)
    only_rows_open = all(shape[:1] == (-1,) and -1 not in shape[1:] for shape in shapes)
    size = sum(node.get_byte_size() for node in network.get_ops() if node.get_type_name() == "Constant")
    return SIZES if only_rows_open and size <= SMALL else ()


def _with_rows(network: ov.Model, rows: int) -> ov.Model:
    """Return a copy of `network` whose inputs have exactly so many rows."""
    copy = network.clone()
    copy.reshape({port: [rows, *_shape(port)[1:]] for port in copy.inputs})
    return copy


def _reason(error: RuntimeError) -> str:
    """Return the last line of OpenVINO's error, which says what is wrong; the others name lines of its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"


def _input_name(port: Any) -> str:
    """Return the name of an input in the network's file."""
    name = port.node.friendly_name
    return str(name if name in port.names else port.any_name)


def _output_name(port: Any) -> str:
    """Return the name of an output in the network's file.

    A folded Identity leaves several names on one tensor; the one of the file is in the name of the result node.
    """
    name = port.node.friendly_name.removesuffix("/sink_port_0")
    return str(name if name in port.names else port.any_name)


def _shape(port: Any, any_rows: bool = False) -> tuple[int, ...]:
    """Return the shape of a port, with -1 for dynamic dimensions; with `any_rows`, the first one counts as dynamic."""
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.partial_shape)
    return (-1, *shape[1:]) if any_rows else shape
