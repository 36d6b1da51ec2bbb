"""The corpora as the windows that a live session would read, and the baselines that a speaker may have by then.

Every recording gives two windows, one in which the last word has just ended and one in the midst of the sentence, as
they are and spoiled by `SESSIONS` places and lines (`models/voice_mt/augment.py`). The baseline of a window is made of
other recordings of the same speaker in the same place.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.files import written_whole
from models.voice_mt.augment import Session
from models.voice_mt.data import Recordings, recordings
from models.voice_mt.descriptors import HOP, describe
from models.voice_mt.functionals import NAMES, WINDOW, functionals

SESSIONS = 2  # places and lines for each speaker, beside the recordings as they are
ENDS = 2  # windows of a recording: at its end, and in its midst
_FEW = 500  # recordings
_LEAST, _FRAMES_PER_SECOND = 80, 100  # frames of speech before a window in the midst

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Hold what n recordings give: `rows` (1 + SESSIONS, ENDS, n, F), NaN where too little is voiced."""

    rows: Floats
    seconds: Floats  # (1 + SESSIONS, n) of speech

    def save(self, path: Path) -> None:
        """Write as .npz without pickles."""
        with written_whole(path) as aside, aside.open("wb") as file:
            np.savez(file, rows=self.rows, seconds=self.seconds)

    @staticmethod
    def load(path: Path) -> "Windows":
        """Return what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return Windows(file["rows"], file["seconds"])


def ends(speech: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """Return the frames at which the two windows of a recording end; the second is drawn."""
    spoken = np.flatnonzero(speech)
    if not len(spoken):
        return len(speech), len(speech)
    last = int(spoken[-1]) + 1
    middle = int(spoken[min(_LEAST, len(spoken) - 1)]) + 1
    return last, int(rng.integers(middle, last + 1))


def window(frames: Floats, end: int) -> Floats:
    """Return (F,) functionals of the window that ends at a frame; NaN where too little is voiced."""
    found = functionals(frames[max(0, end - WINDOW) : end])
    return np.full(len(NAMES), np.nan, np.float32) if found is None else found


_DATA: list[Recordings] = []  # of a process that computes windows


def _read(folder: Path) -> None:
    """Read the corpora once for a process."""
    _DATA.append(recordings(folder))


def _of(seed: int, row: int) -> tuple[Floats, Floats]:
    """Return (1 + SESSIONS, ENDS, F) functionals of a recording, and its seconds of speech in each place."""
    data = _DATA[0]
    samples, speech = data.sound(row)
    rng = np.random.default_rng([seed, row])
    rows, seconds = [], []
    for place in range(1 + SESSIONS):
        x, heard = samples, speech
        if place:
            session = Session(np.random.default_rng([seed, place, int(data.speaker[row])]))
            x = session(samples, rng)
            at = np.minimum((np.arange(len(x) // HOP) * session.factor).astype(np.int64), len(speech) - 1)
            heard = speech[at]
        frames = describe(x, heard)
        spoken = heard[: len(frames)] > 0.5
        rows.append(np.stack([window(frames, end) for end in ends(spoken, rng)]))
        seconds.append(spoken.sum() / _FRAMES_PER_SECOND)
    return np.stack(rows), np.array(seconds, np.float32)


def windows(folder: Path, count: int, seed: int = 1) -> Windows:
    """Return the windows of the `count` recordings prepared in `folder`; takes minutes, in a process for each core."""
    if count <= _FEW:  # a process takes longer to start
        _DATA[:] = [recordings(folder)]
        found = [_of(seed, row) for row in range(count)]
    else:
        with ProcessPoolExecutor(initializer=_read, initargs=(folder,)) as pool:
            each = pool.map(partial(_of, seed), range(count), chunksize=50)
            found = list(tqdm(each, total=count, desc="functionals", leave=False))
    rows = np.stack([one for one, _ in found])  # (n, 1 + SESSIONS, ENDS, F)
    return Windows(np.ascontiguousarray(rows.transpose(1, 2, 0, 3)), np.stack([s for _, s in found], 1))


@dataclass(frozen=True)
class VoiceInputs:
    """Hold k inputs of the voice network, and the recording that each is of."""

    inputs: Floats  # (k, 4, F)
    row: NDArray[np.int64]  # (k,) recording

    @property
    def seconds(self) -> Floats:
        """Return (k,) seconds of speech in the baselines."""
        return self.inputs[:, 3, 0]


def _inputs(rows: Floats, mean: NDArray[np.float64], variance: NDArray[np.float64], seconds: Floats) -> Floats:
    every = np.broadcast_to(seconds[:, None], rows.shape)
    return np.stack([rows, mean, np.maximum(variance, 0), every], 1).astype(np.float32)


def _speakers(data: Recordings, among: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield the recordings of each speaker."""
    for one in np.unique(data.speaker[among]):
        yield np.flatnonzero(among & (data.speaker == one))


