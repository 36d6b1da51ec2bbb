"""The commands for recordings: analyze, one or many, and study."""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.errors import UserError
from models.files import beside
from service import exit_codes
from service.printable import printable


def add_commands(commands: Any, add_model: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands to the command line; `add_model` adds the options that choose a model."""
    analyze = commands.add_parser(
        "analyze", help="read recordings, a picture or a folder of pictures, and write their events to files"
    )
    analyze.set_defaults(run=_analyze)
    analyze.add_argument(
        "input",
        nargs="+",
        type=_not_empty,
        help="a file, a folder of pictures, or any source; several, or with --out FOLDER: files, folders, 'PATTERN*', "
        "@LIST and addresses (s3://...) of recordings",
    )
    analyze.add_argument(
        "--out", required=True, type=_not_empty, metavar="FILE",
        help=".jsonl, .csv, .parquet, or - for JSON lines; for several recordings a folder or an address",
    )  # fmt: skip
    analyze.add_argument("--fps", type=float, help="events per second (every decoded frame)")
    analyze.add_argument(
        "--max-megapixels", type=_above_0, metavar="N", help="million pixels of a picture (64; of a film 36)"
    )
    analyze.add_argument("--speed", choices=("max", "realtime"), default="max")
    analyze.add_argument(
        "--start", type=_seconds, default=0.0, metavar="TIME", help="seconds or 0:01:30; what is read begins there"
    )
    analyze.add_argument("--end", type=_seconds, default=math.inf, metavar="TIME", help="where it ends")
    analyze.add_argument("--markers", type=_path, metavar="FILE.csv", help="columns label and time (seconds)")
    analyze.add_argument(
        "--neutral", type=_seconds, metavar="TIME",
        help="from there people look neutral for 10 s, and from_baseline is measured from it (else from what the "
        "model finds neutral)",
    )  # fmt: skip
    analyze.add_argument(
        "--format", metavar="NAME",
        help="openface, pyfeat (FILE.csv), bids (sub-01_task-film_physio.tsv.gz) or elan (FILE.eaf): the format of "
        "--out; for several recordings, a file beside each result",
    )  # fmt: skip
    analyze.add_argument(
        "--columns", default="boxes,gaze", metavar="NAMES",
        help="optional columns of a table, of boxes, gaze (needs --gaze), voice and windows (boxes,gaze)",
    )  # fmt: skip
    analyze.add_argument("--report", type=_path, metavar="FILE.html", help="also a page with charts and tables")
    _add_jobs(analyze)
    add_model(analyze)

    study = commands.add_parser("study", help="participants, recordings and conditions to tidy tables and a report")
    study.set_defaults(run=_study)
    study.add_argument("action", choices=("init", "run", "report"))
    study.add_argument(
        "file", type=_not_empty, metavar="study.toml", help="the study's file; init makes it, and may be given none"
    )
    study.add_argument(
        "video",
        nargs="*",
        type=_not_empty,
        help="init: recordings to list, such as 'videos/*.mp4' (PARTICIPANT_CONDITION.mp4)",
    )
    _add_jobs(study)


def _not_empty(text: str) -> str:
    """Return `text`. Raise `ArgumentTypeError` for an empty one, which would name the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty, as that of a shell variable that is not set")
    return text


def _path(text: str) -> Path:
    return Path(_not_empty(text))


def _above_0(text: str) -> float:
    """Return a finite number above 0. Raise `ArgumentTypeError` for any other text."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, metavar="N", help="several recordings: read so many at once (one a core)")
    parser.add_argument(
        "--cluster", metavar="auto|HOST:PORT|ray://...", help="several recordings: read them on a Ray cluster"
    )


def _seconds(text: str) -> float:
    """Return a time in seconds. Raise `ArgumentTypeError` for a text that is none."""
    from service.capture.span import seconds

    try:
        return seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no time; write seconds, such as 90, or 0:01:30") from None


def _analyze(args: argparse.Namespace) -> int:
    """Write the events of one recording to a file, or those of several to a folder."""
    from service.archive.inputs import is_several
    from service.capture.limits import limit_megapixels

    limit_megapixels(args.max_megapixels)
    if is_several(args.input, args.out) or args.jobs is not None or args.cluster is not None:
        return _analyze_several(args)
    return _analyze_one(args)


def _analyze_one(args: argparse.Namespace) -> int:
    from service.analyze import STANDARD_OUTPUT, analyze, check_input, pictures_in
    from service.capture.marker_file import read_markers
    from service.capture.span import Span
    from service.provenance import Input, about
    from service.publish.formats.registry import format_of
    from service.runtime import load_runtime

    (source,), out = args.input, Path(args.out)
    _check_apart(args)
    reading, span = _reading(args), Span(args.start, args.end)
    markers = read_markers(args.markers) if args.markers is not None else []
    check_input(source)
    if reading.form is not None:
        format_of(out, reading.form)
    if args.report is not None and "://" not in source and pictures_in(Path(source)) is not None:
        raise UserError("--report draws what changes over time; it is for recordings, and not for pictures")
    collector = _collector(args.report)
    runtime = load_runtime(reading.runtime_options())
    options = {
        **asdict(reading),
        "speed": args.speed,
        "start": span.start,
        "end": span.end if span.end < math.inf else None,
        "markers": [[marker.t, marker.label] for marker in markers],
        "neutral": args.neutral,
    }
    try:
        made = about(runtime, Input.of(source), options)
        outcome = analyze(
            runtime, source, out, fps=args.fps, realtime=args.speed == "realtime", span=span, markers=markers,
            about=made, listener=None if collector is None else lambda event: collector(event.data), form=reading.form,
            columns=reading.columns, neutral=args.neutral,
        )  # fmt: skip
    finally:
        runtime.close()
    for detail in outcome.details:
        print(detail, file=sys.stderr)
    if collector is not None:
        from service.report.page import write

        name = Path(made["input"]["name"]).name
        notes = [] if outcome.ending == "complete" else [f"Not whole: {detail}" for detail in outcome.details]
        write(args.report, [collector.readings(name, made)], f"Affect in {name}", notes)
    to = sys.stderr if out == STANDARD_OUTPUT else sys.stdout
    name = "standard output" if out == STANDARD_OUTPUT else printable(outcome.path)
    print(f"{name}: {outcome.events} events, {outcome.with_face} of them with a face", file=to)
    if args.report is not None:
        print(_reported(str(args.report)), file=to)
    return {"complete": 0, "interrupted": exit_codes.INTERRUPTED, "failed": exit_codes.BAD_INPUT}[outcome.ending]


def _analyze_several(args: argparse.Namespace) -> int:
    from service.archive import storage
    from service.archive.inputs import recordings
    from service.archive.run import run
    from service.archive.task import Task, check_names

    out = _folder(args.out)
    if args.markers is not None:
        raise UserError("--markers belongs to one recording; for several write a study (affectstream study init)")
    if args.speed == "realtime":
        raise UserError("--speed realtime is for one recording; several are read as fast as they can be")
    end = args.end if args.end < math.inf else None
    tasks = [
        Task(place=one.place, name=one.name, out=out, start=args.start, end=end, neutral=args.neutral)
        for one in recordings(args.input)
    ]
    _check_apart(args)
    reading = _reading(args)
    check_names(tasks, reading)
    _check_report(args.report)
    summary = run(tasks, reading, out, jobs=args.jobs, cluster=args.cluster, say=_say)
    if args.report is not None:
        from service.archive.readings import read_results
        from service.report.page import write

        notes = _missing(tasks, summary)
        write(args.report, read_results(tasks, summary.rows), f"Affect in {summary.done} recordings", notes)
    print(f"{storage.shown(out)}: {_counted(summary)}")
    if args.report is not None:
        print(_reported(str(args.report)))
    return _code(summary)


def _study(args: argparse.Namespace) -> int:
    """Write a study's file, run it, or write its report."""
    from service.archive import storage
    from service.studies.run import run_study, write_report
    from service.studies.study import read_study
    from service.studies.template import file_and_inputs, write_template

    if args.video and args.action != "init":
        raise UserError(f"study {args.action} takes the study's file alone, which lists the recordings")
    if args.action == "init":
        print(write_template(*file_and_inputs([args.file, *args.video])))
        return 0
    study = read_study(Path(args.file))
    if args.action == "report":
        print(_reported(storage.shown(write_report(study))))
        return 0
    summary = run_study(study, jobs=args.jobs, cluster=args.cluster, say=_say)
    print(f"{storage.shown(study.results)}: {_counted(summary)}")
    if summary.done:
        print(_reported(storage.shown(study.report)))
    return _code(summary)


def _check_apart(args: argparse.Namespace) -> None:
    """Raise `UserError` if a file would be written in the place of another one that was named."""
    named = [("an input", name) for name in args.input]
    named += [("--markers", args.markers)] if args.markers is not None else []
    for option, written in (("--out", args.out), ("--report", args.report)):
        if written is None:
            continue
        for other, name in named:
            if Path(written).absolute() == Path(name).absolute() and not Path(written).is_dir():
                raise UserError(f"{printable(written)}: {option} would replace {other}; give it another name")
        named.append((option, written))


def _check_report(report: Path | None) -> None:
    """Raise `UserError` if the report could not be written. It is called before hours of reading, not after."""
    if report is None:
        return
    if not report.parent.is_dir():
        raise UserError(f"{printable(report)}: the folder {printable(report.parent)} is not there; make it first")
    if report.is_dir():
        raise UserError(f"{printable(report)}: is a folder; give the report a name, such as {report / 'report.html'}")
    try:
        with beside(report):
            pass
    except OSError as error:
        raise UserError(
            f"{printable(report)}: cannot be written ({error.strerror}); give --report a place that can"
        ) from error


def _collector(report: Path | None) -> Any:
    """Return what collects the events for a report; None if no report was asked for."""
    _check_report(report)
    if report is None:
        return None
    from service.report.readings import Collector

    return Collector()


def _missing(tasks: Iterable[Any], summary: Any) -> list[str]:
    """Return a sentence for each recording that is not in a report, because it failed or was not read yet."""
    missing = [*summary.failed.values()]
    missing += [f"{task.name} (not read yet)" for task in tasks if task.name not in summary.rows]
    return [f"Not in this report: {sentence}" for sentence in missing]


def _folder(out: str) -> str:
    """Return the folder or address of results. Raise `UserError` if it is a file, or cannot be made."""
    from service.archive import storage

    if out == "-":
        raise UserError("--out - takes one recording; give a folder for several")
    if storage.is_address(out):
        return out
    path = Path(out)
    if path.is_file() or (path.suffix in (".jsonl", ".csv", ".parquet", ".eaf", ".gz") and not path.is_dir()):
        raise UserError(f"{out}: several recordings need a folder; each has a result of its own in it")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); give --out another folder") from error
    return str(path)


