"""The report on a session that runs, from what the service remembers."""

import math

from models.labels import EXPRESSIONS
from service.history import COLUMNS, Past
from service.report.session_report import readings, report


def past() -> Past:
    """Ten seconds: a smile with two markers, and a second in which nobody was read."""
    rows: list[list[float | None]] = []
    for second in range(10):
        row: dict[str, float | None] = dict.fromkeys(COLUMNS)
        row["t"] = float(second)
        if second != 4:
            row |= {"track": 1.0, "valence": 0.1 * second, "arousal": 0.2, "std_valence": 0.3, "std_arousal": 0.2}
            row |= dict.fromkeys(EXPRESSIONS, 0.1) | {"happiness": 0.4, "AU12": 0.9}
        rows.append([row[name] for name in COLUMNS])
    markers = [{"t": 2.2, "label": "film <b>"}, {"t": 7.0, "label": "rest; eyes shut"}]
    return Past(rows, markers, [])


def test_each_second_of_the_history_is_a_reading() -> None:
    found = readings("desk", past(), trained=True)
    assert found.t.tolist() == [float(second) for second in range(10)]
    assert found.read.tolist() == [second != 4 for second in range(10)]
    assert math.isclose(found.columns["valence"][3], 0.3)
    assert math.isclose(found.columns["AU12_p"][9], 0.9)
    assert found.markers() == [(2.0, "film <b>"), (7.0, "rest, eyes shut")]
    assert found.faces == 1


def test_the_page_is_whole_and_says_where_it_comes_from() -> None:
    page = report("desk", past(), trained=True)
    assert "Session desk" in page
    assert "A face was read in 90% of" in page
    assert "film &lt;b&gt;" in page
    assert "one reading a second" in page
    assert "<script" not in page
    assert "untrained" not in page


def test_untrained_weights_are_named() -> None:
    assert "The weights are untrained" in report("desk", past(), trained=False)


def test_a_session_that_has_shown_nothing_has_a_report_too() -> None:
    assert "Session desk" in report("desk", Past([], [], []), trained=True)
