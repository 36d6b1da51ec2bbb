"""From the names of a model and an engine to an engine that was compared with its float32 reference."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from engines import openvino, openvino_split, quantize, records, weights
from engines.batches import SIZES
from engines.cores import shortage
from engines.engine import Arrays, Engine
from engines.errors import EngineError
from engines.gpu import tensorrt, torch_cuda
from engines.openvino import OpenVinoEngine
from engines.papers import imported
from engines.probe import probe as default_probe
from engines.quantize import Scheme
from engines.split import SplitEngine
from engines.verify import AT_ONCE, Comparison, compare
from models import registry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """Describe a runtime that opens networks; its library is imported by the functions, and only when one is called.

    Attributes:
        precisions: Returns what it computes on this machine, the fastest first; raises `EngineError` if it cannot run.
        open: Makes an engine from weights, precision, threads and streams.
        version: Returns the version of the runtime, which a comparison depends on.
        device: Returns the device that it computes on, which a comparison depends on.
        scheme: How bytes stand for numbers in the 8-bit files that it reads.
    """

    precisions: Callable[[], tuple[str, ...]]
    open: Callable[[weights.Weights, str, int, int], Engine]
    version: Callable[[], str]
    device: Callable[[], str]
    scheme: Scheme = Scheme.ANYWHERE


def _open_openvino(entry: weights.Weights, precision: str, threads: int, streams: int) -> OpenVinoEngine | SplitEngine:
    """Return OpenVINO's engine for a file, in two parts where it can be cut. Raise `EngineError` or `WeightsError`."""
    return openvino_split.opened(weights.verified(entry), precision=precision, threads=threads, streams=streams)


REFERENCE = "openvino"  # the backend that runs everywhere; its fp32 is the reference, and the last engine to be tried
BACKENDS: Mapping[str, Backend] = {
    REFERENCE: Backend(openvino.precisions, _open_openvino, openvino.version, openvino.device),
    "tensorrt": Backend(tensorrt.precisions, tensorrt.opened, tensorrt.version, tensorrt.device, Scheme.AROUND_ZERO),
    "torch": Backend(torch_cuda.precisions, torch_cuda.opened, torch_cuda.version, torch_cuda.device),
}
ON_GPU = tuple(name for name in BACKENDS if name != REFERENCE)


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """Hold an engine that may serve, its weights, and how it compares with its reference (None for the reference)."""

    engine: Engine
    weights: weights.Weights
    figures: Comparison | None


Probe = Callable[[LoadedEngine], Arrays]  # takes the float32 reference and gives inputs for it, by name, batch first


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Name one engine that may be tried: a file on a backend in a precision."""

    backend: str
    entry: weights.Weights
    precision: str

    @property
    def is_reference(self) -> bool:
        """Return whether this is the reference itself."""
        return (self.backend, self.precision) == (REFERENCE, "fp32")

    def __str__(self) -> str:
        return f"{self.entry.model} on {self.backend}:{self.precision}"


class Yardstick:
    """Hold what the engines of a model are compared with and on: the float32 file, and inputs made at first use.

    `batch` is the number of rows that a compared engine is given at a time.
    """

    def __init__(self, reference: weights.Weights, probe: Probe | None, batch: int = AT_ONCE) -> None:
        self.reference = reference
        self.batch = batch
        self._probe = probe

    @cached_property
    def truth(self) -> OpenVinoEngine:
        """Return the float32 engine of the whole file.

        It is not cut in two as engines that serve are (`engines.split`): an adapter that records inputs of this engine
        gives them in the form that the file takes, which is what a quantiser reads.
        """
        return OpenVinoEngine(weights.verified(self.reference))

    @cached_property
    def inputs(self) -> Arrays:
        """Return the probe's inputs by name, of one batch size. Raise `EngineError` if the file does not take them."""
        if self._probe is None:
            return default_probe(self.truth.inputs, self.truth.types)
        inputs = self._probe(LoadedEngine(self.truth, self.reference, None))
        self.truth.rows(inputs)
        return inputs


