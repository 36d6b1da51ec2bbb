"""Markers of a recording, as people's files have them."""

import csv
from pathlib import Path

import pytest

from models.errors import UserError
from service.capture.marker_file import Marker, read_markers


def test_a_label_may_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    labels = ['a, "b"; c', "two\nlines", "\u2028 and \x0c", "\U0001f600"]
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "time"), *((label, n) for n, label in enumerate(labels))])
    assert [mark.label for mark in read_markers(tmp_path / "m.csv")] == [label.strip() for label in labels]


@pytest.mark.parametrize(
    "text",
    [
        "label,time\nfilm,12.5\nrest,3\n",
        "onset\ttrial_type\n12.5\tfilm\n3\trest\n",
        "\ufeffTime;Label\n12.5;film\n\n3;rest",
        "\ufefflabel;time\r\nfilm;12,5\r\nrest;3,0\r\n",  # a spreadsheet in a country with decimal commas
        "label\ttime\rfilm\t0:12.5\rrest\t0:00:03\r",
    ],
)
def test_the_usual_files_are_read_in_the_order_of_time(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    assert read_markers(tmp_path / "m.csv") == [Marker(3.0, "rest"), Marker(12.5, "film")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,when\nfilm,1\n", "names the columns label, when; markers need a column label and a column time"),
        ("label,time\nfilm,soon\n", "line 2: 'soon' is no time"),
        ("label,time\n,4\n", "line 2: the marker at 4 s has no label"),
        ("label,time\nfilm,-1\n", "'-1' is no time"),
        ("", "names the columns .none."),
        ("label;time\nfilm;1,2,3\n", "'1.2.3' is no time"),
        (f'label,time\n"{"x" * 200_000}', "is no CSV .*; check its quotes"),
    ],
)
def test_what_is_no_marker_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_markers(tmp_path / "m.csv")