def _behind(
    base: Floats, weight: Floats, first: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], Floats]:
    """Return mean, variance and seconds of rows `first[i]` to i - 1, for each i; 0 where there are none."""
    w = weight[:, None].astype(np.float64)
    centre = base.mean(0, dtype=np.float64)
    x = base - centre
    sums = [np.concatenate([np.zeros((1, v.shape[1])), np.cumsum(v, 0)]) for v in (w, w * x, w * x * x)]
    total, one, two = (s[np.arange(len(base))] - s[first] for s in sums)
    mean = one / np.maximum(total, 1e-9)
    known = total > 0
    variance = np.where(known, two / np.maximum(total, 1e-9) - mean**2, 0)
    return np.where(known, mean + centre, 0), variance, total[:, 0].astype(np.float32)


def drawn(data: Recordings, found: Windows, among: NDArray[np.bool_], rng: np.random.Generator) -> VoiceInputs:
    """Return every window of recordings `among`, each with a baseline as a session might have it.

    A quarter have none, a fifth a few sentences, some more than that, and some one mood only.
    """
    inputs, rows = [], []
    for place in range(1 + SESSIONS):
        for own in _speakers(data, among):
            own = own[np.isfinite(found.rows[place, 0, own]).all(1)]
            for end in range(ENDS):
                order, first = _histories(data.label[own], rng)
                here = own[order]
                back = _behind(found.rows[place, 0, here], found.seconds[place, here], first)
                asked = found.rows[place, end, here]
                good = np.isfinite(asked).all(1)
                inputs.append(_inputs(asked, *back)[good])
                rows.append(here[good])
    return VoiceInputs(np.concatenate(inputs), np.concatenate(rows))


def _histories(label: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order of a speaker's n recordings and, for each place in it, where its baseline begins."""
    n = len(label)
    order = rng.permutation(n)
    one_mood = rng.random() < 0.2
    if one_mood:  # moods one after the other
        order = order[np.argsort(rng.permutation(label.max() + 1)[label[order]], kind="stable")]
    kind = rng.random(n)
    many = np.exp(rng.uniform(np.log(6), np.log(60), n)).astype(np.int64)
    length = np.where(kind < 0.25, 0, np.where((kind < 0.45) | one_mood, rng.integers(1, 12, n), many))
    return order, np.maximum(np.arange(n) - length, 0)


def in_order(
    data: Recordings, found: Windows, among: NDArray[np.bool_], seed: int, *, known: bool = True
) -> VoiceInputs:
    """Return the last window of each recording as it is, with the baseline of all that came before in a random order.

    Without `known` there is no baseline: the speaker was never heard.
    """
    rng = np.random.default_rng(seed)
    inputs, rows = [], []
    for own in _speakers(data, among):
        here = rng.permutation(own[np.isfinite(found.rows[0, 0, own]).all(1)])
        first = np.zeros(len(here), np.int64) if known else np.arange(len(here))
        inputs.append(_inputs(found.rows[0, 0, here], *_behind(found.rows[0, 0, here], found.seconds[0, here], first)))
        rows.append(here)
    return VoiceInputs(np.concatenate(inputs), np.concatenate(rows))


def after(data: Recordings, found: Windows, among: NDArray[np.bool_], seed: int, count: int, mood: str) -> VoiceInputs:
    """Return the last window of each recording with the baseline of `count` others of the speaker.

    `mood`: "same" as the recording's own, or "neutral".
    """
    rng = np.random.default_rng(seed)
    inputs, rows = [], []
    for own in _speakers(data, among):
        own = own[np.isfinite(found.rows[0, 0, own]).all(1)]
        for row in own:
            calm = np.isin(data.label[own], (0, 7))
            others = own[(data.label[own] == data.label[row] if mood == "same" else calm) & (own != row)]
            chosen = np.append(rng.choice(others, min(count, len(others)), replace=False), row)
            back = _behind(found.rows[0, 0, chosen], found.seconds[0, chosen], np.zeros(len(chosen), np.int64))
            inputs.append(_inputs(found.rows[0, 0, chosen], *back)[-1:])
            rows.append(row)
    return VoiceInputs(np.concatenate(inputs), np.array(rows))
