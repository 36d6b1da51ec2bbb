"""An event: encoded when it is made, the same whoever encoded it, and described field by field in its schema."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from service.events import Event, event_schema


def made() -> tuple[dict[str, Any], Event]:
    data = {"session": "desk", "seq": 4, "state": "live", "faces": [{"track": 3, "aus": {"AU12": 0.5}}]}
    return data, Event.of(data, {3: np.ones((68, 2), np.float32)})


def test_what_goes_out_is_settled_when_the_event_is_made() -> None:
    data, event = made()
    text, with_landmarks = event.text, event.text_with_landmarks
    data["faces"][0]["aus"]["AU12"] = 0.9
    data["seq"] = 5
    assert (event.seq, event.text, event.text_with_landmarks) == (4, text, with_landmarks)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 5  # type: ignore[misc]


def test_an_event_encoded_elsewhere_is_the_same_event() -> None:
    _, event = made()
    other = Event("desk", 4, "live", None, event.text, event.landmarks)
    assert other == event
    assert other.text_with_landmarks == event.text_with_landmarks
    assert len(json.loads(other.text_with_landmarks)["faces"][0]["landmarks"]) == 68


def test_every_field_of_the_schema_is_described() -> None:
    schema = event_schema()
    for name, part in {"event": schema, **schema["$defs"]}.items():
        for field, facts in part["properties"].items():
            assert len(facts.get("description", "")) >= 10, f"{name}.{field} has no description"