def _reading(args: argparse.Namespace) -> Any:
    from service.archive.task import Reading
    from service.publish.formats.registry import by_name
    from service.publish.table import read_groups
    from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL

    if args.fps is not None and not 0 < args.fps < math.inf:
        raise UserError(f"--fps {args.fps:g} is not a number above 0; give frames per second, such as 5")
    if args.format is not None:
        by_name(args.format)
    return Reading(
        model=args.model or DEFAULT_MODEL,
        engine=args.engine or DEFAULT_ENGINE,
        model_option=list(args.model_option),
        untrained=bool(args.untrained),
        voice=args.voice is not False,
        voice_share=1.0 if args.voice_share is None else args.voice_share,
        smoothing=args.smoothing or "normal",
        gaze=bool(args.gaze),
        fps=args.fps,
        pool=args.pool,
        form=args.format,
        columns=read_groups(args.columns),
    )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _reported(place: str) -> str:
    return f"{printable(place)}: the report; open it in a browser"


def _counted(summary: Any) -> str:
    """Return a sentence on what came of a run."""
    text = f"{summary.done} of {summary.wanted} recordings are done"
    if summary.kept:
        text += f", {summary.kept} of them before"
    if summary.failed:
        text += f"; {len(summary.failed)} failed, see manifest.parquet"
    if summary.interrupted:
        text += "; interrupted, and the same command goes on from here"
    return text


def _code(summary: Any) -> int:
    if summary.interrupted:
        return exit_codes.INTERRUPTED
    return exit_codes.MISSING if summary.failed else 0
