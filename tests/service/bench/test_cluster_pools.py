"""What `bench cluster` reports."""

import json
from pathlib import Path

import numpy as np

from service.bench.cluster import pools, workers
from service.bench.page import write_page


def test_the_engine_waits_as_long_as_its_requests_say_and_answers_each_crop() -> None:
    inputs = pools._request((0.0, 0.0))
    both = {name: np.concatenate([values, values]) for name, values in inputs.items()}
    assert pools.Waiting()(both)["valence_arousal"].shape == (2, 2)


def test_sizes_are_compared_with_as_many_single_replicas() -> None:
    rows = [{"replicas": 1, "requests_per_s": 70.0}, {"replicas": 4, "requests_per_s": 266.0}]
    single, four = pools._ratios(rows)
    assert (single["of_linear_%"], four["of_linear_%"]) == (100, 95)
    assert four["of_the_engines_%"] == round(100 * 266 / 320)


def test_the_page_has_a_table_for_each_part(tmp_path: Path) -> None:
    report = {
        "machine": {"cpu": "2 x test"},
        "replicas": [{"replicas": 1, "requests_per_s": 70.0}],
        "cameras": [{"cameras": 300, "p95_ms": 90}],
    }
    write_page("cluster", report, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| replicas | requests_per_s |\n|---|---|\n| 1 | 70.0 |" in page
    assert "| 300 | 90 |" in page
    assert json.loads((tmp_path / "page.json").read_text("utf-8")) == report


def test_cost_and_latency_are_those_of_all_events_of_both_runs() -> None:
    runs = [workers.Run(10.0, 2.4, [8.0] * 300), workers.Run(10.0, 1.5, [9.0] * 100 + [30.0] * 5)]
    row = workers.row(1, "actors", runs)
    assert row["events/s a stream"] == round(405 / 20, 2)
    assert row[workers.CPU] == round(3900 / 405, 2)
    assert row[workers.P95] == 9.0
