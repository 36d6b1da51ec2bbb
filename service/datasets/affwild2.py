"""Prepare Aff-Wild2 as the folders that training reads: crops, masks, landmarks, mel columns, annotations.

Training reads them through `models.training.recordings`. Everything comes from the perception that serves: out of the
videos or, for recordings whose video is not at hand, out
of the data set's own `cropped` or `cropped_aligned` pictures (then without sound). All that a video gives is written
aside and moved into place, the landmarks last, so that a run which was stopped goes on with the videos it lacks.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.errors import UserError
from models.networks import spectrogram
from models.training import affwild2
from models.training.affwild2 import picture
from service.adapters.descriptors import SIZE as CONTEXT_SIZE
from service.adapters.descriptors import surroundings
from service.adapters.vgg import resized
from service.capture.file import FileSource
from service.capture.media import SAMPLE_RATE, Frame, Sound
from service.datasets.affwild2_layout import CROPS, Layout, layout
from service.datasets.annotated_person import AnnotatedPerson
from service.perception.align import in_crop
from service.perception.face import Face
from service.perception.mel import HOP, MELS, SILENCE_DB, WINDOW, MelStream
from service.perception.networks import Networks
from service.perception.perceive import Perception
from service.perception.still import face_in_crop

log = logging.getLogger(__name__)

JPEG_QUALITY = 95  # as the published TSAV stored its crops
_FOLDERS, _ARRAYS = ("cropped_aligned", "masks", "cropped"), ("mel", "spectrogram", "times", "landmarks")
_SHOWN = 3  # names that a message gives

Floats = NDArray[np.float32]


def prepare_affwild2(source: Path, out: Path, *, context: bool = False, given: bool = False) -> None:
    """Write `out` from `source`; `context`: also each face with its surroundings, for `descriptors-ensemble`.

    `given`: also a copy of the data set's own aligned pictures, for `tsav-given-alignment`. Videos that cannot be read
    are named in the log and left out. Raise `UserError` if nothing can be prepared.
    """
    if out.resolve() == source.resolve():
        raise UserError(f"--out {out} is the data set itself; name another folder, its pictures would be overwritten.")
    found = layout(source)
    affwild2.copy_annotations(source, out)
    prepare_layout(found, out, context=context, given=given)


def prepare_layout(found: Layout, out: Path, *, context: bool = False, given: bool = False) -> None:
    """Write the folders of all recordings of a layout that are not in `out` yet, several videos at a time.

    Raise `UserError` if `out` cannot be written, or if none of the recordings has a video or pictures that can be read.
    """
    recordings = found.recordings()
    due = {video: names for video, names in recordings.items() if not all(_ready(out, name) for name in names)}
    stop, networks = Event(), Networks()
    with (
        tqdm(total=sum(max(found.frames.get(n, 0) for n in names) for names in due.values()), unit="frame") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        jobs = [
            pool.submit(_one, Job(video, names, found, out, context), networks, stop, bar.update)
            for video, names in due.items()
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException as error:
            stop.set()  # the videos under way end at once, and their unfinished folders are deleted
            pool.shutdown(cancel_futures=True)
            if isinstance(error, OSError):
                raise UserError(f"{out} cannot be written: {error}") from error
            raise
    names = [name for people in recordings.values() for name in people]
    if given:
        _copy_given(found, out, names)
    if missing := [name for name in names if not _ready(out, name)]:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        if len(missing) == len(names):
            raise UserError(f"Nothing was prepared: none of {shown} has a video or pictures that can be read.")
        log.warning("%d of %d recordings are not prepared: %s", len(missing), len(names), shown)


def _copy_given(found: Layout, out: Path, names: Sequence[str]) -> None:
    """Copy the data set's own aligned pictures of the recordings that have some and are not copied yet."""
    for name in names:
        folder, target = found.crops["cropped_aligned"].get(name), out / "given" / name
        if folder is not None and not target.is_dir():
            aside = target.with_name(f".{name}.part")
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(folder, aside)
            aside.rename(target)


