"""Read OMG-Emotion: utterances of videos, each with one valence, arousal and expression (Barros et al. 2018).

Layout, from its public description; tried on generated files only: `omg_TrainVideos.csv`, `omg_ValidationVideos.csv`
and `omg_TestVideos_WithLabels.csv` have the columns `video`, `utterance` (such as utterance_3.mp4), `arousal` in [0,
1], `valence` in [-1, 1] and `EmotionMaxVote` (0 anger, 1 disgust, 2 fear, 3 happiness, 4 neutral, 5 sadness, 6
surprise). The utterance lies in a folder of the video's name, `VIDEO/utterance_3.mp4`, anywhere under the root; those
that could not be downloaded are left out. The recording VIDEO_utterance_3 holds its labels in every frame.
"""

from pathlib import Path

import cv2
import numpy as np

from models.errors import AnnotationError
from service.datasets.labelled import EXPRESSIONS_8, Labelled, Split, choice, labelled, number, table

COLUMNS = ("video", "utterance", "arousal", "valence", "EmotionMaxVote")
FILES: dict[Split, str] = {
    "train": "omg_TrainVideos.csv",
    "validation": "omg_ValidationVideos.csv",
    "test": "omg_TestVideos_WithLabels.csv",
}
_ORDER = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
_CLASSES = {str(i): EXPRESSIONS_8.index(name) for i, name in enumerate(_ORDER)}


def read(root: Path) -> list[Labelled]:
    """Return a recording for each utterance that is there. Raise `AnnotationError` for a wrong file, or if none is."""
    videos = {(path.parent.name, path.name): path for path in sorted(root.rglob("utterance_*.mp4"))}
    found = []
    for split, file in FILES.items():
        path = root / file
        for line, row in table(path, COLUMNS) if split != "test" or path.is_file() else ():
            va = (
                number(path, line, "valence", row["valence"], -1, 1),
                number(path, line, "arousal", row["arousal"], 0, 1),
            )
            expression = choice(path, line, "EmotionMaxVote", row["EmotionMaxVote"], _CLASSES)
            media = videos.get((row["video"], row["utterance"]))
            if media is None:
                continue
            length = frames_of(media)
            found.append(
                labelled(
                    f"{row['video']}_{Path(row['utterance']).stem}",
                    split,
                    media,
                    length=length,
                    va=np.tile(np.array(va, np.float32), (length, 1)),
                    expression=np.full(length, expression),
                )
            )
    if not found:
        raise AnnotationError(f"{root} holds none of the utterances; expected VIDEO/utterance_1.mp4 and so on.")
    return found


def frames_of(path: Path) -> int:
    """Return the number of frames that a video declares. Raise `AnnotationError` if it is not a video."""
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if count < 1:
        raise AnnotationError(f"{path} is not a video that can be read.")
    return count
