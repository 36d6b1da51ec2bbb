"""The command line: serve, config, analyze, study, watch, weights, engines, prepare, train, evaluate, cluster, bench.

Each command imports what it needs when it runs, so that `--help` is immediate and serving needs no PyTorch.
"""

import argparse
import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from affectstream import __version__
from engines.errors import UserError
from service import cli_cluster, cli_studies, cli_training, exit_codes, interrupts, logs
from service.printable import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 with a sentence on the error stream for bad input.

    `argv` are the arguments after the program's name; those of this process without it. The code is 1 if a part of what
    was asked for is missing from the result, and 130 after an interrupt, except for `serve`, which interrupts end.
    """
    # Each session runs in a thread of its own. With a pool of BLAS threads, numpy's small products spin on every core,
    # which was measured to raise a frame's cost from 4 to 50 ms of CPU. numpy reads the variable when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    args = _parser().parse_args(argv)
    logs.set_up(logging.INFO, sys.stderr)
    try:
        with interrupts.raised():
            return int(args.run(args) or 0)
    except UserError as error:
        logs.say(str(error))
        return exit_codes.BAD_INPUT
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        logs.say(f"{printable(str(error.filename))[:40]}…: no file can have so long a name; give a shorter one")
        return exit_codes.BAD_INPUT
    except KeyboardInterrupt:
        logs.say("interrupted")
        return 0 if args.command == "serve" else exit_codes.INTERRUPTED


def _serve(args: argparse.Namespace) -> int:
    """Run the service until it is interrupted."""
    from service.serve import serve
    from service.settings import read_settings

    resolved = read_settings(args.config, _settings_of(args))
    logs.set_form(resolved.settings.log_format)
    resolved.warn()
    code = serve(resolved.settings)
    # Sessions and sinks have ended. An ordinary exit of an interpreter with so many libraries would take up to two
    # seconds more and change nothing.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as options."""
    others = ("run", "command", "config", "action")
    return {name: value for name, value in vars(args).items() if name not in others and value != []}


def _config(args: argparse.Namespace) -> int:
    """Check the settings as `serve` would read them, or show them with where each came from."""
    from service import cli_config

    if args.action == "check":
        print(cli_config.check(args.config, _settings_of(args)))
    else:
        _table(cli_config.rows(args.config, _settings_of(args)), as_json=False)
    return 0


def _watch(args: argparse.Namespace) -> int:
    """Print what a running service shows."""
    from service.cli_watch import watch

    return watch(args.url, args.session, args.token or os.environ.get("AFFECTSTREAM_TOKEN"), args.form)


def _weights(args: argparse.Namespace) -> int:
    """List, fetch, import or describe weight files."""
    from engines import weights
    from engines.papers import imported, store

    match args.action:
        case "list":
            _table(weights.table() + store.table(), args.json)
        case "pull":
            for path in weights.pull(args.name or None):
                print(path)
        case "import":
            name, *files = args.name or [""]
            checkpoint = imported.import_checkpoint(
                name, [Path(file) for file in files], swapped=args.swap, options=_options(args.set)
            )
            print(f"{checkpoint.origin} is now the checkpoint of {name}")
        case "card":
            print(weights.card(args.name[0] if args.name else "face-mt"))
    return 0


