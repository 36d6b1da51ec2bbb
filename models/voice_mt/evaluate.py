"""`affectstream evaluate voice-mt`: the evidence for the sound branch, as a page.

Every recording is judged by a network that never heard its speaker, or never heard its corpus, with and without the
running baseline of the speaker's voice. What is served is measured on the file itself, in OpenVINO, on the speakers
that it never heard, also through noise, rooms, codecs and gain. Intervals are 95 % bootstraps over speakers.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.face_mt import confusions
from models.face_mt.scores import calibration_error, concordance, softmax
from models.files import write_text
from models.labels import EXPRESSIONS
from models.metrics import confusion
from models.voice_mt import train
from models.voice_mt.augment import CODECS, coded, response, room
from models.voice_mt.baseline import ROWS
from models.voice_mt.data import CORPORA, FOLDS, UNHEARD, Floats, Recordings, recordings
from models.voice_mt.descriptors import SPEECH, describe
from models.voice_mt.export import calibrate, spread, unheard_corpus, unheard_speakers
from models.voice_mt.functionals import NAMES
from models.voice_mt.scores import HEARD, SEVEN, SIX, Answers, answers, guesses, mean_recall, served, seven, together
from models.voice_mt.windows import VoiceInputs, Windows, after, in_order, window

_RESAMPLES = 1000
_ALL = tuple(range(SEVEN))
FEW = 5  # recordings of one mood

Rows = list[dict[str, Any]]
Samples = NDArray[np.float32]
Measure = Callable[[NDArray[np.int64]], float]  # of answers by their numbers


class File:
    """Run the ONNX file in OpenVINO on one core."""

    def __init__(self, path: Path) -> None:
        core = ov.Core()
        model = core.read_model(path)
        info: dict[str, Any] = model.get_rt_info(["framework"]).value
        self.version = str(info["version"])
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        self._compiled = core.compile_model(model, "CPU", config)

    def __call__(self, inputs: NDArray[np.float32]) -> Floats:
        """Return probabilities of the seven (n, 7) for (n, 4, F)."""
        return np.array(self._compiled(inputs)["expression"]).astype(np.float64)


def interval(measure: Measure, speaker: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % bootstrap over speakers of `measure`, which takes numbers of answers."""
    rng = np.random.default_rng(1)
    of_one = [np.flatnonzero(speaker == one) for one in np.unique(speaker)]
    draws = rng.integers(0, len(of_one), (_RESAMPLES, len(of_one)))
    low, high = np.quantile([measure(np.concatenate([of_one[k] for k in draw])) for draw in draws], [0.025, 0.975])
    return float(low), float(high)


def _kept(said: Answers, chosen: NDArray[np.bool_]) -> Answers:
    return Answers(said.row[chosen], said.logits[chosen], said.affect[chosen], said.seconds[chosen])


def _row(what: str, said: Answers, data: Recordings, measure: Measure) -> dict[str, Any]:
    every = np.arange(len(said.row))
    low, high = interval(measure, data.speaker[said.row])
    return {"measure": what, "recordings": len(every), "value": measure(every), "low": low, "high": high}


def _recall(said: Answers, data: Recordings, classes: tuple[int, ...]) -> Measure:
    truth, guess = seven(data.label[said.row]), guesses(said, classes)
    return lambda i: mean_recall(truth[i], guess[i], classes)


def _ccc(said: Answers, data: Recordings, column: int) -> Measure:
    place = data.affect()[said.row]
    return lambda i: concordance(said.affect[i, column], place[i, column])


def speaker_rows(known: Answers, alone: Answers, data: Recordings) -> Rows:
    """Return figures of speakers never heard, by corpus, without and with the running baseline."""
    table = []
    for k, corpus in enumerate(CORPORA):
        classes = _ALL if corpus == "ravdess" else SIX
        parts = [(said, _kept(said, data.corpus[said.row] == k)) for said in (alone, known)]
        for name, part in zip(("no baseline", "all that came before"), (p for _, p in parts), strict=True):
            truth, eight = data.label[part.row], part.logits.argmax(1)
            if corpus == "ravdess":
                hit = eight == truth
                table.append(_row(f"{corpus}, {name}: accuracy of 8 classes", part, data, _mean_of(hit)))
            count = len(classes)
            table.append(_row(f"{corpus}, {name}: mean recall of {count}", part, data, _recall(part, data, classes)))
            table.append(_row(f"{corpus}, {name}: CCC of arousal", part, data, _ccc(part, data, 1)))
            table.append(_row(f"{corpus}, {name}: CCC of valence", part, data, _ccc(part, data, 0)))
    return table


def _mean_of(hit: NDArray[np.bool_]) -> Measure:
    return lambda i: float(hit[i].mean())


