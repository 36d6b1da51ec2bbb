"""Draw a small data set in the layout of Aff-Wild2: faces that move, and labels that follow what they do.

For tests and for trying a recipe out, never for a network that is used. The mouth's curve is valence, its opening and
the sound's loudness are arousal; expressions and action units follow from these and the brows. Beside the data set's
own folders `annotations` and `cropped_aligned` it has those that `affectstream prepare` adds: `masks`, `landmarks`,
`mel`, `spectrogram`.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.labels import AUS_2020, AUS_2022, EXPRESSIONS
from models.networks import spectrogram
from models.training.affwild2 import (
    MULTI_TASK,
    Annotation,
    picture,
    write_au,
    write_expression,
    write_multi_task,
    write_va,
)

SIZE = 112  # pixels
FPS = 30
COLUMNS = 100  # mel columns a second
MELS = 64
# Parts of the mask: first and last of the 68 points, closed, grey.
PARTS = ((48, 59, True, 255), (17, 21, False, 223), (22, 26, False, 191), (36, 41, True, 159), (42, 47, True, 127),
         (28, 30, False, 63), (6, 10, False, 31))  # fmt: skip

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """Hold what a face does, frame by frame, each (n,): `smile` and `brow` in -1..1, `opening` in 0..1."""

    smile: Floats
    opening: Floats
    brow: Floats


def write(
    root: Path,
    videos: int = 6,
    seconds: float = 4,
    validation: int = 2,
    seed: int = 0,
    *,
    pace: float = 1.0,
    units: tuple[str, ...] = AUS_2020,
) -> None:
    """Write `videos` to train on and `validation` more under `root`, annotated as in 2020 and as in 2022.

    `pace` is that of the motion; a network that reads windows of seconds needs a slower one. `units`: the action units
    of the files of 2020, 8 or the 17 of FaceBehaviorNet.
    """
    for split, count in (("Train_Set", videos), ("Validation_Set", validation)):
        annotations = []
        for i in range(count):
            name = f"{split[0].lower()}{i}" + ("", "_left", "_right")[i % 3]
            rng = np.random.default_rng((seed, split == "Train_Set", i))
            annotations.append(_write_video(root, split, name, motion(round(seconds * FPS), rng, pace), rng, units))
        file = MULTI_TASK["train" if split == "Train_Set" else "validation"]
        frames = {a.name: np.flatnonzero(a.expression >= 0).tolist() for a in annotations}
        write_multi_task(root / "annotations" / file, annotations, frames)


def motion(frames: int, rng: np.random.Generator, pace: float = 1.0) -> Motion:
    """Return a random motion that goes through most faces in a few seconds (at `pace` 1)."""
    t = np.arange(frames) / FPS

    def wave() -> Floats:
        rates, phases = pace * rng.uniform(0.3, 1.5, 3), rng.uniform(0, 2 * np.pi, 3)
        x: Floats = np.sin(2 * np.pi * rates * t[:, None] + phases).sum(1) / 1.8
        return np.clip(x, -1, 1)

    return Motion(smile=wave(), opening=np.clip(wave() * 0.6 + 0.5, 0, 1), brow=wave())


def labels(m: Motion) -> tuple[Floats, NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Return valence and arousal (n, 2), expression (n,), and the action units of `AUS_UNION` by name, (n,) each."""
    arousal = 2 * m.opening - 1
    va = np.stack((m.smile, arousal), axis=1)
    names = np.select(
        [m.smile > 0.35, (m.smile < -0.35) & (m.brow < -0.3), m.smile < -0.35, (m.opening > 0.6) & (m.brow > 0.2),
         (m.opening > 0.6) & (m.brow < -0.4), m.brow < -0.7],
        ["happiness", "anger", "sadness", "surprise", "fear", "disgust"],
        "neutral",
    )  # fmt: skip
    units = {
        "AU01": m.brow > 0.3, "AU02": m.brow > 0.6, "AU04": m.brow < -0.3, "AU06": m.smile > 0.6,
        "AU12": m.smile > 0.3, "AU15": m.smile < -0.3, "AU20": (m.opening > 0.5) & (m.smile < 0),
        "AU25": m.opening > 0.3, "AU26": m.opening > 0.7, "AU07": m.opening < 0.2, "AU10": m.smile < -0.6,
        "AU23": m.opening < 0.1, "AU24": (m.opening < 0.1) & (m.smile < 0), "AU05": (m.opening > 0.6) & (m.brow > 0.2),
        "AU09": m.brow < -0.5, "AU11": m.smile < -0.5, "AU17": (m.smile < -0.4) & (m.opening < 0.4),
    }  # fmt: skip
    expression = np.array([EXPRESSIONS.index(name) for name in names])
    return va, expression, {name: unit.astype(np.int64) for name, unit in units.items()}