def _options(texts: list[str]) -> dict[str, Any]:
    """Return the options in NAME=VALUE texts; a value that is valid JSON is read as JSON, any other is a text."""
    options: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise UserError(f"--set {text} is not NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _engines(args: argparse.Namespace) -> int:
    """Print what this machine has for engines, or build, list or compare them."""
    from engines import doctor, load
    from service.calibrate import probe_of

    match args.action:
        case "doctor":
            rows = doctor.rows()
        case "list":
            rows = load.table()
        case "build":
            engine = args.backend + (f":{args.precision}" if args.precision else "")
            built = [
                load.build(
                    name, engine, probe=probe_of(name, args.calibrate), untrained=args.untrained, batch=args.batch
                )
                for name in args.name or ["face-mt"]
            ]
            _table([record.row() for record in built], args.json)
            return _report_missing(record.refusal for record in built if not record.fit)
        case "verify":
            rows = load.verify(args.name or None, probe_of=lambda name: probe_of(name, args.calibrate))
    _table(rows, args.json)
    return 0


def _bench(args: argparse.Namespace) -> int:
    """Run a benchmark in a cache that holds fetched weights and imported checkpoints alone."""
    from engines.cache import empty_cache

    with empty_cache("weights", "checkpoints"):
        return _bench_from_empty_cache(args)


def _bench_from_empty_cache(args: argparse.Namespace) -> int:
    """Run a benchmark, print its report, write its page, and name what is missing from it."""
    match args.what:
        case "perception":
            from service.bench.perception import measure

            _table(measure(Path(args.input) if args.input else None), args.json)
            return 0
        case "models":
            from service.bench import models as bench

            report = bench.models(args.model)
        case "engines":
            from service.bench import engines as bench_engines
            from service.calibrate import probe_of

            report = bench_engines.engines(args.model, probe_of=probe_of)
        case "streams":
            from service.bench.streams import streams

            report = streams(args.model[0] if args.model else None)
        case "gpu":
            from service.bench.gpu import gpu

            report = gpu(args.model[0] if args.model else None, args.streams, args.workers)
        case "cluster":
            from service.bench.cluster import CLIPS, PARTS, TURNS, cluster

            report = cluster(
                args.part or PARTS,
                TURNS if args.turns is None else args.turns,
                CLIPS if args.clips is None else args.clips,
            )
        case "soak":
            from service.bench.soak.run import soak

            report = soak(args.minutes, args.fault_every)
        case _:
            from service.bench.live import live

            report = live(args.input, minutes=args.minutes, streams=args.streams or 12)
    if args.out is not None:
        from service.bench.page import write_page

        write_page(args.what, report, args.out)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        from service.bench.page import tables

        for rows in tables(report):
            _table(rows, as_json=False)
    return _report_missing(report["refused"] if args.what == "engines" else report.get("missed", ()))


def _report_missing(sentences: Iterable[str]) -> int:
    """Print each sentence, which says what is missing from a command's result and why; return the exit code."""
    code = 0
    for sentence in sentences:
        print(f"affectstream: {sentence}", file=sys.stderr)
        code = exit_codes.MISSING
    return code


def _table(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows as a table with the first row's keys as its head, or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        return
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="affectstream", description="Live valence, arousal, expressions and action units from a camera."
    )
    parser.add_argument("--version", action="version", version=f"affectstream {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands)
    cli_studies.add_commands(commands, _add_model)
    _add_watch(commands)
    _add_weights(commands)
    _add_engines(commands)
    cli_training.add_commands(commands, _table)
    cli_cluster.add_commands(commands, _add_model, _table)
    _add_bench(commands)
    return parser


def _add_serve(commands: Any) -> None:
    """Add the command that runs the service, and the one that checks or shows its settings."""
    serve = commands.add_parser("serve", help="watch sources and stream events over WebSocket and Redis")
    serve.set_defaults(run=_serve)
    cli_cluster.add_serve_options(serve, _add_model)
    serve.add_argument(
        "--cluster", metavar="ADDRESS", help="run the workers on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT"
    )

    config = commands.add_parser(
        "config", parents=[serve], conflict_handler="resolve", help="check or show the settings of `serve`",
    )  # fmt: skip
    config.set_defaults(run=_config)
    config.add_argument("action", choices=("check", "show"))


def _add_watch(commands: Any) -> None:
    """Add the command that prints the events of a running service."""
    watch = commands.add_parser("watch", help="print what a running service shows")
    watch.set_defaults(run=_watch, form="text")
    watch.add_argument("url", nargs="?", default="http://127.0.0.1:8000", help="its address (http://127.0.0.1:8000)")
    watch.add_argument("--session", metavar="NAME", help="one session (all)")
    watch.add_argument("--token", help="token of the service; better: AFFECTSTREAM_TOKEN")
    form = watch.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="whole events, one a line")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="a row for each face")


def _add_weights(commands: Any) -> None:
    """Add the command for weight files."""
    weights = commands.add_parser("weights", help="list, pull, import or describe weight files")
    weights.set_defaults(run=_weights)
    weights.add_argument("action", choices=("list", "pull", "import", "card"))
    weights.add_argument(
        "name", nargs="*", metavar="NAME", help="names of weights (all that the service needs); import: MODEL FILE"
    )
    weights.add_argument("--swap", action="store_true", help="import: the checkpoint has arousal before valence")
    weights.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="import: what the network was made with"
    )
    weights.add_argument("--json", action="store_true")