def _ready(out: Path, name: str) -> bool:
    """Return whether a recording is in place: its landmarks are moved last."""
    return (out / "landmarks" / f"{name}.npy").is_file()


@dataclass(frozen=True)
class Job:
    """Hold one video and the people in it."""

    video: str
    names: list[str]
    found: Layout
    out: Path
    context: bool

    @property
    def aside(self) -> Path:
        """Return the folder in which it is written until it is whole."""
        return self.out / f".{self.video}.part"


def _one(job: Job, networks: Networks, stop: Event, progress: Callable[[int], object]) -> None:
    """Write a video, or pictures of it, aside and then move it into place."""
    if stop.is_set():
        return
    shutil.rmtree(job.aside, ignore_errors=True)
    try:
        if job.video in job.found.videos:
            done = _from_video(job, networks, stop, progress)
        else:
            done = [name for name in job.names if _from_pictures(job, name, networks, stop, progress)]
        if not stop.is_set():
            move(job.aside, job.out, done)
    except UserError as error:
        log.warning("%s", error)
    finally:
        shutil.rmtree(job.aside, ignore_errors=True)


def _from_video(job: Job, networks: Networks, stop: Event, progress: Callable[[int], object]) -> list[str]:
    """Write what a video shows and sounds like, and return the names of its people; none if `stop` was set."""
    path = job.found.videos[job.video]
    perception, sound, times = Perception(networks), Columns(), list[float]()
    crops = job.found.crops["cropped_aligned"]
    people = {
        name: (AnnotatedPerson(name, crops.get(name)), RecordingFiles(job.aside, name, context=job.context))
        for name in job.names
    }
    early: list[Sound] = []  # before the first picture, from which time is counted
    for item in FileSource(path, path.name, realtime=False).read(stop):
        if isinstance(item, Sound):
            if times:
                sound.push(item, times[0])
            else:
                early.append(item)
        elif isinstance(item, Frame):
            times.append(item.t)
            while early:
                sound.push(early.pop(0), times[0])
            faces = perception(item)
            for person, written in people.values():
                face = person.among(faces, len(times) - 1, item.image.shape[1])
                written.add(len(times) - 1, face, surroundings(face) if job.context and face is not None else None)
            progress(1)
    if stop.is_set():
        return []
    if not times:
        raise UserError(f"{path} holds no pictures.")
    arrays = {"spectrogram": sound.spectrogram(), "mel": sound.power()}
    for name, (_, written) in people.items():
        written.finish(**arrays, times=np.array(times) - times[0])
        if abs(job.found.frames.get(name, len(times)) - len(times)) > 1:  # the data set itself has one row more or less
            log.warning("%s is annotated for %d frames, its video has %d", name, job.found.frames[name], len(times))
    return job.names


def _from_pictures(job: Job, name: str, networks: Networks, stop: Event, progress: Callable[[int], object]) -> bool:
    """Write what the data set's pictures of `name` show, and return whether there are any."""
    kind = next((kind for kind in CROPS if name in job.found.crops[kind]), None)
    if kind is None:
        return False
    written = RecordingFiles(job.aside, name, context=job.context)
    folder = job.found.crops[kind][name]
    last = max((int(path.stem) for path in folder.glob("*.jpg")), default=0)
    for index in range(last):
        if stop.is_set():
            return False
        image = cv2.imread(str(picture(folder.parent, name, index)))
        rgb = None if image is None else np.ascontiguousarray(image[..., ::-1], np.uint8)
        face = None if rgb is None else face_in_crop(networks, rgb)
        wide = rgb if job.context and kind == "cropped" else None
        written.add(index, face, None if wide is None else resized(wide, CONTEXT_SIZE))
        progress(1)
    written.finish()
    return True


