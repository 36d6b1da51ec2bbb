"""From a model's name and an engine's name to something that runs, verified against its float32 reference first."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines import imported, records, weights
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
    """Names that `load` knows by the manifest; the papers' systems come on top, once their weights are imported."""
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
    untrained: bool = False,
) -> Loaded:
    """The engine for `model`, compiled and verified.

    `probe`: real inputs of the model by name; outputs of a reduced precision are compared on it with those of the
    fp32 file, and the engine is refused beyond the limits of `engines.verify`. Without one, `engines.probe` makes it,
    and what an earlier start found on this machine holds. With precision "auto", a refused engine gives way to fp32.
    `untrained`: a paper's system that has no weights runs on random ones instead of being refused.
    Raises `EngineError` or `WeightsError`."""
    _, asked = parse_engine(engine)
    entry, reference, precision = _choose(model, asked, untrained)
    if precision != "fp32":
        of = records.key(entry, reference, precision)
        known = records.find(of) if probe is None else None
        figures = known.figures if known else _compare(entry, reference, precision, probe)
        if probe is None and known is None:
            records.keep(of, entry, precision, figures)
        if figures.excess is None:
            return Loaded(_open(entry, precision, threads, streams), entry, figures)
        if asked != "auto":
            raise EngineError(
                f"{model} in {precision} does not compute what its fp32 reference computes: {figures.excess}."
            )
        log.warning("%s in %s is refused, fp32 serves: %s", model, precision, figures.excess)
    return Loaded(_open(reference, "fp32", threads, streams), reference, None)


def build(model: str, engine: str = "openvino") -> records.Record:
    """Compiles an engine for this machine and compares it with its reference, whatever was known. Its record says
    whether it may serve. Raises `EngineError` or `WeightsError`."""
    _, asked = parse_engine(engine)
    entry, reference, precision = _choose(model, asked)
    figures = _compare(entry, reference, precision, None)
    return records.keep(records.key(entry, reference, precision), entry, precision, figures)


def table() -> list[dict[str, str]]:
    """Rows for `affectstream engines list`."""
    return [_row(record) for record in records.everything()]


def verify(names: Iterable[str] | None = None) -> list[dict[str, str]]:
    """Compares every engine of the models `names` (all, if None) that this CPU can run anew; rows as in `table`."""
    rows = []
    for model in names or models():
        files = {e.precision for e in weights.entries() if e.model == model}
        runnable = {"fp32", resolve_precision("auto")} | files
        rows += [_row(build(model, f"openvino:{precision}")) for precision in sorted(runnable)]
    return rows


def _choose(model: str, asked: str, untrained: bool = False) -> tuple[weights.Weights, weights.Weights, str]:
    """File, its fp32 reference and precision, for a precision that was asked for."""
    files = {e.precision: e for e in weights.entries() if e.model == model}
    if not files and model in imported.SYSTEMS:
        files = {"fp32": imported.system(model, untrained=untrained)}
    if not files:
        raise EngineError(f"There is no model {model!r}; known are: {', '.join((*models(), *imported.SYSTEMS))}.")
    if asked == "int8" and "int8" not in files:
        raise EngineError(f"The model {model!r} has no int8 weights; choose openvino:fp32 or openvino:auto.")
    precision = asked
    if asked == "auto":
        precision = "int8" if "int8" in files else resolve_precision("auto")
    return files.get(precision, files["fp32"]), files["fp32"], precision


def _open(entry: weights.Weights, precision: str, threads: int = 0, streams: int = 1) -> OpenVinoEngine:
    return OpenVinoEngine(weights.verified(entry), precision=precision, threads=threads, streams=streams)


def _compare(
    entry: weights.Weights,
    reference: weights.Weights,
    precision: str,
    probe: Mapping[str, NDArray[np.generic]] | None,
) -> Figures:
    truth = _open(reference, "fp32")
    inputs = probe if probe is not None else default_probe(truth.inputs, truth.types)
    return compare(truth, _open(entry, precision), inputs)


def _row(record: records.Record) -> dict[str, str]:
    return {
        "model": record.model,
        "weights": record.weights,
        "engine": f"{record.backend}:{record.precision}",
        "runtime": record.runtime,
        "serves": "yes" if record.fit else f"refused: {record.figures.excess}",
        "against fp32": str(record.figures),
        "samples": str(record.figures.samples),
    }
