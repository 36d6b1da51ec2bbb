"""The audit trail: what its lines hold."""

import json
import logging

import pytest

from service import audit


def test_a_line_is_json_with_a_pseudonym(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, audit.LOGGER):
        audit.write("start", "desk", source="camera", purpose="art")
        audit.write("export", format="csv", events=3)
    start, export = (json.loads(record.getMessage()) for record in caplog.records)
    assert start == {"action": "start", "session": audit.pseudonym("desk"), "source": "camera", "purpose": "art"}
    assert export == {"action": "export", "format": "csv", "events": 3}


def test_a_name_has_one_pseudonym_that_does_not_hold_it() -> None:
    assert audit.pseudonym("desk") == audit.pseudonym("desk")
    assert audit.pseudonym("desk") != audit.pseudonym("door")
    assert "desk" not in audit.pseudonym("desk")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("demo:", "demo"), ("camera:0", "camera"), ("rtsp://user:secret@camera.lab/1", "rtsp"), ("whip:", "whip"),
        ("anna.mp4", "file"), ("C:\\anna.mp4", "file"), ("file:/home/anna/clip.mp4", "file"),
        ("/home/anna:1.mp4", "file"),
    ],
)  # fmt: skip
def test_of_a_source_the_kind_alone_is_told(source: str, kind: str) -> None:
    assert audit.kind_of(source) == kind
