"""`affectstream evaluate voice-mt`: the evidence for the sound branch, as a page.

Every clip of RAVDESS is judged by the fold that never heard its actor, calibrated on the other folds. What is served is
measured on the file itself, in OpenVINO, on the actors that it never heard: curves over faults, made on the recordings;
sounds that are no voice; speed. Confidence intervals are 95 % bootstraps over actors, who are what generalises or not.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.face_mt import confusions
from models.face_mt.scores import calibration_error, concordance, macro_f1, softmax
from models.labels import EXPRESSIONS
from models.metrics import confusion
from models.voice_mt import sounds as voice_sounds
from models.voice_mt import spoil as voice_spoil
from models.voice_mt.data import FOLDS, SPOKEN, Clips, Floats, clips, window
from models.voice_mt.export import calibrate, spread, together
from models.voice_mt.network import CLASSES, COLUMNS
from models.voice_mt.scores import SEVEN, Heard, served, seven

_RESAMPLES = 1000
_BATCH = 64
MIDST_FIRST, MIDST_EVERY = 80, 30  # columns of speech before the first reading, and between two, as served
ROBUSTNESS_STRIDE = 3  # every third clip: the curves need no more
UNSEEN_SEED = 7  # of sounds that are no voice; training took another
UNSEEN_COUNT = 20  # of each kind

Rows = list[dict[str, Any]]


class File:
    """The ONNX file in OpenVINO on one core, with what its metadata says."""

    def __init__(self, path: Path) -> None:
        core = ov.Core()
        model = core.read_model(path)
        info: dict[str, Any] = model.get_rt_info(["framework"]).value
        self.version = str(info["version"])
        self.held_out: list[int] = json.loads(str(info["held_out_actors"]))
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        self._compiled = core.compile_model(model, "CPU", config)

    def __call__(self, mel: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """(n, 64, 301) -> probabilities (n, 8) of the seven and no_speech, valence and arousal (n, 2)."""
        parts = [self._compiled(mel[i : i + _BATCH]) for i in range(0, len(mel), _BATCH)]
        expression, affect = (np.concatenate([np.array(p[k]) for p in parts]).astype(np.float64) for k in (0, 1))
        return expression, affect


def interval(measure: Callable[[NDArray[np.int64]], float], actor: NDArray[np.int64]) -> tuple[float, float]:
    """95 % bootstrap over actors of `measure`, which takes row numbers."""
    rng = np.random.default_rng(1)
    of_actor = [np.flatnonzero(actor == a) for a in np.unique(actor)]
    draws = rng.integers(0, len(of_actor), (_RESAMPLES, len(of_actor)))
    low, high = np.quantile([measure(np.concatenate([of_actor[k] for k in draw])) for draw in draws], [0.025, 0.975])
    return float(low), float(high)


def _calibrated(folds: list[Heard], data: Clips) -> tuple[Heard, Floats, Floats]:
    """All clips, their probabilities (n, 9) and deviations (n, 2), each fold with what the others calibrate it to."""
    p, std = [], []
    for k, heard in enumerate(folds):
        fit = calibrate(together([other for j, other in enumerate(folds) if j != k]), data)
        p.append(softmax(heard.logits / fit.temperature))
        std.append(spread(p[-1]) * np.array(fit.std_scale))
    return together(folds), np.concatenate(p), np.concatenate(std)


def unseen_rows(heard: Heard, p: Floats, std: Floats, data: Clips) -> Rows:
    """Every clip by the fold that did not hear its actor."""
    truth, actor, place = data.label[heard.rows], data.actor[heard.rows], data.affect()[heard.rows]
    strong, basic = data.strong[heard.rows], seven(data.label[heard.rows])
    eight, given = p[:, :SPOKEN].argmax(1), served(p)[:, :SEVEN]
    given = given / given.sum(1, keepdims=True)
    right, guess = eight == truth, given.argmax(1)
    inside = np.abs(heard.affect - place) <= std
    every = np.ones(len(truth), bool)
    measures: list[tuple[str, NDArray[np.bool_], Callable[[NDArray[np.int64]], float]]] = [
        ("accuracy, 8 classes", every, lambda i: float(right[i].mean())),
        ("accuracy, 8 classes, strong intensity", strong, lambda i: float(right[i].mean())),
        ("macro F1, 8 classes", every, lambda i: macro_f1(truth[i], eight[i], SPOKEN)),
        ("accuracy, 7 classes (calm as neutral)", every, lambda i: float((guess[i] == basic[i]).mean())),
        ("macro F1, 7 classes", every, lambda i: macro_f1(basic[i], guess[i], SEVEN)),
        ("calibration error, 7 classes", every, lambda i: calibration_error(given[i], basic[i])),
        ("CCC of valence with the class's place", every, lambda i: concordance(heard.affect[i, 0], place[i, 0])),
        ("CCC of arousal with the class's place", every, lambda i: concordance(heard.affect[i, 1], place[i, 1])),
        ("valence within one std", every, lambda i: float(inside[i, 0].mean())),
        ("arousal within one std", every, lambda i: float(inside[i, 1].mean())),
        ("taken for no speech", every, lambda i: float((p[i, SPOKEN] > 0.5).mean())),
    ]
    table = []
    for name, chosen, measure in measures:
        rows = np.flatnonzero(chosen)

        def of(i: NDArray[np.int64], rows: NDArray[np.int64] = rows, measure: Callable[..., float] = measure) -> float:
            return measure(rows[i])

        low, high = interval(of, actor[rows])
        table.append({"measure": name, "clips": len(rows), "value": measure(rows), "low": low, "high": high})
    return table


def _midst(data: Clips, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Clip and column of the readings that a live session would take before the sentence has ended."""
    for row in rows:
        first, last = (int(v) for v in data.spoken[row])
        yield from ((int(row), end) for end in range(first + MIDST_FIRST, last, MIDST_EVERY))


