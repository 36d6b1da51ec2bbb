"""`affectstream evaluate face-mt`: the evidence for a weight file, measured on the file itself, as a page.

Runs the ONNX file in OpenVINO on the prepared FER+ test faces and on the web photographs, so that what is measured is
what is served. Confidence intervals are 95 % bootstraps over faces.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.face_mt import action_units, confusions, spoil
from models.face_mt.calibration import COVERAGE, balance_weights
from models.face_mt.data import TEST, Faces, ferplus, labelled, recorded
from models.face_mt.scores import Floats, calibration_error, concordance, macro_f1, softmax
from models.labels import EXPRESSIONS
from models.metrics import confusion

_BATCH = 64
_RESAMPLES = 1000
ROBUSTNESS_STRIDE = 3  # every third face: the curves need no more
_SEVEN = len(EXPRESSIONS)


@dataclass(frozen=True)
class Outputs:
    """What the file gives for n crops."""

    balanced: Floats  # (n, 8) probabilities as served
    trained: Floats  # (n, 8) probabilities under the training prior
    va: Floats  # (n, 2)
    std: Floats  # (n, 2)
    units: Floats  # (n, k) probabilities


class Served:
    """The ONNX file in OpenVINO on one core, with what its metadata says."""

    def __init__(self, path: Path, precision: str = "f32", threads: int = 1) -> None:
        core = ov.Core()
        model = core.read_model(path)
        info: dict[str, Any] = model.get_rt_info(["framework"]).value
        wanted = ("aus", "training_prior", "expressions", "scales")
        self.facts: dict[str, Any] = {k: json.loads(str(info[k])) for k in wanted if k in info}
        self.version = str(info["version"])
        self.prior = np.array(self.facts["training_prior"])
        config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        self._compiled = core.compile_model(model, "CPU", config)

    def run(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Raw outputs for (n, 112, 112, 3)."""
        results = self._compiled(crops)
        return [results[i] for i in range(4)]

    def __call__(self, grey: NDArray[np.uint8]) -> Outputs:
        """For (n, 112, 112) luminance."""
        parts: list[list[NDArray[np.float32]]] = []
        for start in range(0, len(grey), _BATCH):
            part = np.repeat(grey[start : start + _BATCH, :, :, None], 3, axis=3)
            parts.append([np.array(v) for v in self.run(part)])
        balanced, va, std, units = (np.concatenate(v).astype(np.float64) for v in zip(*parts, strict=True))
        return Outputs(
            balanced,
            softmax(np.log(balanced + 1e-12) + np.log(self.prior)),
            va,
            std,
            1 / (1 + np.exp(-units)),
        )


