"""The events of a short film as `analyze` makes them: one face that begins to smile, a blink, two markers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from helpers.affect_events import a_face, a_marker, an_event

from models.labels import EXPRESSIONS
from service.events import Event

STEP = 1 / 30  # s
PICTURES = 30
SMILE_FROM, BLINK_AT = 10, 20  # numbers of pictures, from 0


def film() -> Iterator[Event]:
    """Thirty pictures in a second; picture 5 shows nobody, and picture 25 somebody else beside the first face."""
    for n in range(PICTURES):
        if n == 3:
            yield a_marker(n, "cue, <A> & B", t=0.09)
        if n == 12:
            yield a_marker(n, "film", t=0.4)
        faces = [] if n == 5 else [_face(n)]
        if n == 25:
            faces.append(_face(n, track=7))
        event = an_event(n, *faces)
        points = np.arange(136, dtype=np.float32).reshape(68, 2)
        yield Event.of(event.data, {face["track"]: points for face in faces})


def _face(n: int, track: int = 1) -> dict[str, Any]:
    smiles = n >= SMILE_FROM
    shares = dict.fromkeys(EXPRESSIONS, 0.0) | ({"happiness": 1.0} if smiles else {"neutral": 1.0})
    eyes: dict[str, Any] = {
        "openness": 0.9, "closed": False, "blink_ms": 133 if n == BLINK_AT else None, "blinks": int(n >= BLINK_AT),
        "blinks_per_min": None, "reasons": [],
    }  # fmt: skip
    return a_face(
        track,
        expression={"label": "happiness" if smiles else "neutral", "probabilities": shares},
        aus={"AU04": 0.1, "AU12": 0.9 if smiles else 0.2, "AU45": 0.7},
        intensities={"AU12": 3.5},
        gaze={"yaw": 90.0, "pitch": 45.0, "age_ms": 0, "reasons": []},
        eyes=eyes,
    )