def parse_engine(text: str) -> tuple[str, str]:
    """Return backend and precision of a text such as "openvino:int8"; without a precision, the latter is "auto".

    Raise `EngineError` if the backend, or OpenVINO's precision, is unknown.
    """
    backend, _, precision = text.partition(":")
    if backend not in BACKENDS:
        raise EngineError(f"There is no engine {backend!r}; choose one of {', '.join(BACKENDS)}.")
    precision = precision or "auto"
    if backend == REFERENCE:
        openvino.resolve_precision(precision)
    return backend, precision


def load(
    model: str,
    engine: str = REFERENCE,
    *,
    probe: Probe | None = None,
    threads: int = 0,
    streams: int = 1,
    untrained: bool = False,
    reference: weights.Weights | None = None,
) -> LoadedEngine:
    """Return an engine for `model`, compiled and compared with its reference.

    `engine` is BACKEND[:PRECISION]. Its outputs are compared with those of the float32 file on the inputs that `probe`
    gives (by default those of `engines.probe`), unless an earlier start on this machine did so. Where they differ by
    more than the limits of `engines.verify`, or where the engine cannot be built, the next slower one is tried with a
    warning, and float32 at last. `threads` and `streams` are those of `OpenVinoEngine`. With `untrained`, a paper's
    system without weights runs on random ones. `reference` is the float32 file, where another machine has found it.
    Raise `EngineError` or `WeightsError`.
    """
    _warn_of_shortage()
    backend, asked = parse_engine(engine)
    yardstick = Yardstick(reference or weights_of(model, untrained=untrained), probe)
    candidates = list(_candidates(yardstick, backend, asked))
    for candidate in candidates:
        try:
            figures = None if candidate.is_reference else _known(candidate, yardstick).figures
            if figures is None or figures.excess is None:
                opened = BACKENDS[candidate.backend].open(candidate.entry, candidate.precision, threads, streams)
                return LoadedEngine(opened, candidate.entry, figures)
            why = figures.excess
        except EngineError as error:
            if candidate is candidates[-1]:
                raise
            why = str(error).rstrip(".")
        log.warning("%s is refused, the next engine is tried: %s", candidate, why)
    raise EngineError(f"No engine is left for {model}.")


@cache
def _warn_of_shortage() -> None:
    """Warn, once a process, where a container may use less than one core."""
    if sentence := shortage():
        log.warning("%s", sentence)


def build(
    model: str,
    engine: str = REFERENCE,
    *,
    probe: Probe | None = None,
    untrained: bool = False,
    batch: int | None = None,
) -> records.Record:
    """Build an engine for this machine, compare it with its reference, and return the record of that.

    It is compared anew even if there is a record. For int8, where the weights come without an 8-bit file, one is
    quantised on the probe's inputs. The record says whether the engine may serve. Every engine takes any batch; it is
    compared at `batch` rows a call. Raise `EngineError` or `WeightsError`.
    """
    backend, asked = parse_engine(engine)
    precisions = _precisions(backend, asked)
    batch = AT_ONCE if batch is None else batch
    if not 1 <= batch <= SIZES[-1]:
        raise EngineError(f"An engine cannot be compared at batches of {batch}; choose 1 to {SIZES[-1]}.")
    yardstick = Yardstick(weights_of(model, untrained=untrained), probe, batch)
    shipped = _shipped_int8(yardstick.reference, backend)
    precision = asked
    if asked == "auto":
        can_be = {"int8"} if shipped or quantize.available() else set()
        precision = next(p for p in precisions if p != "int8" or p in can_be)
    if precision == "int8" and shipped is None:
        return _quantised(yardstick, backend)
    entry = shipped if precision == "int8" and shipped else yardstick.reference
    return _compared(_Candidate(backend, entry, precision), yardstick)