def interval(measure: Callable[[NDArray[np.int64]], float], n: int, seed: int = 1) -> tuple[float, float]:
    """95 % bootstrap interval of `measure`, which takes the chosen row numbers."""
    rng = np.random.default_rng(seed)
    values = [measure(rng.integers(0, n, n)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def expression_rows(out: Outputs, faces: Faces, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Figures of the expressions on faces with a majority."""
    truth = faces.majority[rows]
    named = truth >= 0
    t8, p8, b8 = truth[named], out.trained[named], out.balanced[named]
    basic = t8 < _SEVEN
    t7, g7, h7 = t8[basic], p8[basic, :_SEVEN].argmax(1), b8[basic, :_SEVEN].argmax(1)
    right = p8.argmax(1) == t8
    weight = faces.weight[rows]
    each = -(faces.expression[rows] * np.log(out.trained + 1e-12)).sum(1)

    def recall(chosen: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
        t, g = t7[chosen], guess[chosen]
        return float(np.mean([(g[t == c] == c).mean() for c in range(_SEVEN) if (t == c).any()]))

    measures: list[tuple[str, int, Callable[[NDArray[np.int64]], float]]] = [
        ("accuracy, 8 classes, training prior", len(t8), lambda i: float(right[i].mean())),
        ("accuracy, 7 classes, training prior", len(t7), lambda i: float((g7[i] == t7[i]).mean())),
        ("macro F1, 7 classes, training prior", len(t7), lambda i: macro_f1(t7[i], g7[i], _SEVEN)),
        ("accuracy, 7 classes, balanced prior", len(t7), lambda i: float((h7[i] == t7[i]).mean())),
        ("macro F1, 7 classes, balanced prior", len(t7), lambda i: macro_f1(t7[i], h7[i], _SEVEN)),
        ("mean recall, 7 classes, training prior", len(t7), lambda i: recall(i, g7)),
        ("mean recall, 7 classes, balanced prior", len(t7), lambda i: recall(i, h7)),
        ("calibration error, training prior", len(t8), lambda i: calibration_error(p8[i], t8[i])),
    ]
    table = []
    for name, n, measure in measures:
        low, high = interval(measure, n)
        table.append({"measure": name, "faces": n, "value": measure(np.arange(n)), "low": low, "high": high})
    b7 = b8[basic, :_SEVEN] / b8[basic, :_SEVEN].sum(1, keepdims=True)  # as published
    resampled = np.random.default_rng(1).choice(len(t7), 40_000, p=_even(t7))
    table.append(
        {
            "measure": "calibration error, 7 classes, balanced prior (faces redrawn to equal classes)",
            "faces": len(t7),
            "value": calibration_error(b7[resampled], t7[resampled]),
        }
    )
    table.append(
        {
            "measure": "cross-entropy against the votes, training prior",
            "faces": int((weight > 0).sum()),
            "value": float((each * weight).sum() / max(weight.sum(), 1e-9)),
        }
    )
    return table


def _even(truth: NDArray[np.int64]) -> Floats:
    weights = balance_weights(truth, _SEVEN)
    return np.asarray(weights / weights.sum(), np.float64)


def affect_rows(out: Outputs, faces: Faces, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Agreement of valence and arousal with the votes' position: weak supervision measured against itself."""
    known = np.isfinite(faces.affect[rows]).all(1)
    target = faces.affect[rows][known, :2].astype(np.float64)
    table = []
    for k, name in enumerate(("valence", "arousal")):
        inside = np.abs(out.va[known, k] - target[:, k]) <= out.std[known, k]
        table.append(
            {"measure": f"CCC of {name} with the votes' position", "value": concordance(out.va[known, k], target[:, k])}
        )
        table.append({"measure": f"{name} within one std (aimed at {COVERAGE})", "value": float(inside.mean())})
    return table


def unit_rows(
    out: Outputs, names: Sequence[str], scales: dict[str, tuple[float, float]], faces: Faces, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Pearson r with the teacher for each unit."""
    target = action_units.targets(faces.units, {au: scales[au] for au in names})[rows]
    known = np.isfinite(target).all(1)
    n = int(known.sum())
    table = []
    for k, au in enumerate(names):
        x, y = out.units[known, k], target[known, k].astype(np.float64)

        def correlation(i: NDArray[np.int64], x: Floats = x, y: Floats = y) -> float:
            return float(np.corrcoef(x[i], y[i])[0, 1])

        low, high = interval(correlation, n)
        table.append({"unit": au, "faces": n, "r": correlation(np.arange(n)), "low": low, "high": high})
    return table


def robustness_rows(served: Served, faces: Faces, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Accuracy over eight classes under the training prior, for each fault and degree."""
    rows = rows[faces.majority[rows] >= 0][::ROBUSTNESS_STRIDE]
    truth = faces.majority[rows]
    table = []
    for fault, (function, degrees, meaning) in spoil.FAULTS.items():
        for degree in degrees:
            crops = np.stack([function(crop, degree) for crop in faces.grey[rows]])
            hit = served(crops).trained.argmax(1) == truth
            table.append({"fault": fault, "degree": degree, "meaning": meaning, "accuracy": float(hit.mean())})
    return table


def speed_rows(path: Path, small: Path | None) -> list[dict[str, Any]]:
    """Milliseconds for one face on one core: medians of 300 calls, taken in turns, so that noise falls on all alike."""
    crop = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    forms = {"float32": Served(path), "bfloat16": Served(path, "bf16")}
    if small is not None:
        forms["8 bits"] = Served(small)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(330):
        for name, served in forms.items():
            start = time.perf_counter()
            served.run(crop)
            times[name].append((time.perf_counter() - start) * 1e3)
    return [
        {"precision": name, "median_ms": float(np.median(spent[30:])), "best_ms": min(spent)}
        for name, spent in times.items()
    ]


def evaluate(weights: Path, data: Path, out: Path, small: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """Measures `weights` (an ONNX file) on the prepared sets `data`/ferplus, `data`/faces and, if there, `data`/video.

    `small`: the 8-bit version, compared with it. Writes `out` (Markdown) and pictures beside it; returns the tables.
    """
    served = Served(weights)
    fer, web = ferplus(data / "ferplus"), labelled(data / "faces")
    scales = {au: (float(s[0]), float(s[1])) for au, s in served.facts["scales"].items()}
    names = served.facts["aus"]
    test = np.flatnonzero(fer.split == TEST)
    on_test, on_web = served(fer.grey[test]), served(web.grey)
    unseen = np.flatnonzero(web.split == TEST)
    of_unseen = Outputs(*(getattr(on_web, f)[unseen] for f in ("balanced", "trained", "va", "std", "units")))
    everything = np.arange(len(web))
    tables = {
        "FER+ official test": expression_rows(on_test, fer, test),
        "valence and arousal, FER+ test": affect_rows(on_test, fer, test),
        "web photographs, all (their labels were never trained on)": expression_rows(on_web, web, everything)[:-1],
        "action units, web photographs that were held out": unit_rows(of_unseen, names, scales, web, unseen),
        "action units, FER+ test": unit_rows(on_test, names, scales, fer, test),
        **_on_videos(served, names, scales, data / "video"),
        f"robustness, every {ROBUSTNESS_STRIDE}rd face of FER+ test": robustness_rows(served, fer, test),
        "speed, one face on one core": speed_rows(weights, small),
    }
    if small is not None:
        from models.face_mt.quantize import compare

        tables["8-bit version against float32, FER+ validation"] = [
            {"measure": name, "value": value} for name, value in compare(weights, small, data).items()
        ]
    pictures = out.with_suffix("")
    _confusions(on_test, fer, test, pictures.with_name(pictures.name + "-ferplus.png"))
    _confusions(on_web, web, everything, pictures.with_name(pictures.name + "-web.png"))
    out.write_text(page(served.version, weights, tables, out.stem), "utf-8")
    return tables


def _on_videos(
    served: Served, names: Sequence[str], scales: dict[str, tuple[float, float]], folder: Path
) -> dict[str, list[dict[str, Any]]]:
    if not folder.exists():
        return {}
    faces = recorded(folder)
    rows = unit_rows(served(faces.grey), names, scales, faces, np.arange(len(faces)))
    return {"action units, frames of videos (never trained on; frames of one video are much alike)": rows}


def _confusions(out: Outputs, faces: Faces, rows: NDArray[np.int64], path: Path) -> None:
    truth = faces.majority[rows]
    basic = (truth >= 0) & (truth < _SEVEN)
    priors = (("training prior", out.trained), ("balanced prior (served)", out.balanced))
    panels = [(title, EXPRESSIONS, confusion(truth[basic], p[basic, :_SEVEN].argmax(1), _SEVEN)) for title, p in priors]
    confusions.plot(panels, "raters' majority", path)


def page(version: str, weights: Path, tables: dict[str, list[dict[str, Any]]], stem: str) -> str:
    """The Markdown page."""
    lines = [
        f"# {version}: measured",
        "",
        f"`affectstream evaluate face-mt` on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, OpenVINO {ov.__version__.split('-')[0]}, float32; file {weights.name}. "
        "Intervals are 95 % bootstraps over faces. Nobody labelled action units, valence or arousal: units are "
        "compared with their teacher, valence and arousal with the position of the votes.",
        "",
        f"![FER+ test]({stem}-ferplus.png)",
        f"![Web photographs]({stem}-web.png)",
    ]
    for title, rows in tables.items():
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"## {title}", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
        for row in rows:
            cells = [f"{v:.3f}" if isinstance(v := row.get(k, ""), float) else str(v) for k in keys]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