def landmarks(smile: float, opening: float, brow: float) -> Floats:
    """Return the landmarks of the drawn face, (68, 2) pixels."""
    p = np.zeros((68, 2))
    angle = np.linspace(np.pi, 0, 17)
    p[:17] = np.stack((56 + 44 * np.cos(angle), 50 + 56 * np.sin(angle)), 1)
    for start, left in ((17, 24), (22, 68)):
        across = np.linspace(0, 1, 5)
        arch = 4 * across * (1 - across)
        p[start : start + 5] = np.stack((left + 20 * across, 40 - 5 * brow - 4 * arch), 1)
    p[27:31] = np.stack((np.full(4, 56), np.linspace(52, 70, 4)), 1)
    p[31:36] = np.stack((np.linspace(50, 62, 5), np.full(5, 74)), 1)
    for start, middle in ((36, 38), (42, 74)):
        around = np.linspace(np.pi, 3 * np.pi, 6, endpoint=False)
        p[start : start + 6] = np.stack((middle + 8 * np.cos(around), 52 + (2 + 2 * opening) * np.sin(around)), 1)
    for start, count, width in ((48, 12, 18), (60, 8, 14)):
        around = np.linspace(np.pi, 3 * np.pi, count, endpoint=False)
        x = width * np.cos(around)
        lift = 8 * smile * ((x / 18) ** 2 - 0.5)  # corners up when it smiles
        p[start : start + count] = np.stack((56 + x, 92 - lift + (3 + 6 * opening) * np.sin(around)), 1)
    return p


def _write_video(
    root: Path, split: str, name: str, m: Motion, rng: np.random.Generator, names: tuple[str, ...]
) -> Annotation:
    frames = len(m.smile)
    va, expression, units = labels(m)
    va[: frames // 20], expression[: frames // 20] = -5, -1  # a stretch without annotation
    for folder in ("cropped_aligned", "masks"):
        (root / folder / name).mkdir(parents=True, exist_ok=True)
    skin = rng.uniform((200, 155, 125), (225, 180, 150))
    points = np.stack([landmarks(*row) for row in zip(m.smile, m.opening, m.brow, strict=True)])
    points += rng.uniform(-1, 1, 2)  # where the head is
    for i, p in enumerate(points):
        cv2.imwrite(str(picture(root / "cropped_aligned", name, i)), _draw(p, skin, rng)[..., ::-1])
        cv2.imwrite(str(picture(root / "masks", name, i).with_suffix(".png")), _mask(p))
    _save(root / "landmarks" / f"{name}.npy", points.astype(np.float32))
    loudness = np.interp(np.arange(round(frames / FPS * COLUMNS)), np.arange(frames) * COLUMNS / FPS, m.opening)
    power = 10 ** (6 * loudness - 5) * rng.uniform(0.5, 1.5, (MELS, len(loudness)))  # (64, columns)
    _save(root / "mel" / f"{name}.npy", power.astype(np.float32))
    every = np.arange(spectrogram.complete(round(frames / FPS * spectrogram.SAMPLE_RATE))) * spectrogram.HOP
    loudness = np.interp(every / spectrogram.SAMPLE_RATE, np.arange(frames) / FPS, m.opening)
    power = 10 ** (6 * loudness - 5) * rng.uniform(0.5, 1.5, (spectrogram.SIZE, len(loudness)))  # (96, columns)
    _save(root / "spectrogram" / f"{name}.npy", power.astype(np.float32))
    write_va(root / "annotations" / "VA_Set" / split / f"{name}.txt", va)
    write_expression(root / "annotations" / "EXPR_Set" / split / f"{name}.txt", expression)
    write_au(root / "annotations" / "AU_Set" / split / f"{name}.txt", np.stack([units[unit] for unit in names], 1))
    return Annotation(name, va.astype(np.float32), expression, np.stack([units[unit] for unit in AUS_2022], 1))


def _save(path: Path, array: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def _polylines(image: NDArray[np.uint8], points: Floats, closed: bool, colour: tuple[float, ...], width: int) -> None:
    cv2.polylines(image, [np.rint(points).astype(np.int32)], closed, colour, width)


def _draw(p: Floats, skin: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the drawn face, (112, 112, 3) RGB."""
    image = np.full((SIZE, SIZE, 3), 60, np.uint8)
    centre = p[30] - (0, 12)
    cv2.ellipse(image, (tuple(map(float, centre)), (88, 116), 0), tuple(skin), -1)
    for start, stop in ((36, 42), (42, 48), (48, 60)):
        colour = (255, 255, 255) if start < 48 else (150, 40, 50)
        cv2.fillPoly(image, [np.rint(p[start:stop]).astype(np.int32)], colour)
    cv2.fillPoly(image, [np.rint(p[60:68]).astype(np.int32)], (40, 10, 10))
    for start, stop in ((17, 22), (22, 27)):
        _polylines(image, p[start:stop], False, (50, 30, 20), 3)
    _polylines(image, p[27:31], False, tuple(skin * 0.7), 2)
    noise = rng.normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _mask(p: Floats) -> NDArray[np.uint8]:
    """Return the landmark mask, (112, 112)."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    for first, last, closed, grey in PARTS:
        _polylines(image, p[first : last + 1], closed, (grey,), 1)
    return image
