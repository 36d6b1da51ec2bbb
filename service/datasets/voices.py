"""Recordings of acted speech as the samples that the voice network is trained on.

RAVDESS (Livingstone & Russo 2018) and nEMO (Christop 2024) say emotion and speaker in their files' names. The sound
takes the way of a live session: decoded at 44.1 kHz, brought to 16 kHz by the service's own resampler, its speech found
by the service's own network.
"""

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.errors import UserError
from service.capture.media import SAMPLE_RATE
from service.perception.silero import probabilities
from service.perception.wideband import wideband

log = logging.getLogger(__name__)

SHARD = 2048  # recordings
_SUFFIXES = (".flac", ".wav", ".opus", ".ogg")
_RAVDESS = re.compile(r"03-01-0([1-8])-0([12])-0[12]-0[12]-(\d\d)")
_RAVDESS_EMOTIONS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
_NEMO = re.compile(r"([A-Z]{2}\d)_(anger|fear|happiness|neutral|sadness|surprised)_\d+")
_MIN_SPEECH = 0.1  # s; with less a recording holds no speech

Columns = dict[str, NDArray[np.generic]]


def _read_ravdess(stem: str) -> tuple[str, str, bool] | None:
    """Return emotion, speaker and whether the intensity is strong of a file's name, or None for another name."""
    found = _RAVDESS.fullmatch(stem)
    if found is None:
        return None
    return _RAVDESS_EMOTIONS[int(found[1]) - 1], f"ravdess-{found[3]}", found[2] == "2"


def _read_nemo(stem: str) -> tuple[str, str, bool] | None:
    """Return emotion, speaker and False of a file's name, or None for another name."""
    found = _NEMO.fullmatch(stem)
    if found is None:
        return None
    return found[2].replace("surprised", "surprise"), f"nemo-{found[1]}", False


# Data set -> how its names are read, and an example.
CORPORA = {
    "ravdess": (_read_ravdess, "03-01-06-01-02-01-12.flac"),
    "nemo": (_read_nemo, "EB0_anger_1.opus"),
}


def decode(path: Path) -> NDArray[np.float32]:
    """Return the whole sound of a file as mono at 44.1 kHz. Raises `UserError` if it cannot be read."""
    try:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        with av.open(str(path)) as container:
            frames = [g for frame in container.decode(audio=0) for g in resampler.resample(frame)]
        frames += resampler.resample(None)
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise UserError(f"{path} cannot be read as sound ({error}); replace it or take it out.") from error


def _recording(path: Path) -> tuple[NDArray[np.int16], NDArray[np.uint8]] | None:
    """Return samples at 16 kHz and, every 10 ms, the probability of speech in 255ths; None where there is no speech."""
    samples = wideband(decode(path))
    speech = probabilities(samples)
    if (speech > 0.5).sum() < 100 * _MIN_SPEECH:
        log.warning("%s holds no speech that the speech detector hears; it is left out", path)
        return None
    whole = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return whole[: len(speech) * 160], np.rint(speech * 255).astype(np.uint8)


def shards(dataset: str, source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    """Yield the name of each shard of `CORPORA[dataset]` and what makes it.

    A shard holds `samples` (int16, all recordings one after the other), `speech` (uint8), and for each recording
    `length` in frames of 10 ms, `emotion`, `speaker`, `strong` and `name`. Raises `UserError` for a folder without
    recordings or speech, a name that is not of this corpus, and a file that cannot be read. A recording in which no
    speech is heard, such as a whisper, is named in the log and left out.
    """
    read, example = CORPORA[dataset]
    paths = sorted(p for p in source.iterdir() if p.suffix.lower() in _SUFFIXES) if source.is_dir() else []
    if not paths:
        raise UserError(f"{source} holds no recordings ({', '.join(_SUFFIXES)}).")
    facts = {path: read(path.stem) for path in paths}
    for path, fact in facts.items():
        if fact is None:
            raise UserError(f"{path} is not named as {dataset} names its files, such as {example}.")
    for start in range(0, len(paths), SHARD):
        part = paths[start : start + SHARD]

        def make(part: list[Path] = part) -> Columns:
            with ThreadPoolExecutor(2) as pool:
                heard = list(tqdm(pool.map(_recording, part), total=len(part), desc=dataset, leave=False))
            found = [one for one in heard if one is not None]
            if not found:
                raise UserError(f"{source} holds no speech in any of its recordings; name the folder of {dataset}.")
            kept = [path for path, one in zip(part, heard, strict=True) if one is not None]
            emotion, speaker, strong = zip(*(fact for path in kept if (fact := facts[path])), strict=True)
            return {
                "samples": np.concatenate([samples for samples, _ in found]),
                "speech": np.concatenate([speech for _, speech in found]),
                "length": np.array([len(speech) for _, speech in found]),
                "emotion": np.array(emotion), "speaker": np.array(speaker), "strong": np.array(strong),
                "name": np.array([path.stem for path in kept]),
            }  # fmt: skip

        yield f"{start:06d}", make
