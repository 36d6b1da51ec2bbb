"""Read EmotioNet: web photographs by their addresses, with action units (Fabian Benitez-Quiroz et al. 2016).

The set is a list of addresses and labels, and everyone downloads the pictures. Layout, untried, since the list is given
on request: `*.csv` (or `*.txt`) tables with the columns `URL` and `AU 1`, `AU 2` and so on, of which 1 is present,
0 absent and 999 not annotated; the picture of an address lies in `images/` under the last part of the address, or under
its row number (`images/17.jpg` for the 17th row of the only table). Pictures that could not be downloaded are left out.
There is no official validation set for the manual labels: a fifth is held out by the hash of the address.
"""

from pathlib import Path
from urllib.parse import urlsplit

from models.errors import AnnotationError
from models.labels import AUS_UNION
from service.datasets.labelled import PICTURES, Labelled, Split, Still, choice, split_of, stills, table

_PRESENT = {"0": 0, "1": 1, "999": -1}


def read(root: Path) -> list[Labelled]:
    """Return the pictures as recordings of stills. Raise `AnnotationError` for a wrong table, or if none is there."""
    tables = sorted(path for path in root.iterdir() if path.suffix in (".csv", ".txt"))
    rows: dict[Split, list[Still]] = {"train": [], "validation": []}
    for path in tables:
        for number, (line, row) in enumerate(table(path, ("URL",)), start=1):
            au = {}
            for unit in AUS_UNION:
                column = f"AU {int(unit[2:])}"
                if column in row:
                    au[unit] = choice(path, line, column, row[column], _PRESENT)
            picture = _picture(root / "images", row["URL"], number if len(tables) == 1 else 0)
            if picture is not None:
                known = {unit: value for unit, value in au.items() if value >= 0}
                rows[split_of(row["URL"])].append(Still(picture, au=known))
    found = [one for split, part in rows.items() for one in stills("emotionet", split, part)]
    if not found:
        raise AnnotationError(f"{root} holds no table of addresses whose pictures are in {root}/images.")
    return found


def _picture(folder: Path, url: str, number: int) -> Path | None:
    name = Path(urlsplit(url).path).name
    names = [name, *(f"{number}{suffix}" for suffix in sorted(PICTURES) if number)]
    return next((folder / one for one in names if one and (folder / one).is_file()), None)
