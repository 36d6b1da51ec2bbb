"""What a session showed: a row a second, unknown as None, the oldest forgotten."""

from typing import Any

import pytest

from models.labels import EXPRESSIONS
from service import history
from service.events import Event
from service.history import COLUMNS, Note, SessionHistory


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
    rows = kept.since(-1, 1).rows
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
    assert [value(row, "t") for row in kept.since(3, 2).rows] == [4.0, 6.0, 8.0]


def test_the_largest_face_that_was_read_counts() -> None:
    kept = SessionHistory()
    kept.add(made(event(0.1, track=1), event(0.2, width=200, track=2), event(0.9, width=300, status="abstained")), 0.0)
    assert value(kept.since(-1, 1).rows[0], "track") == 2


def test_where_nobody_is_read_only_the_time_is_known() -> None:
    kept = SessionHistory()
    kept.add(made(), 4.0)
    (row,) = kept.since(-1, 1).rows
    assert row[0] == 4.0
    assert set(row[1:]) == {None}


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7])
def test_the_newest_rows_are_kept_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(history, "ROWS", 5)
    monkeypatch.setattr(history, "_BLOCK", block)
    kept = SessionHistory()
    for n in range(23):
        kept.add(made(event(0.0)), float(n))
        assert [value(row, "t") for row in kept.since(-1, 1).rows] == [float(t) for t in range(max(0, n - 4), n + 1)]
        assert len(kept._blocks) <= 5 // block + 2
    assert kept.clear() == 5
    assert kept.since(-1, 1).rows == []


def test_a_short_session_reserves_little_memory() -> None:
    kept = SessionHistory()
    for n in range(60):
        kept.add(made(event(0.0)), float(n))
    assert sum(block.nbytes for block in kept._blocks) < 200_000


def test_a_row_of_a_long_session_is_as_exact_as_its_event_and_takes_half_of_the_memory() -> None:
    kept = SessionHistory()
    kept.add(made(event(0.1234, track=123_456)), 864_000.0337)  # the tenth day
    (row,) = kept.since(-1, 1).rows
    assert [value(row, name) for name in ("t", "track", "valence")] == [864_000.0337, 123_456, 0.1234]
    assert kept._blocks[0].itemsize < 0.55 * 8 * len(COLUMNS)


def test_notes_of_an_earlier_incarnation_are_before_the_session_began_until_they_are_erased() -> None:
    alert = {"rule": "away", "status": "raised", "since": 7.5, "value": None, "track": None, "t": 8.0}
    notes = [Note("marker", {"label": "begin", "t": 5.0, "at": "2026-11-29T10:00:05.000Z"}, 1005.0)]
    history = SessionHistory([*notes, Note("alert", alert, 1008.0)])
    assert history.since(-1.0, 1).markers == []  # nothing is known of this incarnation's clock
    past = history.since(-1.0, 1, began=1010.0)
    assert past.markers == [{"label": "begin", "t": -5.0, "at": "2026-11-29T10:00:05.000Z"}]
    assert [(one["since"], one["t"]) for one in past.alerts] == [(-2.5, -2.0)]
    assert history.since(0.0, 1, began=1010.0).markers == []
    history.clear()
    assert history.since(-1.0, 1, began=1010.0).alerts == []
