"""A network in 8-bit integers: quantised after training on real inputs, and kept in the cache.

The result is the same ONNX file with QuantizeLinear and DequantizeLinear nodes, which every runtime with 8-bit
arithmetic reads. The nodes that prepare the inputs stay in floating point. Where the result is beyond the limits of the
comparison with the float32 network, the last layers before the outputs stay so too, and then the first layers after the
inputs. `models.onnx_quantize` holds the settings of NNCF. Needs the extra `quantize`.
"""

import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from engines import weights
from engines.cache import alone, cache_dir
from engines.engine import Arrays
from engines.errors import EngineError
from engines.verify import Comparison
from engines.weights import Source, Weights
from models.files import sha256

log = logging.getLogger(__name__)

VERSION = 1  # of the written files; to be raised when what is written changes, so that older files are not read
HINT = "pip install 'affectstream[quantize]'"
# A network begins at the first of these and ends at the last. MatMul is not one, because pictures are resampled by it.
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "GRU", "LSTM"})


class Scheme(StrEnum):
    """Name how bytes stand for an activation's numbers; the value is the name of such files' folder in the cache."""

    ANYWHERE = "int8"  # any zero point, so that a range uses all values of a byte: for CPUs, and for the shipped file
    AROUND_ZERO = "int8-around-zero"  # signed bytes without zero points, which are all that TensorRT takes


@dataclass(frozen=True, slots=True)
class Quantised:
    """Hold the result of `build`: the file (None if no attempt was within the limits), figures and layers left out."""

    weights: Weights | None
    figures: Comparison
    left_out: str


def available() -> bool:
    """Return whether the extra `quantize` is installed, without importing it."""
    return all(importlib.util.find_spec(module) is not None for module in ("nncf", "onnx", "onnxruntime"))


def find(source: Weights, scheme: Scheme = Scheme.ANYWHERE) -> Weights | None:
    """Return the 8-bit form of `source` in the cache, or None if there is none, or only a stale or damaged one."""
    for file in _folder(source, scheme).glob(f"{VERSION}-*.onnx"):
        made = _entry(source, file)
        if weights.state(made) == "ready":
            return made
        log.warning("%s is damaged and not used", file)
    return None


def was_built(source: Weights, scheme: Scheme = Scheme.ANYWHERE) -> bool:
    """Return whether there is an 8-bit form of `source` in the cache, which may be stale or damaged."""
    return any(_folder(source, scheme).glob("*.onnx"))


def build(
    source: Weights, samples: Arrays, judge: Callable[[Path], Comparison], scheme: Scheme = Scheme.ANYWHERE
) -> Quantised:
    """Quantise `source`, with ranges taken from `samples` (by name, batch first), and keep the file if it is fit.

    `judge` compares a file with its source. The file is written aside and renamed, so that an interrupt leaves an
    earlier one as it was. Processes quantise one after the other: what another one made in the meantime is taken, if it
    is fit. Raise `EngineError` without the extra, for a file that cannot be quantised, and if the cache cannot be
    written.
    """
    if not available():
        raise EngineError(f"Quantising to int8 needs NNCF, which serving does without; install it once: {HINT}.")
    path = weights.verified(source)
    before = find(source, scheme)
    with alone("quantise"), _written_aside(_folder(source, scheme)) as aside:
        meanwhile = find(source, scheme)
        if meanwhile is not None and meanwhile != before:
            figures = judge(meanwhile.location)
            if figures.excess is None:
                return Quantised(meanwhile, figures, "what another process left out")
        for left_out, layers in _attempts(path):
            quantise(path, samples, aside, layers, scheme)
            figures = judge(aside)
            if figures.excess is None:
                return Quantised(_keep(source, aside, scheme), figures, left_out)
            log.warning("int8 of %s with %s left out is beyond the limits: %s", source.name, left_out, figures.excess)
    return Quantised(None, figures, left_out)