class Columns:
    """Collect the columns of a whole video, mel and linear, from the stream, which keeps the last seconds only."""

    def __init__(self) -> None:
        """Begin a video."""
        self._mel = MelStream()
        self._taken = 0  # columns
        self._parts: list[Floats] = []
        self._linear = [np.zeros((spectrogram.SIZE, 0), np.float32)]
        self._linear_taken = 0  # columns

    def push(self, sound: Sound, start: float) -> None:
        """Add sound; `start` seconds on its clock become 0."""
        self._mel.push(Sound(sound.samples, sound.t - start))
        first, last = max(self._taken, self._mel.oldest), self._mel.columns
        if last > self._taken:
            self._parts.append(np.full((MELS, first - self._taken), SILENCE_DB, np.float32))
            self._parts.append(self._mel.decibels(first, last))
            self._taken = last
        linear = spectrogram.complete(self._mel.samples_end)
        if linear > self._linear_taken:
            first, end = self._linear_taken * spectrogram.HOP, (linear - 1) * spectrogram.HOP + spectrogram.WINDOW
            self._linear.append(spectrogram.power(self._mel.samples(first, end)))
            self._linear_taken = linear

    def spectrogram(self) -> Floats:
        """Return (96, columns) power of the columns that are complete (`models.networks.spectrogram`)."""
        return np.concatenate(self._linear, axis=1)

    def power(self) -> Floats:
        """Return (64, 1 + n // 441) of the n samples from time 0 on, none without sound. Call it once, at the end."""
        if not self._mel.started:
            return np.zeros((MELS, 0), np.float32)
        end = self._mel.end
        self.push(Sound(np.zeros(WINDOW, np.float32), end), 0.0)  # so that the last columns are whole
        columns = 1 + round(end * SAMPLE_RATE) // HOP
        return np.asarray(10 ** (np.concatenate(self._parts, axis=1)[:, :columns] / 10), np.float32)


class RecordingFiles:
    """Write the files of one recording into a folder, frame by frame."""

    def __init__(self, aside: Path, name: str, *, context: bool) -> None:
        """Make the recording's folders in `aside`; `context`: also that of faces with their surroundings."""
        self._folders = {kind: aside / kind for kind in _FOLDERS if kind != "cropped" or context}
        self._aside, self._name = aside, name
        self._landmarks: list[Floats] = []
        for folder in self._folders.values():
            (folder / name).mkdir(parents=True)

    def add(self, index: int, face: Face | None, context: NDArray[np.integer] | None) -> None:
        """Write frame `index` (from 0) and, if given, the face with its surroundings; `face` None leaves a gap."""
        if face is None:
            self._landmarks.append(np.full((68, 2), np.nan, np.float32))
            return
        self._landmarks.append(in_crop(face.landmarks, face.matrix).astype(np.float32))
        _write(picture(self._folders["cropped_aligned"], self._name, index), face.crop[..., ::-1])
        _write(picture(self._folders["masks"], self._name, index).with_suffix(".png"), face.mask)
        if context is not None:
            _write(picture(self._folders["cropped"], self._name, index), context[..., ::-1])

    def finish(self, **arrays: NDArray[np.generic]) -> None:
        """Write the given arrays and the landmarks."""
        everything: Mapping[str, NDArray[np.generic]] = {**arrays, "landmarks": np.stack(self._landmarks)}
        for kind, array in everything.items():
            (self._aside / kind).mkdir(exist_ok=True)
            np.save(self._aside / kind / f"{self._name}.npy", array)


def _write(path: Path, image: NDArray[np.integer]) -> None:
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY) if path.suffix == ".jpg" else ()
    if not cv2.imwrite(str(path), image, options):
        raise OSError(f"{path.name} was not written; is the disk full?")


def move(aside: Path, out: Path, names: Sequence[str]) -> None:
    """Move recordings from `aside` into `out`; the landmarks, by which a recording counts as ready, last."""
    for name in names:
        for kind, file in [(kind, name) for kind in _FOLDERS] + [(kind, f"{name}.npy") for kind in _ARRAYS]:
            old, new = out / kind / file, aside / kind / file
            if old.is_dir():
                shutil.rmtree(old)
            if new.exists():
                old.parent.mkdir(parents=True, exist_ok=True)
                new.replace(old)
