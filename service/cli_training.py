"""The commands for training: prepare, train and evaluate. They need the extra `train`, which serving does not."""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engines.errors import UserError

DEFAULT = "face-mt"  # has a recipe and an evaluation of its own; the papers' systems share theirs
VOICE = "voice-mt"  # its sound branch, likewise

Print = Callable[[list[dict[str, Any]], bool], None]


def add_commands(commands: Any, table: Print) -> None:
    """Add the commands to the command line; `table` prints rows, as JSON if its second argument is true."""
    _add_prepare(commands)
    _add_train(commands, table)
    _add_evaluate(commands, table)


def _add_prepare(commands: Any) -> None:
    """Add the command that makes training data of a data set."""
    prepare = commands.add_parser("prepare", help="aligned crops and mel columns of a data set, by the live perception")
    prepare.set_defaults(run=_prepare)
    prepare.add_argument(
        "dataset", help="ferplus, faces, webva, ravdess, video, affwild2, multiterm, another of the papers' sets"
    )
    prepare.add_argument("dir", type=Path, help="the data set's folder or file")
    prepare.add_argument("--out", required=True, type=Path, metavar="DIR", help="goes on where it stopped")
    prepare.add_argument(
        "--context", action="store_true", help="affwild2: also faces with their surroundings, for descriptors-ensemble"
    )
    prepare.add_argument(
        "--given", action="store_true", help="affwild2: also its own aligned pictures, for tsav-given-alignment"
    )
    prepare.add_argument(
        "--features", type=Path, metavar="CHECKPOINT", help="affwild2: also what ferplus-resnet50 sees, for mimamo"
    )


def _add_train(commands: Any, table: Print) -> None:
    """Add the command that trains a recipe; `table` prints the list of recipes."""
    train = commands.add_parser("train", help="train a recipe; goes on where it stopped")
    train.set_defaults(run=lambda args: _train(args, table))
    train.add_argument("recipe", help=f"{DEFAULT}, {VOICE}, a recipe's name, or a TOML file; `train list` lists them")
    train.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"prepared data ({DEFAULT}: with ferplus, faces and webva in it; {VOICE}: with ravdess and nemo)",
    )  # fmt: skip
    train.add_argument("--out", type=Path, metavar="DIR", help="checkpoints, log and plot")
    train.add_argument(
        "--start", type=Path, metavar="FILE", help=f"{DEFAULT}: face-mt.onnx of face-mt-2, to start from"
    )
    train.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    train.add_argument("--json", action="store_true")


def _add_evaluate(commands: Any, table: Print) -> None:
    """Add the command that scores predictions; `table` prints the scores."""
    evaluate = commands.add_parser("evaluate", help="score predictions against annotations, or the default weights")
    evaluate.set_defaults(run=lambda args: _evaluate(args, table))
    evaluate.add_argument(
        "predictions",
        help=f"{DEFAULT}, {VOICE}, a folder or file of predictions, a folder of analyze's .csv, a checkpoint .pt, "
        "or a run's folder of folds, which are averaged",
    )
    evaluate.add_argument("annotations", type=Path, help=f"annotations ({DEFAULT} and checkpoints: the prepared data)")
    evaluate.add_argument("--split", choices=("train", "validation", "test"), default="validation")
    evaluate.add_argument("--plots", type=Path, metavar="DIR", help="write confusions and reliability as PNG")
    evaluate.add_argument(
        "--out", type=Path, metavar="PATH", help=f"{DEFAULT}: the page to write; checkpoints: the submission's folder"
    )
    evaluate.add_argument(
        "--missing",
        choices=("count", "leave-out"),
        default="count",
        help="annotated frames without a prediction (-5, -1) count as predicted so, or are left out",
    )
    evaluate.add_argument(
        "--groups", metavar="COLUMN",
        help="scores by group, with intervals: the predictions are analyze's .csv, the annotations a .csv of your own "
        "with file, this column, and valence, arousal, expression or AU.. (docs/responsible-use.md)",
    )  # fmt: skip
    evaluate.add_argument("--run", type=Path, metavar="DIR", dest="training", help=f"{VOICE}: what training wrote")
    evaluate.add_argument("--json", action="store_true")


def _prepare(args: argparse.Namespace) -> int:
    """Prepare a data set."""
    from service.datasets.prepare import prepare

    if args.features is None:
        prepare(args.dataset, args.dir, args.out, context=args.context, given=args.given)
        return 0
    _need_torch()
    import models
    from models import checkpoint
    from models.training import predict

    # Loaded first, so that a wrong checkpoint is refused before hours of work.
    network = checkpoint.load(models.create("ferplus-resnet50"), args.features)
    prepare(args.dataset, args.dir, args.out, context=args.context, given=args.given)
    predict.write_features(args.out, network, progress=True)
    return 0


