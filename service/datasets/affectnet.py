"""Read AffectNet: web photographs with expression, valence and arousal (Mollahosseini, Hasani and Mahoor 2017).

Layout, from its public description; tried on generated files only: `training.csv` and `validation.csv` have the columns
`subDirectory_filePath`, `expression`, `valence`, `arousal` among others; pictures lie under
`Manually_Annotated_Images/` by that path. Expressions are 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear,
5 disgust, 6 anger, 7 contempt; 8 none, 9 uncertain and 10 no face have no label here, nor have
valence and arousal of -2. Pictures that are not there are left out.
"""

from pathlib import Path

from models.errors import AnnotationError
from models.metrics import CLASS_SENTINEL, VA_SENTINEL
from service.datasets.labelled import EXPRESSIONS_8, Labelled, Split, Still, choice, number, stills, table

COLUMNS = ("subDirectory_filePath", "expression", "valence", "arousal")
FILES: dict[Split, str] = {"train": "training.csv", "validation": "validation.csv"}
IMAGES = "Manually_Annotated_Images"
_ORDER = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
_CLASSES = {str(i): EXPRESSIONS_8.index(name) for i, name in enumerate(_ORDER)} | dict.fromkeys(
    ("8", "9", "10"), CLASS_SENTINEL
)
_UNKNOWN = -2.0


def read(root: Path) -> list[Labelled]:
    """Return the pictures as recordings of stills. Raise `AnnotationError` for a wrong file, or if none is there."""
    found = []
    for split, file in FILES.items():
        path, rows = root / file, []
        for line, row in table(path, COLUMNS):
            valence = number(path, line, "valence", row["valence"], _UNKNOWN, 1)
            arousal = number(path, line, "arousal", row["arousal"], _UNKNOWN, 1)
            known = min(valence, arousal) >= -1
            picture = root / IMAGES / row["subDirectory_filePath"]
            expression = choice(path, line, "the expression", row["expression"], _CLASSES)
            if picture.is_file():
                va = (valence, arousal) if known else (VA_SENTINEL, VA_SENTINEL)
                rows.append(Still(picture, va, expression))
        found += stills("affectnet", split, rows)
    if not found:
        raise AnnotationError(f"{root}/{IMAGES} holds none of the pictures that {', '.join(FILES.values())} name.")
    return found