def quantise(
    source: Path, samples: Arrays, target: Path, keep: tuple[str, ...] = (), scheme: Scheme = Scheme.ANYWHERE
) -> None:
    """Write the 8-bit form of the ONNX file `source` to `target`; the nodes named in `keep` stay as they are.

    `samples` are real inputs by name, batch first. Progress goes to the error stream. Raise `EngineError` if the file
    cannot be quantised or the result not written.
    """
    with _quiet():
        import nncf
        import onnx

        from models.onnx_quantize import quantised

        logging.getLogger(nncf.__name__).setLevel(logging.ERROR)  # importing NNCF sets another level
        try:
            small = quantised(onnx.load(str(source)), samples, keep, around_zero=scheme is Scheme.AROUND_ZERO)
        except Exception as error:  # a quantiser may fail in any way on a graph that it does not know
            raise EngineError(f"{source.name} cannot be quantised: {type(error).__name__}: {error}.") from error
        try:
            onnx.save(small, str(target))
        except OSError as error:
            raise EngineError(_unwritable(error)) from error


def _attempts(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return what each attempt leaves in floating point, in words and as names of nodes, the least first."""
    import onnx

    from models.onnx_quantize import named

    model = named(onnx.load(str(path), load_external_data=False))
    before, first = _edge(model, forward=True)
    after, last = _edge(model, forward=False)
    outside = before + after
    return [
        ("what prepares the inputs", outside),
        ("that and the last layers", outside + last),
        ("that and the first and last layers", outside + first + last),
    ]


def _edge(model: Any, *, forward: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the nodes before the first layers from the inputs on, and of these layers.

    With `forward` false, the same is returned from the outputs back. Nodes before the first layers prepare pictures or
    carry a state from frame to frame: they are few, and every later operation would see their rounding.
    """
    near: dict[str, list[Any]] = {}  # by tensor, the nodes one step further
    for node in model.graph.node:
        for tensor in node.input if forward else node.output:
            near.setdefault(tensor, []).append(node)
    stored = {tensor.name for tensor in model.graph.initializer}
    ahead = [value.name for value in (model.graph.input if forward else model.graph.output)]
    seen, before, layers = set(ahead), set(), set()
    while ahead:
        for node in near.get(ahead.pop(), ()):
            if node.op_type in _LAYERS:
                layers.add(node.name)
                continue
            before.add(node.name)
            further = set(node.output if forward else node.input) - seen - stored
            seen |= further
            ahead += further
    return tuple(sorted(before - layers)), tuple(sorted(layers))


def _folder(source: Weights, scheme: Scheme) -> Path:
    """Return the folder of the 8-bit forms of a file, which may not exist yet."""
    return cache_dir() / "engines" / scheme / source.sha256[:24]


def _entry(source: Weights, file: Path) -> Weights:
    """Return the entry of an 8-bit file, whose expected hash is in its name."""
    expected = file.stem.partition("-")[2]
    return replace(
        source, name=f"{source.name}-int8", file=file.name, sha256=expected, size=file.stat().st_size,
        sources=(Source(path=str(file)),), precision="int8",
    )  # fmt: skip


def _keep(source: Weights, aside: Path, scheme: Scheme) -> Weights:
    """Move the finished file to the name that its hash gives it, and remove older ones."""
    file = _folder(source, scheme) / f"{VERSION}-{sha256(aside)}.onnx"
    os.replace(aside, file)
    for other in file.parent.glob("*.onnx"):
        if other != file:
            other.unlink(missing_ok=True)
    return _entry(source, file)


@contextmanager
def _written_aside(folder: Path) -> Iterator[Path]:
    """Yield the path of a file in a temporary folder inside `folder`, which is removed afterwards.

    NNCF may write further files beside it. Raise `EngineError` if the cache cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder, suffix=".part"))
    except OSError as error:
        raise EngineError(_unwritable(error)) from error
    try:
        yield aside / "int8.onnx"
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unwritable(error: OSError) -> str:
    """Return the sentence for a cache that cannot be written."""
    return f"{cache_dir()} cannot be written ({error.strerror or error}); set AFFECTSTREAM_CACHE to another folder."


@contextmanager
def _quiet() -> Iterator[None]:
    """Print the quantiser's progress bars on the error stream, because the output may be JSON, and no warnings."""
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
