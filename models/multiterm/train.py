"""Train multi-term boosting on recordings, and score it on those to validate as the service would predict them.

Reads the annotations of 2020 and `multiterm/<name>.npz` (`service.datasets.multiterm`): (slots, features) by modality
at 30 slots a second. Every finished model is kept in the run's folder, so that a run which was killed goes on
to the very result it would have had.
"""

import json
import logging
import tomllib
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models import metrics
from models.errors import ModelError
from models.files import write_text, written_whole
from models.labels import EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL
from models.multiterm.boosting import Boosted, Boosting
from models.multiterm.live_windows import slot_of
from models.multiterm.system import TARGETS, MultiTerm, Video
from models.multiterm.windows import KNOWN_TERMS, SHIFT, TERMS
from models.training import affwild2
from models.training.recordings import Recording

log = logging.getLogger(__name__)

Predict = Callable[[Video, NDArray[np.int64]], dict[str, NDArray[np.float64]]]  # of the windows that end there

FOLDER = Path(__file__).resolve().parent.parent / "recipes" / "boosting"
NETWORK = "multiterm"
FEATURES = "multiterm"  # folder of a prepared data set


def available() -> tuple[str, ...]:
    """Return the names of the boosting recipes that come with the project."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find(recipe: str) -> Boosting | None:
    """Return the boosting recipe of that name, or in that TOML file; None if it is not one.

    Raise `ModelError` naming what is wrong with it.
    """
    path = FOLDER / f"{recipe}.toml"
    path = path if path.is_file() else Path(recipe)
    if not path.is_file():
        return None
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not TOML: {error}.") from error
    if content.pop("network", None) != NETWORK:
        return None
    known: dict[str, type] = {f.name: type(getattr(Boosting(), f.name)) for f in fields(Boosting)}
    if unknown := content.keys() - known.keys():
        raise ModelError(f"{path}: unknown keys {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
    terms = content.get("terms", list(TERMS))
    if not (isinstance(terms, list) and set(TERMS) <= set(terms) <= set(KNOWN_TERMS)):
        raise ModelError(f"{path}: terms are {list(TERMS)} or {list(KNOWN_TERMS)} seconds, not {terms!r}.")
    content["terms"] = tuple(sorted(terms))
    for key, value in content.items():
        if type(value) is not known[key] or (isinstance(value, int) and key != "balance" and value < 1):
            raise ModelError(f"{path}: {key} cannot be {value!r}.")
    if not 0 < content.get("keep", 1.0) <= 1:
        raise ModelError(f"{path}: keep is a share above 0 and at most 1, not {content['keep']!r}.")
    for key, values in content.get("grid", {}).items():
        if not isinstance(values, list) or not values:
            raise ModelError(f"{path}: grid.{key} is a list of values to try, not {values!r}.")
    return Boosting(**content)


def train(how: Boosting, data: Path, out: Path, progress: bool = True) -> dict[str, Any]:
    """Train on the data set `data` into `out`/multiterm.json, and return its scores.

    Returns `score` (mean CCC of valence and arousal, and 0.67 F1 + 0.33 accuracy of the expressions, together) on the
    validation recordings with its parts, `before` (the same of the training set's mean and most frequent expression),
    and `epoch`, the median of the models' rounds. Raises `ModelError`.
    """
    if find_spec("lightgbm") is None:
        raise ModelError(f"Training {NETWORK} needs LightGBM; install it: pip install 'affectstream[multiterm]'.")
    (videos, extractor), (held, other) = (_videos(data, split) for split in ("train", "validation"))
    if extractor != other:
        raise ModelError(f"{data}: deep features come from {extractor} and from {other}; prepare them anew.")
    kept = out / "boosters"
    kept.mkdir(parents=True, exist_ok=True)
    _same_run(out, how, extractor, [*videos, *held])
    system, rounds = MultiTerm(extractor=extractor), list[int]()
    bar = tqdm(total=_models(videos, len(how.terms)), unit="model", disable=not progress)

    def done(name: str, make: Callable[[], Boosted]) -> Boosted:
        boosted = _kept(kept / name.replace("/", "-"), make)
        rounds.append(boosted.rounds)
        bar.update()
        return boosted

    log.info("%s: %d recordings, %d to validate, seed %d", NETWORK, len(videos), len(held), how.seed)
    with bar:
        system.fit(videos, how, done)
    system.save(out / "multiterm.json")
    found = score(held, lambda video, ends: system.predict(system.windows(video.frames, ends)))
    levels = level_scores(held, system)
    write_text(out / "scores.json", json.dumps(found | {"levels": levels}, indent=1))
    for name, parts in levels.items():
        log.info("%s: VA %.3f, expressions %.3f", name, parts["va"], parts["expression_2020"])
    return found | {"before": score(held, _constant(videos))["score"], "epoch": int(np.median(rounds))}


def level_scores(videos: list[Video], system: MultiTerm) -> dict[str, dict[str, float]]:
    """Return the scores of each level, as in the paper's Table I: single terms, multi-term, multi-task."""
    known: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}

    def of_level(level: str) -> Predict:
        def predict(video: Video, ends: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
            if video.name not in known:
                known[video.name] = system.predict_levels(system.windows(video.frames, ends))
            return known[video.name][level]

        return predict

    names = [*(f"{term} s" for term in system.terms), "multi-term", "multi-task"]
    return {name: score(videos, of_level(name)) for name in names}


def score(videos: list[Video], predict: Predict) -> dict[str, float]:
    """Return the scores on every annotated slot, which has the newest prediction made by then.

    Slots before the first prediction have none and do not count.
    """
    labels, predictions = [], []
    for video in videos:
        ends = np.arange(SHIFT - 1, len(video.va), SHIFT)
        if not len(ends):
            continue
        predicted = predict(video, ends)
        newest = np.searchsorted(ends, np.arange(ends[0], len(video.va)), side="right") - 1
        labels.append((video.va[ends[0] :], video.expression[ends[0] :]))
        predictions.append((predicted["va"][newest], predicted["expression"][newest].argmax(1)))
    va, expression = (np.concatenate([pair[i] for pair in labels]) for i in (0, 1))
    va_predicted, expression_predicted = (np.concatenate([pair[i] for pair in predictions]) for i in (0, 1))
    seven = np.where(expression < len(EXPRESSIONS), expression, CLASS_SENTINEL)
    parts = metrics.va_scores(va, va_predicted)
    scores = metrics.expression_scores(seven, expression_predicted, len(EXPRESSIONS))
    parts |= {"expression_f1": scores.mean_f1, "expression_accuracy": scores.accuracy}
    parts["expression_2020"] = metrics.expression_2020(scores)
    return {"score": parts["va"] + parts["expression_2020"]} | parts


def _constant(videos: list[Video]) -> Predict:
    """Return a predictor without features: the mean valence and arousal, and the most frequent expression."""
    va, expression = (np.concatenate([getattr(v, name) for v in videos]) for name in ("va", "expression"))
    mean = va[(va != VA_SENTINEL).all(1)].mean(0)
    often = np.bincount(expression[(expression >= 0) & (expression < len(EXPRESSIONS))]).argmax()
    one_hot = np.eye(len(EXPRESSIONS))[often]
    return lambda _, ends: {"va": np.tile(mean, (len(ends), 1)), "expression": np.tile(one_hot, (len(ends), 1))}


def _videos(data: Path, split: str) -> tuple[list[Video], str]:
    """Return the recordings of a split with features, and the weights that the deep ones come from."""
    videos, extractors = [], set()
    annotations = affwild2.read_annotations(data, split)
    for name, annotation in annotations.items():
        path = data / FEATURES / f"{name}.npz"
        if not path.is_file():
            log.warning("%s has no %s features and is left out", name, NETWORK)
            continue
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        extractors.add(str(arrays.pop("extractor")))
        length = len(next(iter(arrays.values())))
        va, expression = np.full((length, 2), VA_SENTINEL, np.float32), np.full(length, CLASS_SENTINEL)
        slots = np.array([slot_of(t) for t in Recording(data, annotation).times[: len(annotation)]])
        first = np.unique(slots, return_index=True)[1]  # the frame that the slot shows
        first = first[slots[first] < length]
        va[slots[first]], expression[slots[first]] = annotation.va[first], annotation.expression[first]
        videos.append(Video(name, {key: x.astype(np.float64) for key, x in arrays.items()}, va, expression))
    if not videos:
        raise ModelError(f"{data} has no {NETWORK} features to {split} with; run `affectstream prepare {NETWORK}`.")
    if len(extractors) > 1:
        raise ModelError(f"{data}: deep features come from {' and '.join(sorted(extractors))}; prepare them anew.")
    return videos, extractors.pop()


def _models(videos: list[Video], terms: int) -> int:
    """Return the number of models of the hierarchy."""
    modalities = sum(any(np.isfinite(v.frames[name]).any() for v in videos) for name in videos[0].frames)
    return len(TARGETS) * ((modalities + 1) * terms + 2)


def _same_run(out: Path, how: Boosting, extractor: str, videos: list[Video]) -> None:
    """Raise `ModelError` if the folder holds a run of another recipe or other data."""
    run = asdict(how) | {"extractor": extractor, "recordings": {v.name: len(v.va) for v in videos}}
    record = out / "run.json"
    if record.is_file() and json.loads(record.read_text()) != json.loads(json.dumps(run)):
        raise ModelError(f"{out} holds a run of another recipe or other data; give another folder, or delete that one.")
    write_text(record, json.dumps(run, indent=1))


def _kept(path: Path, make: Callable[[], Boosted]) -> Boosted:
    """Return a model that was trained before, or a new one, which is written whole or not at all."""
    file = path.with_suffix(".npz")
    if file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            return Boosted(str(kept["text"]), kept["unseen"], int(kept["rounds"]))
    boosted = make()
    with written_whole(file) as aside:
        np.savez_compressed(aside, text=np.array(boosted.text), unseen=boosted.unseen, rounds=np.array(boosted.rounds))
    return boosted
