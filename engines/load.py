"""From a model's name and an engine's name to something that runs, verified against its float32 reference first."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines import weights
from engines.engine import Engine
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine, resolve_precision
from engines.probe import probe as default_probe
from engines.verify import Figures, compare

log = logging.getLogger(__name__)

BACKENDS = ("openvino",)


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine fit to serve, the weights behind it, and how it compares with its reference (None: it is that)."""

    engine: Engine
    weights: weights.Weights
    figures: Figures | None


def models() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(dict.fromkeys(e.model for e in weights.entries() if e.model))


def parse_engine(text: str) -> tuple[str, str]:
    """ "openvino:int8" -> ("openvino", "int8"); without a precision, "auto". Raises `EngineError` if unknown."""
    backend, _, precision = text.partition(":")
    if backend not in BACKENDS:
        raise EngineError(f"There is no engine {backend!r}; choose one of {', '.join(BACKENDS)}.")
    precision = precision or "auto"
    if precision != "auto":
        resolve_precision(precision)
    return backend, precision


def load(
    model: str,
    engine: str = "openvino",
    *,
    probe: Mapping[str, NDArray[np.generic]] | None = None,
    threads: int = 0,
    streams: int = 1,
) -> Loaded:
    """The engine for `model`, compiled and verified.

    `probe`: real inputs of the model by name; outputs of a reduced precision are compared on it with those of the
    fp32 file, and the engine is refused beyond the limits of `engines.verify`. Without one, `engines.probe` makes it.
    With precision "auto", a refused engine gives way to fp32. Raises `EngineError` or `WeightsError`."""
    _, precision = parse_engine(engine)
    files = {e.precision: e for e in weights.entries() if e.model == model}
    if not files:
        raise EngineError(f"There is no model {model!r}; known are: {', '.join(models()) or 'none yet'}.")
    if precision == "int8" and "int8" not in files:
        raise EngineError(f"The model {model!r} has no int8 weights; choose openvino:fp32 or openvino:auto.")
    wanted = precision
    if precision == "auto":
        wanted = "int8" if "int8" in files else resolve_precision("auto")

    reference_file = files["fp32"]
    if wanted == "fp32":
        return Loaded(
            OpenVinoEngine(weights.path(reference_file.name), threads=threads, streams=streams), reference_file, None
        )
    entry = files.get(wanted, reference_file)
    candidate = OpenVinoEngine(weights.path(entry.name), precision=wanted, threads=threads, streams=streams)
    reference = OpenVinoEngine(weights.path(reference_file.name), threads=threads)
    inputs = probe if probe is not None else default_probe(reference.inputs, reference.types)
    figures = compare(reference, candidate, inputs)
    if figures.excess is None:
        return Loaded(candidate, entry, figures)
    if precision == "auto":
        log.warning("%s in %s is refused, fp32 serves: %s", model, wanted, figures.excess)
        return Loaded(reference, reference_file, figures)
    raise EngineError(f"{model} in {wanted} does not compute what its fp32 reference computes: {figures.excess}.")
