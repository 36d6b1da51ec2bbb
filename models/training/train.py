"""Train: a recipe, a data set and a folder in; checkpoints, a log and the best epoch's weights out.

An epoch depends on the recipe, its number and the checkpoint before it alone, so that a run which was killed goes on to
the very result it would have had (on one machine, with one number of threads).
"""

import csv
import io
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import models
from models import checkpoint
from models.errors import ModelError
from models.files import write_text
from models.postprocess import Chain
from models.training.objective import loss_of
from models.training.outputs import as_logits, by_task
from models.training.recipe import Recipe, made
from models.training.samples import Samples, recordings
from models.training.validation import predict, score_of

log = logging.getLogger(__name__)

KEPT = 2  # newest checkpoints beside the best
FINAL_SHARE = 1.25  # steps of a run on train and validation, by those of the run on train (Kuhnke et al. 2020, V-A)


def train(recipe: Recipe, data: Path, out: Path, device: str = "cpu", progress: bool = True) -> dict[str, Any]:
    """Run `recipe` on the prepared data set `data`, into `out`, going on where a run of the same recipe stopped there.

    Return the log's rows (`epochs`), the untrained network's score (`before`), the best `score`, after the
    post-processing that is kept, and its `epoch`. Write epoch-*.pt, best.pt, log.csv and log.png; with `folds`, into a
    folder for each, and return the means over them. Raise `ModelError` when the loss is no longer a number, or if `out`
    holds another run.
    """
    if recipe.folds:
        return _train_folds(recipe, data, out, device, progress)
    if not recipe.epochs and not recipe.initial:
        raise ModelError("A recipe of 0 epochs keeps what its parts have learnt: name their checkpoints in initial.")
    training, validation = (
        Samples(part, recipe, is_training)
        for part, is_training in zip(recordings(data, recipe), (True, False), strict=True)
    )
    torch.manual_seed(recipe.seed)
    target = torch.device(device)
    network = models.create(recipe.network, **recipe.options).to(target)
    for prefix, path in recipe.initial.items():
        checkpoint.load_part(network, prefix, Path(path))
    optimizer = _optimizer(network, recipe)
    log.info("%s: %d samples, %d to validate, seed %d", recipe.network, len(training), len(validation), recipe.seed)
    if absent := training.absent():
        log.warning("No frame to train on shows %s: these will score 0", ", ".join(absent))

    def scores() -> dict[str, float]:
        return score_of(predict(network, validation, target).scored(Chain()), recipe)

    history: list[dict[str, float]] = []
    if (newest := _newest(out)) is not None:
        content = checkpoint.read(newest)
        if made(content["recipe"], str(newest)) != recipe:
            raise ModelError(f"{out} holds a run of another recipe; give another folder, or delete that one.")
        checkpoint.load_into(network, content["state_dict"], newest)
        optimizer.load_state_dict(content["optimizer"])
        history = content["history"]
    else:
        history = [{"epoch": 0, "loss": math.nan, "steps": 0} | scores()]
        if not recipe.epochs:
            _keep(out, network, optimizer, recipe, history)

    steps = _steps_of_final(recipe) if recipe.final else None
    epochs = recipe.epochs if steps is None else math.ceil(steps / _steps_per_epoch(training, recipe))
    with tqdm(total=epochs, initial=len(history) - 1, unit="epoch", disable=not progress) as bar:
        for epoch in range(len(history), epochs + 1):
            if _exhausted(history, recipe):
                break
            before = int(history[-1].get("steps", 0))
            limit = None if steps is None else steps - before
            loss, made_steps = _epoch(network, optimizer, training, recipe, epoch, target, out, limit)
            history.append({"epoch": epoch, "loss": loss, "steps": before + made_steps} | scores())
            _keep(out, network, optimizer, recipe, history)
            bar.set_postfix(loss=f"{loss:.3f}", score=f"{history[-1]['score']:.3f}")
            bar.update()
    _plot(out / "log.png", history, recipe)
    best = history[-1] if recipe.final else max(history[1:] or history, key=lambda row: row["score"])
    score = _post_process(out / "best.pt", network, validation, target) if recipe.median else best["score"]
    return {"epochs": history, "before": history[0]["score"], "score": score, "epoch": int(best["epoch"])}


def _train_folds(recipe: Recipe, data: Path, out: Path, device: str, progress: bool) -> dict[str, Any]:
    """Train each fold into a folder of its own, and return the means over them."""
    done = [
        train(replace(recipe, folds=0, fold=(i, recipe.folds)), data, out / f"fold-{i}", device, progress)
        for i in range(recipe.folds)
    ]
    means = {name: float(np.mean([one[name] for one in done])) for name in ("before", "score")}
    return means | {"epochs": [one["epochs"] for one in done], "epoch": int(np.median([one["epoch"] for one in done]))}


