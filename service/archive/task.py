"""The function of one recording: the same on this machine, in a process of its own, and on a cluster."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from models.errors import UserError
from models.files import sha256
from service.adapters.options import read_options
from service.analyze import analyze
from service.archive import storage
from service.archive.inputs import is_source
from service.capture.marker_file import Marker
from service.capture.span import Span
from service.events import Event
from service.pool.options import read_pool
from service.printable import printable
from service.provenance import SUFFIX, Input, about, write_sidecar
from service.publish.export import open_export
from service.publish.formats.format import Making
from service.publish.formats.registry import by_name
from service.publish.table import DEFAULT_GROUPS
from service.runtime import Runtime, RuntimeOptions
from service.settings import Smoothing

FORMAT = ".parquet"  # of results
LONGEST = 200  # bytes of a name: file systems take 255, of which suffixes and the temporary name need up to 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Say how recordings are read; every field has the meaning of the option of `analyze` with its name.

    `form` (`--format`) adds a file in that format beside each result.
    """

    model: str
    engine: str
    model_option: Sequence[str] = ()
    untrained: bool = False
    voice: bool = True
    voice_share: float = 1.0
    smoothing: Smoothing = "normal"
    gaze: bool = False
    fps: float | None = None
    pool: str | None = None
    form: str | None = None
    columns: Sequence[str] = DEFAULT_GROUPS

    def runtime_options(self) -> RuntimeOptions:
        """Return what `load_runtime` takes. Raise `UserError` for a model option or a pool that there is not."""
        return RuntimeOptions(
            model=self.model,
            engine=self.engine,
            model_options=read_options(list(self.model_option)),
            untrained=self.untrained,
            voice=self.voice,
            voice_share=self.voice_share,
            pool=read_pool(self.pool) if self.pool else None,
            smoothing=self.smoothing,
            gaze=self.gaze,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Hold one recording to read: its place, the place of its result, the part, the markers and the neutral step.

    `also` is the place of its file in another format, without suffix; None puts it beside the result.
    """

    place: str
    name: str
    out: str
    start: float = 0.0
    end: float | None = None
    markers: list[tuple[float, str]] = field(default_factory=list)
    neutral: float | None = None
    also: str | None = None

    @property
    def result(self) -> str:
        """Return the place of the result."""
        return storage.join(self.out, self.name + FORMAT)

    @property
    def other(self) -> str:
        """Return the place of the file in another format, without its suffix."""
        return self.also or storage.join(self.out, self.name)

    def beside(self, name: str) -> str:
        """Return the place of a file called `name` in the folder of the file in another format."""
        return storage.join(self.other.rpartition("/")[0] or ".", name)


Finished = tuple[Task, dict[str, Any]]  # a recording that was read, and the facts in the file beside its result


def check_names(tasks: Iterable[Task], reading: Reading) -> None:
    """Raise `UserError` for a recording whose name is too long, or not allowed in the format of `reading`."""
    for task in tasks:
        if any(len(os.fsencode(part)) > LONGEST for part in task.name.split("/")):
            raise UserError(
                f"{task.name[:20]}…: a result cannot have a name of more than {LONGEST} bytes; rename the recording"
            )
    if reading.form is not None:
        form = by_name(reading.form)
        for task in tasks:
            form.check(Path(task.other + form.suffix))


def read_one(runtime: Runtime, reading: Reading, task: Task) -> dict[str, Any]:
    """Read one recording unless its result is there and current; return the facts in the file beside the result.

    No error is raised: its sentence is then in `result.details`, and `result.ending` is "failed". The key `kept` is
    true if an earlier result was kept.
    """
    try:
        return _current(runtime, reading, task) or _made(runtime, reading, task)
    except (UserError, OSError) as error:
        why = str(error)
    except MemoryError:
        why = "the memory of this machine was not enough"
    except Exception as error:  # a fault of ours or of a library: this recording's trouble alone
        why = f"{type(error).__name__}: {error}"
    facts = about(runtime, Input(storage.shown(printable(task.place))), options(reading, task))
    return failed(facts, task, why)


def failed(facts: Mapping[str, Any], task: Task, why: str) -> dict[str, Any]:
    """Return `facts` of a recording that was not read, with the reason, and remove a result of an earlier run."""
    try:
        for name in _also(storage.read_text(task.result + SUFFIX)):
            storage.remove(task.beside(name))
        for place in (task.result + SUFFIX, task.result):
            storage.remove(place)
    except UserError as error:
        why = f"{why} (and the earlier result stays: {error})"
    result = {"ending": "failed", "events": 0, "with_face": 0, "seconds": None, "details": [why]}
    return {**facts, "result": result, "kept": False}


def _also(text: str | None) -> list[str]:
    """Return the names of the further files that the text beside a result lists."""
    try:
        return [str(name) for name in json.loads(text or "{}").get("also", [])]
    except (ValueError, AttributeError, TypeError):
        return []


def options(reading: Reading, task: Task) -> dict[str, Any]:
    """Return everything that the result depends on besides the recording and the weights; not where it was computed."""
    jpeg = read_pool(reading.pool).jpeg if reading.pool else None
    return {
        **{name: value for name, value in asdict(reading).items() if name != "pool"},
        **({} if jpeg is None else {"jpeg": jpeg}),
        "model_option": list(reading.model_option),
        "columns": list(reading.columns),
        "start": task.start,
        "end": task.end,
        "markers": [list(marker) for marker in task.markers],
        "neutral": task.neutral,
    }


def _current(runtime: Runtime, reading: Reading, task: Task) -> dict[str, Any] | None:
    """Return the facts of a result that is there and would come out the same; None if it has to be made."""
    text = storage.read_text(task.result + SUFFIX)
    if text is None or not storage.exists(task.result):
        return None
    try:
        facts: dict[str, Any] = json.loads(text)
        sha, size, modified = (facts["input"][key] for key in ("sha256", "bytes", "modified"))
    except (ValueError, KeyError, TypeError):
        return None
    now = about(runtime, Input(task.place), options(reading, task))
    same = all(facts.get(key) == now[key] for key in ("schema", "affectstream", "model", "weights_sha256", "options"))
    if not same or is_source(task.place) or not all(storage.exists(task.beside(name)) for name in _also(text)):
        return None
    found = storage.facts(task.place)
    if found is None:
        raise UserError(f"There is no file {storage.shown(printable(task.place))}; check the path.")
    if (size, modified) != found:
        with storage.on_this_machine(task.place) as path:
            if sha256(path) != sha:
                return None
    return {**facts, "kept": True}


def _made(runtime: Runtime, reading: Reading, task: Task) -> dict[str, Any]:
    """Read the recording, put the result and the file beside it in their places, and return what the latter says."""
    if is_source(task.place):
        return _written(runtime, reading, task, task.place, Input.of(task.place))
    with storage.on_this_machine(task.place) as path:
        size, modified = storage.facts(task.place) or (None, None)
        shown = storage.shown(printable(task.place))
        of = Input(shown, sha256(path) if path.is_file() else None, size, modified)
        source = str(path.absolute())
        try:
            return _written(runtime, reading, task, f"file:{source}", of)
        except UserError as error:  # in the user's own words, and not with the place of a copy
            raise UserError(str(error).replace(f"file:{source}", shown).replace(printable(source), shown)) from error


def _written(runtime: Runtime, reading: Reading, task: Task, source: str, of: Input) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        made = Path(folder) / f"result{FORMAT}"
        facts = about(runtime, of, options(reading, task))
        with _other(reading, task, Path(folder) / "also", facts) as listener:
            outcome = analyze(
                runtime,
                source,
                made,
                fps=reading.fps,
                quiet=True,
                span=Span(task.start) if task.end is None else Span(task.start, task.end),
                markers=[Marker(t, label) for t, label in task.markers],
                about=facts,
                listener=listener,
                columns=reading.columns,
                neutral=task.neutral,
            )
        beside = made.with_name(made.name + SUFFIX)
        facts = json.loads(beside.read_text("utf-8"))
        if outcome.ending != "complete":
            raise UserError(outcome.details[-1] if outcome.details else "the recording could not be read")
        also = sorted((Path(folder) / "also").glob("*"))
        for file in also:
            storage.write(file, task.beside(file.name))
        if also:
            facts["also"] = [file.name for file in also]
            write_sidecar(made, facts)
        storage.write(made, task.result)
        storage.write(beside, task.result + SUFFIX)  # last: it says that the result is there
    return {**facts, "kept": False}


@contextmanager
def _other(
    reading: Reading, task: Task, folder: Path, facts: Mapping[str, Any]
) -> Iterator[Callable[[Event], None] | None]:
    """Yield what takes the events for the file in the other format, which is made in `folder`; None without one."""
    if reading.form is None:
        yield None
        return
    folder.mkdir()
    path = folder / (PurePosixPath(task.other).name + by_name(reading.form).suffix)
    with open_export(path, Making(lambda: facts, reading.columns), reading.form) as export:
        yield lambda event: export.write(event.data_with_landmarks if export.landmarks else event.data)