def prepared(yardstick: Yardstick, precision: str) -> tuple[weights.Weights, Comparison]:
    """Return OpenVINO's file for a precision and how it compares, from an earlier comparison where there was one.

    An 8-bit file that is missing is quantised. Raise `EngineError` if that fails or the result is beyond the limits.
    """
    if precision == "int8" and _eight_bit(yardstick, REFERENCE) is None:
        made = _quantised(yardstick, REFERENCE)
        if not made.fit:
            raise EngineError(f"int8 of {made.model} is refused: {made.figures.excess}.")
    entry = _eight_bit(yardstick, REFERENCE) if precision == "int8" else yardstick.reference
    assert entry is not None
    return entry, _known(_Candidate(REFERENCE, entry, precision), yardstick).figures


def table() -> list[dict[str, str]]:
    """Return the rows of `affectstream engines list`."""
    return [record.row() for record in records.everything()]


def expected(model: str) -> str:
    """Return which of OpenVINO's engines would serve a model of the manifest, and why no faster one would.

    Nothing is compared or built for this.
    """
    yardstick, passed = Yardstick(weights_of(model), None), []
    for precision in BACKENDS[REFERENCE].precisions():
        entry: weights.Weights | None = yardstick.reference
        if precision == "int8":
            entry = _shipped_int8(yardstick.reference, REFERENCE) or quantize.find(yardstick.reference)
        if entry is None:
            passed.append("no int8 file was built")
            continue
        record = records.find(_key(_Candidate(REFERENCE, entry, precision), yardstick))
        if record is None or record.fit or precision == "fp32":
            if record is None and precision != "fp32":
                passed.append("is compared with fp32 at the first start")
            return f"{REFERENCE}:{precision}" + (f" ({'; '.join(passed)})" if passed else "")
        passed.append(f"{precision} was refused: {record.figures.excess}")
    raise EngineError(f"No engine is left for {model}.")


def verify(
    names: Iterable[str] | None = None, *, probe_of: Callable[[str], Probe | None] = lambda model: None
) -> list[dict[str, str]]:
    """Compare anew every engine that this machine runs of the models `names`, and return rows as `table` does.

    Without names, the models are those of the manifest. `probe_of` gives the probe of a model by its name.
    """
    rows = []
    for model in names or weights.models():
        yardstick = Yardstick(weights_of(model, untrained=True), probe_of(model))
        for backend in filter(_runs, BACKENDS):
            own = (candidate for candidate in _candidates(yardstick, backend, "auto") if candidate.backend == backend)
            rows += [_compared(candidate, yardstick).row() for candidate in own]
    return rows


def _runs(backend: str) -> bool:
    """Return whether the backend runs on this machine."""
    try:
        return bool(BACKENDS[backend].precisions())
    except EngineError:
        return False


def weights_of(model: str, *, untrained: bool = False) -> weights.Weights:
    """Return the float32 file of a model, the reference of its engines. Raise `EngineError` or `WeightsError`."""
    for entry in weights.entries():
        if entry.model == model and entry.precision == "fp32":
            return entry
    if model not in registry.systems():
        raise EngineError(
            f"There is no model {model!r}; known are: {', '.join((*weights.models(), *registry.systems()))}."
        )
    return imported.system(model, untrained=untrained)


def _shipped_int8(reference: weights.Weights, backend: str) -> weights.Weights | None:
    """Return the 8-bit file that the manifest has for a model, or None if it has none that the backend reads."""
    if BACKENDS[backend].scheme is not Scheme.ANYWHERE:
        return None
    of_model = (e for e in weights.entries() if e.model == reference.model)
    return next((e for e in of_model if e.precision == "int8"), None)


def _candidates(yardstick: Yardstick, backend: str, asked: str) -> Iterator[_Candidate]:
    """Yield the engines to try, from the precision asked for to slower ones, and those of OpenVINO last.

    Where the backend cannot run at all, only those of OpenVINO are tried. Raise `EngineError` for a precision that the
    backend does not compute, and if int8 was asked for and there is no 8-bit file.
    """
    model = yardstick.reference.model
    try:
        BACKENDS[backend].precisions()
    except EngineError as error:
        if backend == REFERENCE:
            raise
        log.warning("%s cannot run here, %s is used: %s", backend, REFERENCE, error)
        yield from _candidates(yardstick, REFERENCE, "auto")
        return
    precisions = _precisions(backend, asked)
    for precision in precisions[0 if asked == "auto" else precisions.index(asked) :]:
        entry = _eight_bit(yardstick, backend) if precision == "int8" else yardstick.reference
        if entry is not None:
            yield _Candidate(backend, entry, precision)
        elif asked == "int8":
            build_it = f"affectstream engines build {model} --backend {backend} --precision int8"
            raise EngineError(
                f"The model {model!r} has no int8 weights for {backend}; `{build_it}` makes them, or choose {backend}."
            )
    if backend != REFERENCE:
        yield from _candidates(yardstick, REFERENCE, "auto")