def _train(args: argparse.Namespace, table: Print) -> int:
    """Train a recipe, or list the recipes."""
    _need_torch()
    from models.face_mt import train as face_mt
    from models.multiterm import train as multiterm_train
    from models.training import recipe, train
    from models.voice_mt import export as voice_export

    if args.recipe == "list":
        names = (DEFAULT, VOICE, *sorted((*recipe.available(), *multiterm_train.available())))
        table([{"recipe": name} for name in names], args.json)
        return 0
    if args.data is None or args.out is None:
        raise UserError(f"train {args.recipe}: name the prepared data with --data and a folder for the run with --out")
    _check_device(args.device)
    if args.recipe == DEFAULT:
        if args.device != "cpu":
            raise UserError(f"train {DEFAULT} runs on the CPU; leave --device away")
        table([face_mt.main(args.data, args.out, start=args.start)], args.json)
        return 0
    if args.recipe == VOICE:
        table(voice_export.main(args.data, args.out), args.json)
        return 0
    boosting = multiterm_train.find(args.recipe)
    if boosting is not None:
        done = multiterm_train.train(boosting, args.data, args.out)
    else:
        done = train.train(recipe.read(args.recipe), args.data, args.out, args.device)
    table([{"recipe": args.recipe, **{name: done[name] for name in ("before", "score", "epoch")}}], args.json)
    return 0


def _check_device(device: str) -> None:
    """Raise `UserError` for "cuda" if PyTorch finds no such device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch finds no CUDA device here; leave --device away to train on the CPU")


def _evaluate(args: argparse.Namespace, table: Print) -> int:
    """Score predictions, a checkpoint, or the default weights."""
    if args.groups is not None:
        from models.training.groups import evaluate_groups

        table([dict(row) for row in evaluate_groups(Path(args.predictions), args.annotations, args.groups)], args.json)
        return 0
    _need_torch()
    from models.face_mt import evaluate as face_mt
    from models.training import affwild2, evaluate

    if args.predictions == DEFAULT:
        from engines import weights

        page = args.out or Path("docs/benchmarks") / f"{weights.entry(DEFAULT).version}.md"
        small = weights.path(f"{DEFAULT}-int8")
        for rows in face_mt.evaluate(weights.path(DEFAULT), args.annotations, page, small).values():
            table(rows, args.json)
        return 0
    if args.predictions == VOICE:
        return _evaluate_voice(args, table)
    predictions, annotations = Path(args.predictions), args.annotations
    if predictions.suffix == ".pt" or any(predictions.glob("*/best.pt")):
        predictions, annotations = _submit(args, table)
        if args.split == "test" and not affwild2.has_annotations(annotations, "test"):  # the challenges keep theirs
            return 0
    found = evaluate.evaluate(predictions, annotations, args.split, missing=args.missing)
    table(found.rows(), args.json)
    if not args.json:
        table(found.classes, False)
    if args.plots is not None:
        from models.training import plots

        plots.write(found, args.plots)
    return 0


def _evaluate_voice(args: argparse.Namespace, table: Print) -> int:
    """Score the sound branch and write its page."""
    from engines import weights
    from models.voice_mt import evaluate as voice_evaluate

    if args.training is None:
        raise UserError(f"evaluate {VOICE}: name the folder that training wrote with --run; its networks are judged")
    page = args.out or Path("docs/benchmarks") / f"{weights.entry(VOICE).version}.md"
    found = voice_evaluate.evaluate(weights.path(VOICE), args.annotations, args.training, page)
    for rows in found.values():
        table(rows, args.json)
    return 0


def _submit(args: argparse.Namespace, table: Print) -> tuple[Path, Path]:
    """Write and check a checkpoint's submission; return its path and that of the annotations to score it against."""
    from models.training import affwild2, evaluate, predict

    if args.out is None:
        raise UserError(f"evaluate {args.predictions}: name a folder for its predictions with --out")
    frames = predict.write_submission(Path(args.predictions), args.annotations, args.out, progress=True)
    file = args.out / predict.MULTI_TASK_FILE
    of_2022 = file.is_file()
    checked = evaluate.validate(file if of_2022 else args.out, frames)
    if args.split == "test":
        table([dict(row) for row in checked], args.json)
    root = affwild2.annotation_root(args.annotations)
    return (file, root / affwild2.MULTI_TASK[args.split]) if of_2022 and args.split != "test" else (args.out, root)


def _need_torch() -> None:
    """Raise `UserError` without PyTorch."""
    if find_spec("torch") is None:
        raise UserError(
            "training and evaluation need PyTorch; install it: pip install torch==2.13.0 'affectstream[train]'"
        )
