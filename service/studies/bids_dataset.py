"""A study as a BIDS dataset: where the files of each recording lie, and those that describe the whole."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affectstream import __version__
from models.errors import UserError
from models.files import write_text
from service.archive import storage

FOLDER = "bids"  # of the results
VERSION = "1.9.0"
README = """The faces of the recordings of the study {name}, as Affectstream {version} read them.

Valence, arousal, expressions and action units are continuous recordings; markers, blinks, nods and shakes are events.
What made each file, with the SHA-256 of its recording, is in its JSON under Affectstream. The recordings are not here.
"""


def places(study: str, recordings: Sequence[tuple[str, str]]) -> list[str]:
    """Return the path in the dataset, without suffix, of each recording's files: participants and conditions to names.

    The task is the condition, or the study where there is none; recordings that share both are runs. Raise `UserError`
    for names of which no letters or digits are left, and for two participants that would have one name.
    """
    people: dict[str, str] = {}
    matches = []
    for participant, condition in recordings:
        subject = _label(participant, "the participant")
        if people.setdefault(subject, participant) != participant:
            raise UserError(
                f"format: BIDS would call the participants {people[subject]!r} and {participant!r} both sub-{subject}, "
                "because it allows letters and digits alone; change the id of one"
            )
        task = _label(condition or study, "the condition")
        matches.append((subject, task))
    shared, seen = Counter(matches), Counter[tuple[str, str]]()
    found = []
    for one in matches:
        seen[one] += 1
        subject, task = one
        run = f"_run-{seen[one]}" if shared[one] > 1 else ""
        found.append(f"sub-{subject}/beh/sub-{subject}_task-{task}{run}")
    return found


def write_description(folder: str, study: str, participants: Sequence[str]) -> None:
    """Write the files that describe the dataset in `folder`. Raise `UserError` if it does not take them."""
    description: Mapping[str, Any] = {
        "Name": study,
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Affectstream", "Version": __version__}],
    }
    rows = ["participant_id", *(f"sub-{_label(name, 'the participant')}" for name in participants)]
    texts = {
        "dataset_description.json": json.dumps(description, indent=1, ensure_ascii=False) + "\n",
        "participants.tsv": "\n".join(rows) + "\n",
        "README": README.format(name=study, version=__version__),
    }
    with tempfile.TemporaryDirectory(prefix="affectstream-") as aside:
        for name, text in texts.items():
            path = Path(aside) / name
            write_text(path, text)
            storage.write(path, storage.join(folder, name))


def _label(name: str, what: str) -> str:
    """Return `name` with letters and digits alone, as BIDS wants its labels. Raise `UserError` if none is left."""
    label = re.sub(r"[^0-9A-Za-z]", "", name)
    if not label:
        raise UserError(f"format: BIDS allows letters and digits alone, and {what} {name!r} has none; change it")
    return label