def _file_row(name: str, file: File, data: Clips, readings: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Accuracy over the seven of windows that end at (clip, column)."""
    rows = np.array([row for row, _ in readings])
    p, _ = file(np.stack([window(data.mel[row], end) for row, end in readings]))
    hit = p[:, :SEVEN].argmax(1) == seven(data.label[rows])
    low, high = interval(lambda i: float(hit[i].mean()), data.actor[rows])
    return {"measure": name, "windows": len(rows), "value": float(hit.mean()), "low": low, "high": high}


def fold_rows(folds: list[Heard], data: Clips) -> Rows:
    """Accuracy of each fold and the worst and the best actor in it."""
    table = []
    for k, heard in enumerate(folds):
        right = heard.logits[:, :SPOKEN].argmax(1) == data.label[heard.rows]
        actor = data.actor[heard.rows]
        each = {int(a): float(right[actor == a].mean()) for a in np.unique(actor)}
        table.append(
            {"fold": k, "accuracy": float(right.mean()), "actors": " ".join(f"{a}: {v:.2f}" for a, v in each.items())}
        )
    return table


def robustness_rows(file: File, data: Clips, rows: NDArray[np.int64], sounds: Path) -> Rows:
    """Accuracy over the seven for each fault and degree, made on the recordings themselves."""
    rows = rows[::ROBUSTNESS_STRIDE]
    truth = seven(data.label[rows])
    clean = [_sentence_samples(sounds / f"{data.name[row]}.flac", int(data.spoken[row, 1])) for row in rows]
    table = []
    for fault, (function, degrees, meaning) in voice_spoil.FAULTS.items():
        for degree in degrees:
            mel = voice_sounds.mel(np.stack([function(samples, degree) for samples in clean]))
            p, _ = file(mel)
            table.append(
                {
                    "fault": fault,
                    "degree": f"{degree:g} {meaning}",
                    "accuracy": float((p[:, :SEVEN].argmax(1) == truth).mean()),
                    "taken for no speech": float((p[:, SEVEN] > 0.5).mean()),
                }
            )
    return table


def _sentence_samples(path: Path, last: int) -> NDArray[np.float32]:
    """(132300,) at 44.1 kHz, up to mel column `last`; silence before the recording."""
    resampler = av.AudioResampler("flt", "mono", voice_sounds.RATE)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    samples = np.concatenate([f.to_ndarray()[0] for f in [*frames, *resampler.resample(None)]])
    samples = samples[: last * voice_sounds.HOP][-voice_sounds.SAMPLES :]
    out = np.zeros(voice_sounds.SAMPLES, np.float32)
    out[len(out) - len(samples) :] = samples
    return out


def nothing_said_rows(file: File) -> Rows:
    """Sounds without a voice that were not trained on: how many the network rejects by itself."""
    table = []
    for kind in voice_sounds.KINDS:
        p, _ = file(voice_sounds.mel(voice_sounds.make(kind, UNSEEN_COUNT, UNSEEN_SEED)))
        table.append({"sound": kind, "clips": UNSEEN_COUNT, "taken for no speech": float((p[:, SEVEN] > 0.5).mean())})
    return table


def speed_rows(file: File) -> Rows:
    """Milliseconds for one reading on one core, median and best of 300."""
    mel = np.random.default_rng(0).normal(-60, 15, (1, 64, COLUMNS)).astype(np.float32)
    times = []
    for _ in range(330):
        start = time.perf_counter()
        file(mel)
        times.append(time.perf_counter() - start)
    return [{"precision": "f32", "median_ms": float(np.median(times[30:]) * 1e3), "best_ms": min(times) * 1e3}]


def plot_confusions(heard: Heard, p: Floats, data: Clips, path: Path) -> None:
    """RAVDESS' eight classes, and the seven that are served."""
    truth = data.label[heard.rows]
    eight = confusion(truth, p[:, :SPOKEN].argmax(1), SPOKEN)
    basic = confusion(seven(truth), served(p)[:, :SEVEN].argmax(1), SEVEN)
    panels = (("RAVDESS' eight", CLASSES[:SPOKEN], eight), ("the seven, as served", EXPRESSIONS, basic))
    confusions.plot(panels, "acted", path)


def evaluate(weights: Path, data: Path, run: Path, out: Path, sounds: Path | None = None) -> dict[str, Rows]:
    """Measures the file `weights` and the folds of the folder `run`, on `data`/ravdess as prepared.

    `sounds`: the recordings, for the curves over faults, which are left out without. Writes `out` (Markdown) and
    a picture beside it; returns the tables.
    """
    file, of = File(weights), clips(data / "ravdess")
    folds = [Heard.load(run / f"fold{k}.npz") for k in range(FOLDS)]
    heard, p, std = _calibrated(folds, of)
    rows = np.flatnonzero(np.isin(of.actor, file.held_out))
    ends = [(int(row), int(of.spoken[row, 1])) for row in rows]
    tables = {
        "RAVDESS, all 24 actors, each by the fold that never heard that actor": unseen_rows(heard, p, std, of),
        "folds": fold_rows(folds, of),
        f"the file itself, on the actors that it never heard ({', '.join(map(str, file.held_out))})": [
            _file_row("accuracy, 7 classes, when the sentence has ended", file, of, ends),
            _file_row("the same, readings in the midst of it", file, of, list(_midst(of, rows))),
        ],
        "sounds that are no voice, by the network alone": nothing_said_rows(file),
        "speed, one reading on one core": speed_rows(file),
    }
    if sounds is not None:
        title = f"robustness of the file, 7 classes, every {ROBUSTNESS_STRIDE}rd clip of the same actors"
        tables[title] = robustness_rows(file, of, rows, sounds)
    picture = out.with_name(out.stem + "-ravdess.png")
    plot_confusions(heard, p, of, picture)
    out.write_text(page(file.version, weights, tables, picture.name), "utf-8")
    return tables


def page(version: str, weights: Path, tables: dict[str, Rows], picture: str) -> str:
    """The Markdown page."""
    lines = [
        f"# {version}: measured",
        "",
        f"`affectstream evaluate voice-mt` on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, OpenVINO {ov.__version__.split('-')[0]}, float32; file {weights.name}. "
        "Intervals are 95 % bootstraps over actors. A clip counts by the one window in which its last word ends. "
        "Nobody labelled valence and arousal: they are compared with the place of the class that was acted.",
        "",
        f"![Confusions]({picture})",
    ]
    for title, rows in tables.items():
        keys = list(rows[0])
        lines += ["", f"## {title}", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
        for row in rows:
            cells = [f"{v:.3f}" if isinstance(v := row[k], float) else str(v) for k in keys]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