def _add_engines(commands: Any) -> None:
    """Add the command for what runs networks on this machine."""
    engines = commands.add_parser("engines", help="what this machine has to run networks with")
    engines.set_defaults(run=_engines)
    engines.add_argument("action", choices=("doctor", "list", "build", "verify"))
    engines.add_argument("name", nargs="*", help="models (build: face-mt; verify: all of the manifest)")
    engines.add_argument("--backend", default="openvino", help="build: for openvino (default), tensorrt or torch")
    engines.add_argument("--precision", help="build: fp32, bf16, fp16 or int8 (the fastest of the backend)")
    engines.add_argument(
        "--batch", type=int, metavar="N", help="build: compare at N rows a call; every engine takes any batch",
    )  # fmt: skip
    engines.add_argument(
        "--calibrate", action="append", default=[], type=Path, metavar="FILE",
        help="build, verify: a video with faces to compare on and to take int8 ranges from; may be repeated",
    )  # fmt: skip
    engines.add_argument("--untrained", action="store_true", help="build: for a system that has no weights")
    engines.add_argument("--json", action="store_true")


def _add_bench(commands: Any) -> None:
    """Add the command that measures this machine."""
    bench = commands.add_parser("bench", help="measure this machine")
    bench.set_defaults(run=_bench)
    bench.add_argument("what", choices=("live", "perception", "models", "engines", "streams", "gpu", "cluster", "soak"))
    bench.add_argument(
        "--model", action="append", default=[], help="only this one (streams, gpu: which); models, engines: repeatable"
    )
    bench.add_argument("--input", help="a 30 fps clip (the demo, written to a temporary file)")
    bench.add_argument("--minutes", type=float, default=1.0, help="length of the single-stream run; soak: in all")
    bench.add_argument("--fault-every", type=float, default=30.0, metavar="S", help="soak: seconds between faults (30)")
    bench.add_argument("--streams", type=int, help="live: most streams to try (12); gpu: sessions (200)")
    bench.add_argument("--workers", type=int, help="gpu: processes that share it (8)")
    bench.add_argument(
        "--part", action="append", default=[], choices=("streams", "gaps", "archive", "pools"),
        help="cluster: only this part; may be repeated",
    )  # fmt: skip
    bench.add_argument("--turns", type=int, metavar="N", help="cluster: nodes killed, drained and shut down (10 each)")
    bench.add_argument("--clips", type=int, metavar="N", help="cluster: recordings of the archive (200)")
    bench.add_argument("--out", type=Path, metavar="FILE", help="a page (.md) with its figures as .json beside it")
    bench.add_argument("--json", action="store_true")


def _share(text: str) -> float:
    """Return a number from 0 to 1. Raise `ArgumentTypeError` for any other text."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 to 1")
    return value


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose and set up a model."""
    parser.add_argument("--model", help="name of a model (face-mt)")
    parser.add_argument("--engine", metavar="BACKEND[:PRECISION]", help="openvino[:fp32|bf16|int8]")
    parser.add_argument(
        "--pool", metavar="ADDRESS", help="run the model on this Ray cluster: ADDRESS[?replicas=1..8&cpus=1&gpus=0.5]",
    )  # fmt: skip
    parser.add_argument("--untrained", action="store_true", default=None, help="run a system that has no weights")
    parser.add_argument(
        "--voice", action=argparse.BooleanOptionalAction, default=None,
        help="read the voice too, and fuse it into the only face in view (on)",
    )  # fmt: skip
    parser.add_argument(
        "--voice-share", type=_share, metavar="0..1",
        help="factor from 0 to 1 on the voice's weight in the face's values (1); 0: not fused",
    )  # fmt: skip
    parser.add_argument(
        "--smoothing",
        choices=("off", "normal", "strong"),
        help="how strongly valence, arousal and expressions are smoothed (normal)",
    )
    parser.add_argument(
        "--gaze", action=argparse.BooleanOptionalAction, default=None,
        help="read where each face looks, about 20 degrees off without calibration (off)",
    )  # fmt: skip
    parser.add_argument(
        "--model-option", action="append", default=[], metavar="NAME=VALUE",
        help="rate=5, sound=past10|truncate|delayed, sound_rate=2, state=carry|chunk, phase=trailing|delayed, "
        "unwrap=reference|correct, legacy_axis=false|true; may be repeated",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
