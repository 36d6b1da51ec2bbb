"""Read RAF-DB: web photographs with a basic or a compound expression (Li, Deng and Du 2017).

Layout, from its public description; tried on generated files only: `basic/EmoLabel/list_patition_label.txt` (spelt so)
and `compound/EmoLabel/list_patition_label.txt` hold lines such as `train_00001.jpg 5`; pictures lie in
`basic/Image/aligned/train_00001_aligned.jpg` (or `original/train_00001.jpg`). Basic labels are 1 surprise, 2 fear, 3
disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral; compound ones are 1 to 11 in the order of
`models.labels.COMPOUND_EXPRESSIONS`. The set's test part is for validation here. A part that is absent is left out.
"""

from pathlib import Path

from models.errors import AnnotationError
from models.labels import COMPOUND_EXPRESSIONS
from service.datasets.labelled import EXPRESSIONS_8, Labelled, Split, Still, choice, lines, stills

LABELS = Path("EmoLabel") / "list_patition_label.txt"
_SPLITS: dict[str, Split] = {"train": "train", "test": "validation"}
_ORDER = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_BASIC = {str(i): EXPRESSIONS_8.index(name) for i, name in enumerate(_ORDER, start=1)}
_COMPOUND = {str(i): i - 1 for i in range(1, len(COMPOUND_EXPRESSIONS) + 1)}


def read(root: Path) -> list[Labelled]:
    """Return the pictures as recordings of stills. Raise `AnnotationError` for a wrong file, or if no part is there."""
    found = []
    for part, classes in (("basic", _BASIC), ("compound", _COMPOUND)):
        path = root / part / LABELS
        if not path.is_file():
            continue
        rows: dict[Split, list[Still]] = {"train": [], "validation": []}
        for line, text in enumerate(lines(path), start=1):
            name, _, label = text.strip().partition(" ")
            kind = name.partition("_")[0]
            if kind not in _SPLITS:
                raise AnnotationError(f"{path}, line {line}: expected train_00001.jpg or test_0001.jpg and a number.")
            value = choice(path, line, "the label", label.strip(), classes)
            picture = _picture(path, line, root / part / "Image", name)
            still = Still(picture, expression=value) if part == "basic" else Still(picture, compound=value)
            rows[_SPLITS[kind]].append(still)
        for split, pictures in rows.items():
            found += stills(f"rafdb_{part}", split, pictures)
    if not found:
        raise AnnotationError(f"{root} holds neither basic/{LABELS} nor compound/{LABELS}.")
    return found


def _picture(path: Path, line: int, folder: Path, name: str) -> Path:
    stem = name.removesuffix(".jpg")
    for picture in (folder / "aligned" / f"{stem}_aligned.jpg", folder / "original" / name):
        if picture.is_file():
            return picture
    raise AnnotationError(f"{path}, line {line}: expected {folder}/aligned/{stem}_aligned.jpg, and it is not there.")
