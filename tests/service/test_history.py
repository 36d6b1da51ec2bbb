"""What a session showed: a row a second, unknown as None, the oldest overwritten."""

from typing import Any

import pytest

from models.labels import EXPRESSIONS
from service import history
from service.events import Event
from service.history import COLUMNS, SessionHistory


def event(valence: float | None, *, width: float = 100, status: str = "ok", track: int = 1) -> dict[str, Any]:
    return {
        "track": track,
        "status": status,
        "box": [0, 0, width, width],
        "valence": valence,
        "arousal": 0.1,
        "std": {"valence": 0.3, "arousal": 0.2},
        "from_baseline": {"valence": None, "arousal": None},
        "expression": {"label": "neutral", "probabilities": dict.fromkeys(EXPRESSIONS, 1 / 7)},
        "aus": {"AU12": 0.5},
    }


def made(*faces: dict[str, Any]) -> Event:
    return Event.of({"session": "desk", "seq": 1, "state": "live", "faces": list(faces)})


def value(row: list[float | None], name: str) -> float | None:
    return row[COLUMNS.index(name)]


def test_a_row_a_second_is_kept_however_many_events_there_are() -> None:
    kept = SessionHistory()
    for n in range(91):
        kept.add(made(event(0.5)), n / 30)
    rows = kept.since(-1, 1)
    assert [value(row, "t") for row in rows] == [0.0, 1.0, 2.0, 3.0]
    assert value(rows[0], "valence") == 0.5
    assert value(rows[0], "std_valence") == 0.3
    assert value(rows[0], "AU12") == 0.5
    assert value(rows[0], "from_baseline_valence") is None
    assert value(rows[0], "AU01") is None


def test_rows_after_a_second_and_every_other_one() -> None:
    kept = SessionHistory()
    for n in range(10):
        kept.add(made(event(n / 10)), float(n))
    assert [value(row, "t") for row in kept.since(3, 2)] == [4.0, 6.0, 8.0]


def test_the_largest_face_that_was_read_counts() -> None:
    kept = SessionHistory()
    kept.add(made(event(0.1, track=1), event(0.2, width=200, track=2), event(0.9, width=300, status="abstained")), 0.0)
    assert value(kept.since(-1, 1)[0], "track") == 2


def test_where_nobody_is_read_only_the_time_is_known() -> None:
    kept = SessionHistory()
    kept.add(made(), 4.0)
    (row,) = kept.since(-1, 1)
    assert row[0] == 4.0
    assert set(row[1:]) == {None}


def test_the_oldest_rows_are_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ROWS", 5)
    kept = SessionHistory()
    for n in range(8):
        kept.add(made(event(0.0)), float(n))
    assert [value(row, "t") for row in kept.since(-1, 1)] == [3.0, 4.0, 5.0, 6.0, 7.0]
