"""Assemble what each network reads from a recording, exactly as the papers (and the live adapters) do.

Every builder takes a recording, the frames to be predicted (indices, in order) and a random generator while training,
or None. It returns the arguments of the network's `forward` as float32 arrays without their batch axis.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.networks import inception_v3, phase, spectrogram, steerable_pyramid, vgg_face
from models.training import augment
from models.training.recordings import SIZE, Recording

# TSAV
CLIP_FRAMES = 8
CLIP_STEP = 0.2  # seconds
CLIP_MEAN = (0.43216, 0.394666, 0.37645, 0.5)  # RGB, mask
CLIP_STD = (0.22803, 0.22145, 0.216989, 0.225)
MEL_COLUMNS = 1001  # 10 s
HALF = 500  # columns, 5 s
MEL_RATE = 100  # columns a second
POWER_FLOOR = 1e-10
DYNAMIC_RANGE = 80.0  # dB below the window's loudest cell
DB_MEAN, DB_STD = -14.8, 19.895
# Five points of a frontal face, as shares of the picture's side: eyes from left to right, nose tip, mouth corners. The
# paper does not give its own.
FRONTAL = ((0.32, 0.36), (0.68, 0.36), (0.50, 0.56), (0.36, 0.74), (0.64, 0.74))

Floats = NDArray[np.float32]
Arrays = dict[str, Floats]
Random = np.random.Generator | None
Window = Literal["past10", "truncate", "centred"]
Builder = Callable[[Recording, NDArray[np.int64], Random], Arrays]


def clip_and_sound(
    recording: Recording, frames: NDArray[np.int64], rng: Random, window: Window = "past10", given: bool = False
) -> Arrays:
    """Return TSAV's `clip` (4, 8, 112, 112) and `sound` (1, 64, 1001) for the one frame of `frames`.

    `given`: the clip is made of the data set's own aligned pictures, of which there are no masks.
    """
    times = recording.times
    wanted = times[frames[-1]] - CLIP_STEP * np.arange(CLIP_FRAMES - 1, -1, -1)
    period = float(np.median(np.diff(times))) if len(times) > 1 else CLIP_STEP
    index = np.searchsorted(times, wanted + period / 2, side="left") - 1  # nearest; -1 before the video
    rgb = recording.pictures(index, "given" if given else "cropped_aligned")
    masks = np.zeros(rgb.shape[:3], np.uint8) if given else recording.masks(index)
    if rng is not None:
        rgb = augment.jitter_hsv(rgb, rng)
        if rng.random() < 0.5:
            rgb, masks = augment.flip(rgb), augment.flip_masks(masks)
    clip = _normalise(np.concatenate((rgb, masks[..., None]), axis=3), CLIP_MEAN, CLIP_STD)
    return {"clip": clip.transpose(3, 0, 1, 2), "sound": sound_window(recording.mel, times[frames[-1]], window)[None]}


def sound_window(power: Floats, t: float, window: Window) -> Floats:
    """Return (64, 1001) normalised dB of the sound about `t` seconds, right-aligned, silent on the left of a short one.

    `past10`: the 10 s before. `truncate`: the 5 s before, as the published code reads the end of a file. `centred`: the
    published window, t - 5 s to t + 5 s, cut at the end of the file; before 10 s it is 0 to t or t - 5 s to 2 t - 5 s.
    (The published code reflects a window's ends; here its first and last columns hold the sound that follows on, but
    nothing at or after `t` is part of the first two windows: their last column is the one before once more.)
    """
    now = int(t * MEL_RATE + 1e-6)  # column
    first, last = max(now - (HALF if window == "truncate" else 2 * HALF), 0), now
    if window == "centred":
        first = max(now - HALF, 0)
        last = first + min(2 * HALF, max(now, 2))
    columns = power[:, first : last + 1]
    if window != "centred" and 1 < columns.shape[1] == last + 1 - first:
        columns = np.append(columns[:, :-1], columns[:, -2:-1], axis=1)  # the last one reaches 10 ms beyond t
    padded = np.zeros((power.shape[0], MEL_COLUMNS), np.float32)
    padded[:, MEL_COLUMNS - columns.shape[1] :] = columns
    db = 10 * np.log10(np.maximum(padded, POWER_FLOOR))
    normalised: Floats = (np.maximum(db, db.max() - DYNAMIC_RANGE) - DB_MEAN) / DB_STD
    return normalised.astype(np.float32)


def sound_picture(power: Floats, t: float) -> Floats:
    """Return A/V-MT-VGG-GRU's picture (3, 96, 96) of the last 96 columns of `power` (96, columns) before `t` seconds.

    Low frequencies are at the bottom and the newest column is at the right (`models.networks.spectrogram`); silence
    stands where there are no columns. Nothing at or after `t` seconds is part of the picture.
    """
    columns = spectrogram.columns_before(t) - spectrogram.SIZE + np.arange(spectrogram.SIZE)
    inside = (columns >= 0) & (columns < power.shape[1])
    cells = np.zeros((spectrogram.SIZE, spectrogram.SIZE), np.float32)
    cells[:, inside] = power[:, columns[inside]]
    return spectrogram.picture(cells)


def descriptor_image(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return the descriptors' `image` (3, 299, 299) of the aligned face, for the one frame of `frames`."""
    return {"image": _descriptor_image(recording, frames, rng, "cropped_aligned")}


