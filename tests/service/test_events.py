"""An event: encoded when it is made, the same whoever encoded it, and described field by field in its schema."""

import dataclasses
import json
import re
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


# A unit, a scale, or what is counted.
UNIT = re.compile(
    r"milliseconds|\bseconds|\bdegrees|\bpixels|\bdB\b|\d( \([^)]*\))? to \d|\bnumber of|\bcounts|\bper second|"
    r"\ba minute|\bdistances|\btrack of|in the unit of",
    re.IGNORECASE,
)


def _is_number(facts: dict[str, Any]) -> bool:
    """Whether a field is a number, or holds numbers."""
    inside = [facts[key] for key in ("items", "additionalProperties") if isinstance(facts.get(key), dict)]
    return facts.get("type") in ("number", "integer") or any(map(_is_number, [*facts.get("anyOf", []), *inside]))


def test_every_field_of_the_schema_is_described_with_its_unit() -> None:
    schema = event_schema()
    fields = [
        (f"{name}.{field}", facts)
        for name, part in {"event": schema, **schema["$defs"]}.items()
        for field, facts in part["properties"].items()
    ]
    assert len(fields) > 100
    assert [name for name, facts in fields if len(facts.get("description", "")) < 10] == []
    numbers = [(name, facts) for name, facts in fields if _is_number(facts)]
    assert len(numbers) > 50
    assert [name for name, facts in numbers if not UNIT.search(facts["description"])] == []


def test_every_object_of_the_schema_says_what_it_is() -> None:
    schema = event_schema()
    assert schema["$id"].startswith("urn:")
    assert [name for name, part in schema["$defs"].items() if len(part.get("description", "")) < 20] == []
