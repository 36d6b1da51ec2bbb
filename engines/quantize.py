"""A network in 8-bit integers: quantised after training on real inputs, and kept in the cache.

The result is the same ONNX file with QuantizeLinear and DequantizeLinear nodes, which every runtime with 8-bit
arithmetic reads. What prepares the inputs stays in floating point; where the comparison with the float32 network finds
the rest beyond the limits, so do the last layers before the outputs, then the first ones after the inputs too. How
NNCF is asked stands in `models.onnx_quantize`. Needs the extra `quantize`.
"""

import hashlib
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
from engines.cache import cache_dir
from engines.engine import Arrays
from engines.errors import EngineError
from engines.verify import Figures
from engines.weights import Source, Weights

log = logging.getLogger(__name__)

VERSION = 1  # of the files below; a change of what is written here makes the old ones stale
HINT = "pip install 'affectstream[quantize]'"
# A network begins at the first of these and ends at the last; MatMul is none, because pictures are resampled with it.
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "GRU", "LSTM"})


class Scheme(StrEnum):
    """Where zero lies among an activation's bytes; also the name of such files' folder in the cache."""

    ANYWHERE = "int8"  # so that a range uses its whole byte: for CPUs, and what ships
    AROUND_ZERO = "int8-around-zero"  # signed bytes without zero points, which are all that TensorRT takes


@dataclass(frozen=True, slots=True)
class Quantised:
    """What a build gave: the file (None if no attempt was within the limits), its figures, the layers left out."""

    weights: Weights | None
    figures: Figures
    left_out: str


def available() -> bool:
    """Whether the extra `quantize` is installed. Imports nothing."""
    return all(importlib.util.find_spec(module) is not None for module in ("nncf", "onnx", "onnxruntime"))


def find(source: Weights, scheme: Scheme = Scheme.ANYWHERE) -> Weights | None:
    """The 8-bit form of `source` in the cache; None if there is none, or one that is stale or damaged."""
    for file in _folder(source, scheme).glob(f"{VERSION}-*.onnx"):
        made = _entry(source, file)
        if weights.state(made) == "ready":
            return made
        log.warning("%s is damaged and not used", file)
    return None


def was_built(source: Weights, scheme: Scheme = Scheme.ANYWHERE) -> bool:
    """Whether there is any 8-bit form of `source` in the cache, be it stale or damaged."""
    return any(_folder(source, scheme).glob("*.onnx"))


def build(
    source: Weights, samples: Arrays, judge: Callable[[Path], Figures], scheme: Scheme = Scheme.ANYWHERE
) -> Quantised:
    """Quantises `source`, with ranges taken from `samples` (by name, batch first), and keeps what `judge` finds fit.

    Written aside and renamed: an interrupt leaves what was there. Raises `EngineError` without the extra, for a file
    that cannot be quantised, and where the cache cannot be written.
    """
    if not available():
        raise EngineError(f"Quantising to int8 needs NNCF, which serving does without; install it once: {HINT}.")
    path = weights.verified(source)
    with _written_aside(_folder(source, scheme)) as aside:
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
    """Writes the 8-bit form of the ONNX file `source` to `target`; the nodes named in `keep` stay as they are.

    `samples`: real inputs by name, batch first. Progress goes to the error stream. Raises `EngineError`.
    """
    with _quiet():
        import nncf
        import onnx

        from models.onnx_quantize import quantised

        logging.getLogger(nncf.__name__).setLevel(logging.ERROR)  # which it sets itself when it is imported
        try:
            small = quantised(onnx.load(str(source)), samples, keep, around_zero=scheme is Scheme.AROUND_ZERO)
        except Exception as error:  # whatever a quantiser of foreign graphs may stumble over
            raise EngineError(f"{source.name} cannot be quantised: {type(error).__name__}: {error}.") from error
        try:
            onnx.save(small, str(target))
        except OSError as error:
            raise EngineError(_unwritable(error)) from error


def _attempts(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """What is left out, in words and as names of nodes; least first."""
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
    """Names of the nodes that lie before the first layers on the way from the inputs on, and of these layers; or the
    same from the outputs back. What lies before prepares pictures, or carries a state from frame to frame: a few
    operations, and a rounding there is seen by all that follows.
    """
    near: dict[str, list[Any]] = {}  # tensor -> the nodes one step further
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
    return cache_dir() / "engines" / scheme / source.sha256[:24]


def _entry(source: Weights, file: Path) -> Weights:
    sha256 = file.stem.partition("-")[2]
    return replace(
        source, name=f"{source.name}-int8", file=file.name, sha256=sha256, size=file.stat().st_size,
        sources=(Source(path=str(file)),), precision="int8",
    )  # fmt: skip


def _keep(source: Weights, aside: Path, scheme: Scheme) -> Weights:
    """Gives the file its name, by its own hash, and takes the place of older ones."""
    with aside.open("rb") as f:
        sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    file = _folder(source, scheme) / f"{VERSION}-{sha256}.onnx"
    os.replace(aside, file)
    for other in file.parent.glob("*.onnx"):
        if other != file:
            other.unlink(missing_ok=True)
    return _entry(source, file)


@contextmanager
def _written_aside(folder: Path) -> Iterator[Path]:
    """A file to write to in a folder of its own beside the goal, gone afterwards."""
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
    return f"{cache_dir()} cannot be written ({error.strerror or error}); set AFFECTSTREAM_CACHE to another folder."


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's bars belong on the error stream, for the output may be JSON; its libraries' warnings nowhere."""
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