def _precisions(backend: str, asked: str) -> tuple[str, ...]:
    """Return the precisions that the backend computes here, the fastest first.

    Raise `EngineError` if `asked` is neither "auto" nor one of them, and if the backend cannot run.
    """
    precisions = BACKENDS[backend].precisions()
    if asked not in ("auto", *precisions):
        raise EngineError(f"{backend} has no {asked} here; it has {', '.join(precisions)}.")
    return precisions


def _eight_bit(yardstick: Yardstick, backend: str) -> weights.Weights | None:
    """Return the 8-bit file that ships, else the one that was built here, or None if there is neither.

    A built file that is stale or damaged is built anew.
    """
    reference, scheme = yardstick.reference, BACKENDS[backend].scheme
    made = _shipped_int8(reference, backend) or quantize.find(reference, scheme)
    if made is None and quantize.was_built(reference, scheme):
        log.warning("int8 of %s is stale or damaged and built anew, which takes a minute", reference.model)
        try:
            _quantised(yardstick, backend)
        except EngineError as error:
            log.warning("int8 of %s could not be built anew: %s", reference.model, error)
        made = quantize.find(reference, scheme)
    return made


def _quantised(yardstick: Yardstick, backend: str) -> records.Record:
    """Quantise with every second input of the probe, compare on the others, and return the record of that.

    The comparison runs on the CPU, which computes what every backend computes of an 8-bit file. An engine of another
    backend is compared on all inputs afterwards, so that its file has to be fit for all. Raise `EngineError` if the
    file cannot be quantised.
    """
    reference, truth = yardstick.reference, yardstick.truth
    seen, unseen = ({name: values[start::2] for name, values in yardstick.inputs.items()} for start in (0, 1))
    asked = unseen if backend == REFERENCE else yardstick.inputs
    made = quantize.build(
        reference,
        seen,
        lambda file: compare(truth, OpenVinoEngine(file, precision="int8", caching=False), asked, yardstick.batch),
        BACKENDS[backend].scheme,
    )
    candidate = _Candidate(backend, made.weights or reference, "int8")
    if made.weights is not None and backend != REFERENCE:
        return _compared(candidate, yardstick)
    return _keep(candidate, yardstick, made.figures)


def _known(candidate: _Candidate, yardstick: Yardstick) -> records.Record:
    """Return the record of an earlier comparison on this machine, else that of a new one."""
    return records.find(_key(candidate, yardstick)) or _compared(candidate, yardstick)


def _compared(candidate: _Candidate, yardstick: Yardstick) -> records.Record:
    """Open the engine, compare it with its reference, and return the record."""
    found = BACKENDS[candidate.backend].open(candidate.entry, candidate.precision, 0, 1)
    return _keep(candidate, yardstick, compare(yardstick.truth, found, yardstick.inputs, yardstick.batch))


def _runtime(backend: str) -> records.Runtime:
    """Return what compiles and runs the engines of a backend on this machine."""
    return records.Runtime(backend, BACKENDS[backend].version(), BACKENDS[backend].device())


def _key(candidate: _Candidate, yardstick: Yardstick) -> str:
    """Return the key of the engine's record."""
    return records.key(candidate.entry, yardstick.reference, candidate.precision, _runtime(candidate.backend))


def _keep(candidate: _Candidate, yardstick: Yardstick, figures: Comparison) -> records.Record:
    """Keep the figures of the engine in the cache and return their record."""
    runtime = _runtime(candidate.backend)
    return records.keep(_key(candidate, yardstick), candidate.entry, candidate.precision, runtime, figures)
