"""Find the annotations, videos and cropped faces in a folder of Aff-Wild2 as its owners distribute it."""

import os
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError
from models.training import affwild2

VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm"})
CROPS = ("cropped", "cropped_aligned")  # the data set's own pictures; the former show more, and are read first


@dataclass(frozen=True)
class Layout:
    """Hold what a data set has: `frames` by annotated name, `videos` by stem, `crops` by kind and name."""

    frames: dict[str, int]
    videos: dict[str, Path]
    crops: dict[str, dict[str, Path]]

    def recordings(self) -> dict[str, list[str]]:
        """Return by video the names of its people; a video without annotation (of the test set) has its own name."""
        names = {name: affwild2.video_of(name) for name in (*self.frames, *self.crops["cropped_aligned"])}
        names |= {stem: stem for stem in self.videos if stem not in names.values()}
        by_video: dict[str, list[str]] = {}
        for name, video in sorted(names.items()):
            by_video.setdefault(video, []).append(name)
        return by_video


def layout(source: Path) -> Layout:
    """Return what `source` holds. Raise `UserError` if it is not Aff-Wild2, `AnnotationError` for a wrong file."""
    videos: dict[str, Path] = {}
    crops: dict[str, dict[str, Path]] = {kind: {} for kind in CROPS}
    for folder, inner, files in os.walk(source):
        for kind in CROPS:
            if kind in inner:
                crops[kind] |= _people(Path(folder) / kind)
        inner[:] = sorted(name for name in inner if not name.startswith((".", "cropped", "annotations")))
        videos |= {
            Path(name).stem: Path(folder) / name for name in sorted(files) if Path(name).suffix.lower() in VIDEOS
        }
    frames = affwild2.lengths(source)
    if not frames or not (videos or crops["cropped"] or crops["cropped_aligned"]):
        lacks = "videos and no cropped_aligned pictures" if frames else "annotations"
        raise UserError(
            f"{source} holds no {lacks}, so it is not Aff-Wild2; expected are annotations/VA_Set/Train_Set/*.txt (or "
            f"{affwild2.MULTI_TASK['train']}) and videos/*.mp4 or cropped_aligned/NAME/00001.jpg."
        )
    return Layout(frames, videos, crops)


def _people(folder: Path) -> dict[str, Path]:
    """Return the folders of pictures by name, also where they lie in batches."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        with os.scandir(path) as entries:
            flat = any(entry.name.endswith(".jpg") for entry in entries)
        found |= {path.name: path} if flat else _people(path)
    return found
