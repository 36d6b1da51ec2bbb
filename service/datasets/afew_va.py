"""Read AFEW-VA: clips from films with valence and arousal in every frame (Kossaifi et al. 2017).

Layout, from its public description; tried on generated files only: a folder for each clip, `001/001.json`, whose
`frames` map a picture's name without its ending to `valence` and `arousal`, whole numbers from -10 to 10, and the
pictures `001/00000.png` and so on. There is no official split: a fifth of the clips is held out by the hash of their
names.
"""

import json
from pathlib import Path

import numpy as np

from models.errors import AnnotationError
from service.datasets.labelled import PICTURES, Labelled, labelled, split_of

SCALE = 10  # of the set's whole numbers


def read(root: Path) -> list[Labelled]:
    """Return a recording for each clip. Raise `AnnotationError` for a file that is wrong, or if there is none."""
    found = [_clip(path) for path in sorted(root.rglob("*.json")) if path.stem == path.parent.name]
    if not found:
        raise AnnotationError(f"{root} holds no clips; expected 001/001.json and so on.")
    return found


def _clip(path: Path) -> Labelled:
    try:
        frames = json.loads(path.read_text("utf-8"))["frames"]
        rows = {name: (float(frame["valence"]), float(frame["arousal"])) for name, frame in sorted(frames.items())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(f"{path}: expected `frames` with valence and arousal by picture; {error!r}.") from error
    for name, values in rows.items():
        if not all(-SCALE <= value <= SCALE for value in values):
            raise AnnotationError(f"{path}, frame {name}: expected values from -10 to 10, not {values}.")
    pictures = {p.stem: p for p in path.parent.iterdir() if p.suffix.lower() in PICTURES}
    kept = [name for name in rows if name in pictures]
    if not kept:
        raise AnnotationError(f"{path}: none of its {len(rows)} pictures is in {path.parent}.")
    va = np.array([rows[name] for name in kept], np.float32) / SCALE
    clip = path.parent.name
    return labelled(f"afew_va_{clip}", split_of(clip), [pictures[name] for name in kept], length=len(kept), va=va)