def context_image(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return the descriptors' `image` (3, 299, 299) of the face with its surroundings, for one frame."""
    return {"image": _descriptor_image(recording, frames, rng, "cropped")}


def descriptor_pair(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return the ensemble's `context_crop` of the folder `cropped` and `aligned_face`, both (3, 299, 299)."""
    folders = {"context_crop": "cropped", "aligned_face": "cropped_aligned"}
    return {name: _descriptor_image(recording, frames, rng, folder) for name, folder in folders.items()}


def _descriptor_image(recording: Recording, frames: NDArray[np.int64], rng: Random, folder: str) -> Floats:
    size = inception_v3.SIZE
    (image,) = recording.pictures(frames[-1:], folder, size if rng is None else size + 5)
    if rng is not None:
        y, x = rng.integers(0, 6, 2)
        image = image[y : y + size, x : x + size]
        if rng.random() < 0.8:
            image = augment.jitter_colour(image, rng)
        if rng.random() < 0.5:
            image = augment.flip(image)
    return _normalise(image, inception_v3.MEAN, inception_v3.STD).transpose(2, 0, 1)


def _normalise(image: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> Floats:
    """Return (..., channels) bytes as float32, normalised by the mean and deviation that a network was trained with."""
    normalised: Floats = image.astype(np.float32)
    normalised /= 255
    normalised -= np.asarray(mean, np.float32)
    normalised /= np.asarray(std, np.float32)
    return normalised


def five_point(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return the `image` (3, 96, 96) of one frame's face, aligned by five points as Kollias and Zafeiriou 2021, IV.

    The affine transform that moves eyes, nose and mouth corners onto those of a frontal face is applied to our crop.
    """
    return {"image": five_point_faces(recording, frames[-1:], rng)["image"][0]}


def five_point_faces(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return `image` (time, 3, 96, 96), each face aligned by five points; see `five_point`."""
    crops, points = recording.pictures(frames), recording.landmarks[frames]
    aligned = np.stack([align_five_points(crop, of_one) for crop, of_one in zip(crops, points, strict=True)])
    images: Floats = aligned.astype(np.float32)
    images -= 128
    images /= 128
    return {"image": images.transpose(0, 3, 1, 2)}


def align_five_points(crop: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return (96, 96, 3): `crop` after the affine transform of its 68 `landmarks`' five anchors onto a frontal face.

    The transform is the least-squares one of five points. Without landmarks (NaN) the crop is resized as it is.
    """
    if not np.isfinite(landmarks).all():
        return np.asarray(cv2.resize(crop, (vgg_face.SIZE, vgg_face.SIZE)), np.uint8)
    anchors = np.stack(
        (landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54])
    )
    given = np.hstack((anchors, np.ones((5, 1))))
    matrix = np.linalg.lstsq(given, np.array(FRONTAL) * vgg_face.SIZE, rcond=None)[0].T  # (2, 3)
    size = (vgg_face.SIZE, vgg_face.SIZE)
    return np.asarray(cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def face(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return the `image` (3, 96, 96) of MT-VGG and FaceBehaviorNet for the one frame of `frames`."""
    return {"image": faces(recording, frames[-1:], rng)["image"][0]}


def faces(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return MT-VGG-GRU's `image` (time, 3, 96, 96)."""
    images: Floats = recording.pictures(frames, size=vgg_face.SIZE).astype(np.float32)
    images -= 128
    images /= 128
    return {"image": images.transpose(0, 3, 1, 2)}


def faces_and_landmarks(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return AffWildNet's `image` (time, 3, 96, 96) and `landmarks` (time, 136), the crop's edges at -1 and 1."""
    points = recording.landmarks[frames] / ((SIZE - 1) / 2) - 1
    return faces(recording, frames, rng) | {"landmarks": points.reshape(len(frames), -1).astype(np.float32)}


def sounds(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return the `image` (time, 3, 96, 96) of MT-VGG-GRU on sound alone, later A/V-MT-VGG-GRU's aural stream."""
    return {"image": np.stack([sound_picture(recording.spectrogram, t) for t in recording.times[frames]])}


def faces_and_sound(recording: Recording, frames: NDArray[np.int64], rng: Random) -> Arrays:
    """Return A/V-MT-VGG-GRU's `image` and `sound`, both (time, 3, 96, 96)."""
    return faces(recording, frames, rng) | {"sound": sounds(recording, frames, rng)["image"]}


def motion(recording: Recording, frames: NDArray[np.int64], rng: Random, unwrap: phase.Unwrap = "reference") -> Arrays:
    """Return MIMAMO Net's `phase_0` (time, 24, 48, 48), `phase_1` (time, 24, 24, 24) and `features` (time, 2048).

    The 13 frames about each are face frames, as published, the first and last repeated at the ends. `unwrap`: as the
    network's option of that name.
    """
    available = recording.faces
    place = np.clip(np.searchsorted(available, frames), 0, len(available) - 1)
    half = phase.FRAMES // 2
    window = np.clip(place[:, None] + np.arange(-half, half + 1), 0, len(available) - 1)  # (time, 13)
    needed, where = np.unique(window, return_inverse=True)
    pictures = recording.pictures(available[needed])
    if rng is not None:
        pictures = augment.crop(pictures, augment.MIMAMO_CROP, rng)
        if rng.random() < 0.5:
            pictures = augment.flip(pictures)
    levels = steerable_pyramid.coefficients(phase.grey(pictures))
    where = where.reshape(window.shape)
    pairs = [phase.from_coefficients([level[rows] for level in levels], unwrap) for rows in where]
    phase_0, phase_1 = (np.stack(maps) for maps in zip(*pairs, strict=True))
    return {"phase_0": phase_0, "phase_1": phase_1, "features": recording.features[available[place]]}


# network -> (its input, whether it reads sequences of frames, folders of a recording that it needs beside the pictures)
BUILDERS: dict[str, tuple[Builder, bool, tuple[str, ...]]] = {
    "tsav": (clip_and_sound, False, ("masks", "mel")),
    "mimamo": (motion, True, ("features",)),
    "descriptors": (descriptor_image, False, ()),
    "descriptors-ensemble": (descriptor_pair, False, ("cropped",)),
    "affwildnet": (faces_and_landmarks, True, ("landmarks",)),
    "cnn-3rnn": (faces_and_landmarks, True, ("landmarks",)),
    "cnn-1rnn": (faces_and_landmarks, True, ("landmarks",)),
    "fusion-rnn": (faces_and_landmarks, True, ("landmarks",)),
    "fusion-fc": (faces_and_landmarks, True, ("landmarks",)),
    "fusion-decision": (faces_and_landmarks, True, ("landmarks",)),
    "mt-vgg": (face, False, ()),
    "mt-vgg-gru": (faces, True, ()),
    "av-mt-vgg-gru": (faces_and_sound, True, ("spectrogram",)),
    "facebehaviornet": (face, False, ()),
}