def corpus_rows(run: Path, data: Recordings, found: Windows) -> Rows:
    """Return figures of a corpus never heard: mean recall of six, by what the baseline holds, and CCC."""
    known, alone = (unheard_corpus(run, data, found, known=k) for k in (True, False))
    table = []
    for source, corpus in (CORPORA, CORPORA[::-1]):
        network = train.load(run / f"from-{source}.pt")
        among = (data.corpus == CORPORA.index(corpus)) & np.isin(seven(data.label), SIX)
        long = _kept(known[corpus], known[corpus].seconds >= HEARD)
        same, calm = (answers(network, after(data, found, among, 5, FEW, mood)) for mood in ("same", "neutral"))
        for name, said in (
            ("no baseline", alone[corpus]), ("all that came before", known[corpus]),
            (f"at least {HEARD:g} s before", long), (f"{FEW} of the same mood before", same),
            (f"{FEW} neutral before", calm),
        ):  # fmt: skip
            if len(said.row):
                what = f"{source} -> {corpus}, {name}: mean recall of 6"
                table.append(_row(what, said, data, _recall(said, data, SIX)))
        for name, said in (("no baseline", alone[corpus]), ("all that came before", known[corpus])):
            table.append(_row(f"{source} -> {corpus}, {name}: CCC of arousal", said, data, _ccc(said, data, 1)))
            table.append(_row(f"{source} -> {corpus}, {name}: CCC of valence", said, data, _ccc(said, data, 0)))
    return table


def fold_rows(parts: list[Answers], data: Recordings) -> Rows:
    """Return RAVDESS' accuracy of eight classes and nEMO's mean recall of six in each fold."""
    table = []
    for k, said in enumerate(parts):
        english, polish = (_kept(said, data.corpus[said.row] == c) for c in (0, 1))
        hit = english.logits.argmax(1) == data.label[english.row]
        recall = _recall(polish, data, SIX)(np.arange(len(polish.row)))
        names = sorted({data.speakers[s] for s in data.speaker[said.row]})
        table.append({"fold": k, "ravdess": float(hit.mean()), "nemo": recall, "speakers": " ".join(names)})
    return table


def calibration_rows(parts: list[Answers], data: Recordings) -> Rows:
    """Return calibration error and coverage, each fold calibrated on the others."""
    p, inside, truth = [], [], []
    for k, said in enumerate(parts):
        temperature, scale = calibrate(together([other for j, other in enumerate(parts) if j != k]), data)
        one = softmax(said.logits / temperature)
        p.append(served(one))
        std = spread(one) * np.array(scale)
        inside.append(np.abs(said.affect - data.affect()[said.row]) / std)
        truth.append(seven(data.label[said.row]))
    ratio = np.concatenate(inside)
    rows: Rows = [
        {
            "measure": "calibration error, 7 classes",
            "value": calibration_error(np.concatenate(p), np.concatenate(truth)),
        }
    ]
    for column, name in enumerate(("valence", "arousal")):
        for limit in (1, 2):
            share = float((ratio[:, column] <= limit).mean())
            rows.append({"measure": f"{name} within {limit} std", "value": share})
    return rows


def _gain(samples: Samples, decibels: float) -> Samples:
    return np.asarray(np.clip(samples * 10 ** (decibels / 20), -1, 1), np.float32)


def _noise(samples: Samples, snr: float) -> Samples:
    """Return the sound in pink noise."""
    bins = np.fft.rfft(np.random.default_rng(0).standard_normal(len(samples)))
    pink = np.fft.irfft(bins / np.sqrt(np.arange(len(bins)) + 1), len(samples))
    level = np.sqrt((samples**2).mean() / (pink**2).mean() * 10 ** (-snr / 10))
    return np.asarray(samples + level * pink, np.float32)


def _room(samples: Samples, seconds: float) -> Samples:
    """Return the sound in a room whose echoes are as loud as the direct sound."""
    return room(samples, response(np.random.default_rng(1), seconds, 0.0))


# Name -> function, its degrees, what a degree is.
FAULTS: dict[str, tuple[Callable[[Samples, float], Samples], tuple[float, ...], str]] = {
    "none": (lambda samples, _: samples, (0,), ""),
    "gain": (_gain, (-30, -20, 10), "dB"),
    "pink noise": (_noise, (20, 10, 5), "dB signal to noise"),
    "room": (_room, (0.3, 0.6, 1.0), "s reverberation time"),
}


def _spoiled(
    data: Recordings, found: Windows, among: NDArray[np.bool_], fault: Callable[[Samples], Samples]
) -> Windows:
    """Return the windows at the ends of recordings, through a fault; speech is found as without it."""
    rows = found.rows[:1, :1].copy()
    for row in np.flatnonzero(among):
        samples, speech = data.sound(int(row))
        frames = describe(fault(samples), speech)
        spoken = np.flatnonzero(speech[: len(frames)] > SPEECH)
        rows[0, 0, row] = window(frames, int(spoken[-1]) + 1) if len(spoken) else np.nan
    return replace(found, rows=rows)