def _post_process(path: Path, network: nn.Module, validation: Samples, device: torch.device) -> float:
    """Keep in the checkpoint the steps that raise the validation CCC, and return the score with them."""
    content = checkpoint.read(path)
    checkpoint.load_into(network, content["state_dict"], path)
    predicted = predict(network, validation, device)
    chain = predicted.chain()
    checkpoint.save(path, content | {"postprocess": chain.content()})
    return score_of(predicted.scored(chain), validation.recipe)["score"]


def _steps_of_final(recipe: Recipe) -> int:
    """Return the steps of a run on train and validation, from the best epoch of the run that `final` names."""
    content = checkpoint.read(Path(recipe.final))
    steps = int((content.get("history") or [{}])[-1].get("steps", 0))
    if not steps:
        raise ModelError(f"{recipe.final} does not say after how many steps its run was best; name a run's best.pt.")
    return math.ceil(FINAL_SHARE * steps)


def _steps_per_epoch(samples: Samples, recipe: Recipe) -> int:
    return math.ceil(len(samples.batches(1)) / recipe.accumulate)


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    recipe: Recipe,
    epoch: int,
    device: torch.device,
    out: Path,
    limit: int | None = None,
) -> tuple[float, int]:
    """Pass over the samples once, or for `limit` steps, and return the mean loss and the steps."""
    network.train()
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout, whatever was drawn before
    for group in optimizer.param_groups:
        group["lr"] = _rate(recipe, epoch)
    total, steps, number, batches = 0.0, 0, 0, samples.batches(epoch)
    optimizer.zero_grad()
    for number, (inputs, labels, _) in enumerate(batches, start=1):
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
            output = by_task(network(**{name: x.to(device) for name, x in inputs.items()}))
        output = {task: value.float() for task, value in output.items()}
        if recipe.network == "descriptors-ensemble":
            output = as_logits(output)
        loss = loss_of(output, {task: value.to(device) for task, value in labels.items()}, recipe)
        if not torch.isfinite(loss):
            raise _diverged(f"The loss is {loss.item()} in epoch {epoch}, batch {number}", out)
        left = len(batches) - (number - 1) // recipe.accumulate * recipe.accumulate  # the last step may have fewer
        torch.autograd.backward(loss / min(recipe.accumulate, left))
        if number % recipe.accumulate == 0 or number == len(batches):
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        total += loss.item()
        if steps == limit:
            break
    if not all(torch.isfinite(x).all() for x in network.state_dict().values()):
        raise _diverged(f"The weights are no numbers after epoch {epoch}, batch {number}", out)
    return total / number, steps


def _diverged(what: str, out: Path) -> ModelError:
    last = _newest(out)
    kept = f"the last good checkpoint is {last}" if last else "no epoch was finished"
    return ModelError(f"{what}; {kept}. Lower learning_rate and begin anew, in another folder.")


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)


def _rate(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch, from 1."""
    if recipe.cosine:
        return recipe.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs)) / 2
    falling = recipe.decay ** max(0, epoch - recipe.decay_after)
    return recipe.learning_rate * falling * 0.1 ** sum(epoch > milestone for milestone in recipe.milestones)


def _exhausted(history: list[dict[str, float]], recipe: Recipe) -> bool:
    """Return whether the score has not risen for as many epochs as the recipe has patience for."""
    scores = [row["score"] for row in history[1:]]
    return bool(recipe.patience and scores and len(scores) - 1 - int(np.argmax(scores)) >= recipe.patience)


def _newest(out: Path) -> Path | None:
    return max(out.glob("epoch-*.pt"), default=None)


def _keep(
    out: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    history: list[dict[str, float]],
) -> None:
    """Write the epoch's checkpoint, the best one if it is (the last of a final run), and the log; delete older ones."""
    epoch, state = int(history[-1]["epoch"]), network.state_dict()
    content = {"recipe": recipe.content(), "network": recipe.network, "options": recipe.options, "history": history}
    if recipe.final or history[-1]["score"] > max((row["score"] for row in history[1:-1]), default=-math.inf):
        checkpoint.save(out / "best.pt", content | {"state_dict": state})
    checkpoint.save(out / f"epoch-{epoch:04}.pt", content | {"state_dict": state, "optimizer": optimizer.state_dict()})
    for old in sorted(out.glob("epoch-*.pt"))[:-KEPT]:
        old.unlink()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[-1]))
    writer.writeheader()
    writer.writerows(history)
    write_text(out / "log.csv", text.getvalue())


def _plot(path: Path, history: list[dict[str, float]], recipe: Recipe) -> None:
    """Draw loss and score over the epochs, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2), ("loss", "score"), strict=True):
        axis.plot([row["epoch"] for row in history], [row[key] for row in history], marker=".")
        axis.set(xlabel="epoch", ylabel=key if key == "loss" else recipe.score)
    figure.savefig(path)
