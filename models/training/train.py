"""Training: a recipe, a data set and a folder in; checkpoints, a log and the best epoch's weights out.

An epoch depends on the recipe, its number and the checkpoint before it alone, so that a run which was killed goes on to
the very result it would have had (on one machine, with one number of threads).
"""

import csv
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import models
from models import checkpoint, metrics
from models.errors import ModelError
from models.labels import AUS_2020, AUS_UNION
from models.networks.tsav import AU, EXPRESSION, VA
from models.training import coupling, losses
from models.training.recipe import Recipe, made
from models.training.samples import Samples, recordings

log = logging.getLogger(__name__)

KEPT = 2  # newest checkpoints beside the best


def by_task(output: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Raw outputs by task, also of the two networks that give a single tensor."""
    if not isinstance(output, Tensor):
        return {task: value for task, value in output.items() if task != "state"}
    if output.shape[-1] == 2:
        return {"va": output}
    return {"va": output[..., VA], "expression": output[..., EXPRESSION], "au": output[..., AU]}


def loss_of(output: Mapping[str, Tensor], labels: Mapping[str, Tensor], recipe: Recipe) -> Tensor:
    """Weighted sum of the recipe's losses; each is the mean over its annotated frames."""
    device = next(iter(output.values())).device
    total = torch.zeros((), device=device)

    def weights(values: tuple[float, ...]) -> Tensor | None:
        return torch.tensor(values, device=device) if values else None

    for task, weight in recipe.tasks.items():
        if task == "va":
            label = labels["va"]
            total = total + weight * losses.ccc_loss(output["va"], label)
            if "pseudo_valence" in labels:  # beside arousal as predicted, so that only valence has a gradient
                pseudo = labels["pseudo_valence"]
                pair = torch.stack((pseudo, torch.where(pseudo == metrics.VA_SENTINEL, pseudo, 0)), dim=-1)
                valence = torch.stack((output["va"][..., 0], torch.zeros_like(pseudo)), dim=-1)
                agreement = losses.ccc(valence, pair)[0]
                total = total + weight * 0.5 * (1 - agreement) * (pseudo != metrics.VA_SENTINEL).any()
        elif task == "expression":
            total = total + weight * losses.cross_entropy(
                output["expression"], labels["expression"], weights(recipe.class_weight)
            )
        else:
            total = total + weight * losses.binary_cross_entropy(output["au"], labels["au"], weights(recipe.pos_weight))
    if recipe.coupling:
        total = total + coupling.loss(output, labels, recipe.coupling)
    return total


@torch.no_grad()
def predict(network: nn.Module, samples: Samples, device: torch.device) -> dict[str, dict[str, np.ndarray]]:
    """Every annotated frame once: task -> `label` and decided `pred`; and `video` -> `name` of each frame."""
    network.eval()
    rows: dict[tuple[int, int], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    probabilities = samples.recipe.network == "descriptors-ensemble"
    for inputs, labels, where in samples.batches(0):
        output = by_task(network(**{name: x.to(device) for name, x in inputs.items()}))
        decided = {task: decide(task, value.float().cpu(), probabilities) for task, value in output.items()}
        frames = where["frames"].numpy()
        for b, recording in enumerate(where["recording"].tolist()):
            for t, frame in enumerate(frames[b].tolist()):
                if frame >= 0:
                    at = (b, t) if samples.recipe.sequences else (b,)
                    rows[recording, frame] = {
                        task: (labels[task][at].numpy(), decided[task][at].numpy()) for task in samples.recipe.tasks
                    }
    result = {
        task: {kind: np.stack([row[task][i] for row in rows.values()]) for i, kind in enumerate(("label", "pred"))}
        for task in samples.recipe.tasks
    }
    names = np.array([samples.recordings[recording].name for recording, _ in rows])
    return result | {"video": {"name": names}}


def decide(task: str, value: Tensor, probabilities: bool) -> Tensor:
    """Valence and arousal clipped, the most probable class, action units more probable than not."""
    if task == "va":
        return value.clamp(-1, 1)
    if task == "expression":
        return value.argmax(-1)
    return (value > (0.5 if probabilities else 0)).long()


def score_of(predicted: Mapping[str, Mapping[str, np.ndarray]], recipe: Recipe) -> dict[str, float]:
    """The recipe's score as `score`, and its parts."""
    parts: dict[str, float] = {}
    if "va" in predicted:
        parts |= metrics.va_scores(predicted["va"]["label"], predicted["va"]["pred"])
    if "expression" in predicted:
        scores = metrics.expression_scores(
            predicted["expression"]["label"], predicted["expression"]["pred"], recipe.expressions
        )
        parts |= {"expression_f1": scores.mean_f1, "expression_accuracy": scores.accuracy}
        parts["expression_2020"] = metrics.expression_2020(scores)
    if "au" in predicted:
        label, pred = predicted["au"]["label"], predicted["au"]["pred"]
        if recipe.network == "facebehaviornet":  # scored on the units of the challenge
            columns = [AUS_UNION.index(unit) for unit in AUS_2020]
            label, pred = label[:, columns], pred[:, columns]
        scores = metrics.au_scores(label, pred)
        parts |= {"au_f1": scores.mean_f1, "au_accuracy": scores.accuracy, "au_2020": metrics.au_2020(scores)}
    total = {
        "total_2020": ("va", "expression_2020", "au_2020"),
        "multi_task_2022": ("va", "expression_f1", "au_f1"),
    }.get(recipe.score, (recipe.score,))
    return {"score": sum(parts.get(name, 0.0) for name in total)} | parts


def train(recipe: Recipe, data: Path, out: Path, device: str = "cpu", progress: bool = True) -> dict[str, Any]:
    """Runs `recipe` on the prepared data set `data`, into `out`; goes on where a run of the same recipe stopped there.

    Returns the log's rows (`epochs`), the untrained network's score (`before`), the best `score` and its `epoch`.
    Writes epoch-*.pt, best.pt, log.csv and log.png. Raises `ModelError` when the loss is no longer a number.
    """
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

    history: list[dict[str, float]] = []
    if (newest := _newest(out)) is not None:
        content = checkpoint.read(newest)
        if made(content["recipe"], str(newest)) != recipe:
            raise ModelError(f"{out} holds a run of another recipe; give another folder, or delete that one.")
        checkpoint.load_into(network, content["state_dict"], newest)
        optimizer.load_state_dict(content["optimizer"])
        history = content["history"]
    else:
        before = score_of(predict(network, validation, target), recipe)
        history = [{"epoch": 0, "loss": math.nan} | before]
        if not recipe.epochs:
            _keep(out, network, optimizer, recipe, history)

    with tqdm(total=recipe.epochs, initial=len(history) - 1, unit="epoch", disable=not progress) as bar:
        for epoch in range(len(history), recipe.epochs + 1):
            if _exhausted(history, recipe):
                break
            loss = _epoch(network, optimizer, training, recipe, epoch, target, out)
            scores = score_of(predict(network, validation, target), recipe)
            history.append({"epoch": epoch, "loss": loss} | scores)
            _keep(out, network, optimizer, recipe, history)
            bar.set_postfix(loss=f"{loss:.3f}", score=f"{scores['score']:.3f}")
            bar.update()
    _plot(out / "log.png", history, recipe)
    best = max(history[1:] or history, key=lambda row: row["score"])
    return {"epochs": history, "before": history[0]["score"], "score": best["score"], "epoch": int(best["epoch"])}


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    recipe: Recipe,
    epoch: int,
    device: torch.device,
    out: Path,
) -> float:
    """One pass over the samples; the mean loss."""
    network.train()
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout, whatever was drawn before
    for group in optimizer.param_groups:
        group["lr"] = _rate(recipe, epoch)
    total, batches = 0.0, samples.batches(epoch)
    optimizer.zero_grad()
    for number, (inputs, labels, _) in enumerate(batches, start=1):
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
            output = by_task(network(**{name: x.to(device) for name, x in inputs.items()}))
        output = {task: value.float() for task, value in output.items()}
        if recipe.network == "descriptors-ensemble":
            output = _as_logits(output)
        loss = loss_of(output, {task: value.to(device) for task, value in labels.items()}, recipe)
        if not torch.isfinite(loss):
            raise _diverged(f"The loss is {loss.item()} in epoch {epoch}, batch {number}", out)
        left = len(batches) - (number - 1) // recipe.accumulate * recipe.accumulate  # the last step may have fewer
        torch.autograd.backward(loss / min(recipe.accumulate, left))
        if number % recipe.accumulate == 0 or number == len(batches):
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
    if not all(torch.isfinite(x).all() for x in network.state_dict().values()):
        raise _diverged(f"The weights are no numbers after epoch {epoch}, batch {number}", out)
    return total / len(batches)


def _diverged(what: str, out: Path) -> ModelError:
    last = _newest(out)
    kept = f"the last good checkpoint is {last}" if last else "no epoch was finished"
    return ModelError(f"{what}; {kept}. Lower learning_rate and begin anew, in another folder.")


def _as_logits(output: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ensemble gives probabilities; these are the logits that have them."""
    small = 1e-6
    logits = {"expression": output["expression"].clamp(min=small).log(), "au": output["au"].logit(small)}
    return {"va": output["va"]} | logits


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)


def _rate(recipe: Recipe, epoch: int) -> float:
    if recipe.cosine:
        return recipe.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs)) / 2
    return recipe.learning_rate * 0.1 ** sum(epoch > milestone for milestone in recipe.milestones)


def _exhausted(history: list[dict[str, float]], recipe: Recipe) -> bool:
    """Whether the score has not risen for as many epochs as the recipe has patience for."""
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
    """Writes the epoch's checkpoint, the best one if it is, and the log; older checkpoints go."""
    epoch, state = int(history[-1]["epoch"]), network.state_dict()
    content = {"recipe": recipe.content(), "network": recipe.network, "options": recipe.options, "history": history}
    if history[-1]["score"] > max((row["score"] for row in history[1:-1]), default=-math.inf):
        checkpoint.save(out / "best.pt", content | {"state_dict": state})
    checkpoint.save(out / f"epoch-{epoch:04}.pt", content | {"state_dict": state, "optimizer": optimizer.state_dict()})
    for old in sorted(out.glob("epoch-*.pt"))[:-KEPT]:
        old.unlink()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[-1]))
    writer.writeheader()
    writer.writerows(history)
    part = out / ".log.csv.part"
    part.write_text(text.getvalue())
    part.replace(out / "log.csv")


def _plot(path: Path, history: list[dict[str, float]], recipe: Recipe) -> None:
    """Loss and score over the epochs, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2), ("loss", "score"), strict=True):
        axis.plot([row["epoch"] for row in history], [row[key] for row in history], marker=".")
        axis.set(xlabel="epoch", ylabel=key if key == "loss" else recipe.score)
    figure.savefig(path)