def file_rows(file: File, data: Recordings, found: Windows) -> Rows:
    """Return mean recall of the file on the speakers that it never heard, as they are and through each fault."""
    among = np.isin(data.speaker, [data.speakers.index(name) for name in UNHEARD if name in data.speakers])
    cases: list[tuple[str, str, Callable[[Samples], Samples]]] = [
        (name, f"{degree:g} {meaning}", lambda x, f=function, d=degree: f(x, d))  # type: ignore[misc]
        for name, (function, degrees, meaning) in FAULTS.items()
        for degree in degrees
    ]
    cases += [
        (f"{c.encoder} and back", f"{c.bits or 64_000} bit/s", lambda x, c=c: coded(x, c))  # type: ignore[misc]
        for c in CODECS
    ]
    table = []
    for fault, degree, function in cases:
        here = _spoiled(data, found, among, function)
        known, alone = (_file_recall(file, data, in_order(data, here, among, 5, known=k)) for k in (True, False))
        table.append({"fault": fault, "degree": degree, "no baseline": alone, "all that came before": known})
    return table


def _file_recall(file: File, data: Recordings, asked: VoiceInputs) -> float:
    return mean_recall(seven(data.label[asked.row]), file(asked.inputs).argmax(1), _ALL)


def speed_rows(file: File) -> Rows:
    """Return milliseconds for one reading of the network on one core, median and best of 300."""
    inputs = np.random.default_rng(0).normal(0, 1, (1, ROWS, len(NAMES))).astype(np.float32)
    times = []
    for _ in range(330):
        start = time.perf_counter()
        file(np.abs(inputs))
        times.append(time.perf_counter() - start)
    return [{"precision": "f32", "median_ms": float(np.median(times[30:]) * 1e3), "best_ms": min(times) * 1e3}]


def plot_confusions(known: Answers, data: Recordings, path: Path) -> None:
    """Write a picture of the seven as served, of the speakers never heard of each corpus."""
    panels = []
    for k, corpus in enumerate(CORPORA):
        part = _kept(known, data.corpus[known.row] == k)
        panels.append((corpus, EXPRESSIONS, confusion(seven(data.label[part.row]), guesses(part, _ALL), SEVEN)))
    confusions.plot(tuple(panels), "acted", path)


def evaluate(weights: Path, data: Path, run: Path, out: Path) -> dict[str, Rows]:
    """Measure the file `weights` and the networks of the folder `run` on the corpora prepared in `data`.

    Write `out` (Markdown) and a picture beside it; return the tables.
    """
    file, of = File(weights), recordings(data)
    found = Windows.load(run / "windows.npz")
    parts, alone = (unheard_speakers(run, of, found, known=k) for k in (True, False))
    tables = {
        "speakers never heard: all of both corpora, each by the fold that never heard that speaker": speaker_rows(
            together(parts), together(alone), of
        ),
        "a corpus never heard": corpus_rows(run, of, found),
        f"{FOLDS} folds, with all that came before: accuracy of 8 classes, mean recall of 6": fold_rows(parts, of),
        "calibration on speakers never heard, with all that came before": calibration_rows(parts, of),
        f"the file on {' and '.join(UNHEARD)}, whom it never heard: mean recall of 7": file_rows(file, of, found),
        "speed, one reading on one core": speed_rows(file),
    }
    picture = out.with_name(out.stem + "-confusions.png")
    plot_confusions(together(parts), of, picture)
    write_text(out, page(file.version, weights, tables, picture.name))
    return tables


def page(version: str, weights: Path, tables: dict[str, Rows], picture: str) -> str:
    """Return the Markdown page."""
    lines = [
        f"# {version}: measured",
        "",
        f"`affectstream evaluate voice-mt` on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, OpenVINO {ov.__version__.split('-')[0]}, float32; file {weights.name}. "
        "Intervals are 95 % bootstraps over speakers. A recording counts by the one window in which its last word "
        "ends. Baselines are causal: a speaker's recordings come in a random order, and each has those before it. "
        "Nobody labelled valence and arousal: they are compared with the place of the class that was acted. "
        "Recordings in which the speech detector hears no speech, mostly screams and whispers, are left out: "
        "`prepare` names them.",
        "",
        f"![Confusions]({picture})",
    ]
    for title, rows in tables.items():
        lines += ["", f"## {title}", *_table(rows)]
    return "\n".join(lines) + "\n"


def _table(rows: Rows) -> Iterable[str]:
    keys = list(rows[0])
    yield "| " + " | ".join(keys) + " |"
    yield "|" + "---|" * len(keys)
    for row in rows:
        yield "| " + " | ".join(f"{v:.3f}" if isinstance(v := row[k], float) else str(v) for k in keys) + " |"
