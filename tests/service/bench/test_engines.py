"""What the engine benchmark says: every precision beside eager torch, its errors, and the limit it is held against."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.small_network import write_network

from engines import openvino, quantize, weights
from engines.cache import cache_dir
from engines.cores import usable_cores
from engines.errors import UserError
from service.bench import engines as bench_engines
from service.bench import page
from service.bench.page import write_page
from service.cli import main

pytest.importorskip("torch")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model that is one product of a matrix, measured for no longer than need be."""
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    file = write_network(tmp_path / "small.onnx")
    entry = weights.Weights(
        name="small", file=file.name, computes="nothing", licence="Apache-2.0", commercial=True, trained_on="nothing",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size=file.stat().st_size,
        sources=(weights.Source(path=str(file)),), model="small", version="small-1", trained=False,
    )  # fmt: skip
    monkeypatch.setattr(weights, "entries", lambda: (entry,))
    monkeypatch.setattr(quantize, "available", lambda: False)
    monkeypatch.setattr(bench_engines, "SECONDS", 0.0)
    for side in ("_ROWS", "_INNER", "_COLUMNS"):
        monkeypatch.setattr(bench_engines, side, 64)
    return entry.model


@pytest.fixture
def report(small: str) -> dict[str, object]:
    """The report of that model."""
    return bench_engines.engines([small])


def test_every_precision_runs_beside_eager_torch_with_one_thread_and_with_all(report: dict[str, object]) -> None:
    rows = report["rows"]
    assert isinstance(rows, list)
    lanes = {(row["backend"], row["precision"], row["threads"]) for row in rows}
    counts = {1, len(usable_cores())}
    floats = [precision for precision in openvino.precisions() if precision != "int8"]
    assert lanes == {("torch eager", "fp32", n) for n in counts} | {("openvino", p, n) for p in floats for n in counts}
    for row in rows:
        eager = next(r for r in rows if r["backend"] == "torch eager" and r["threads"] == row["threads"])
        assert row["ratio"] == pytest.approx(eager["ms"] / row["ms"], rel=0.5)
        assert row["p10"] <= row["ms"] <= row["p90"]
        assert row["rounds"] == bench_engines.FEWEST
        assert row["verified"]
        assert row["errors"]["valence/arousal error"] < 0.1
        assert row["gflop"] == pytest.approx(2 * 4 * 3 / 1e9, abs=1e-3)
        assert (row["weights"], row["trained"]) == ("small-1", False)
    assert "NNCF" in str(report["refused"])


def test_a_row_that_is_refused_or_missing_makes_the_command_fail_and_say_so(
    report: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_engines, "engines", lambda *names, **settings: report)
    assert main(["bench", "engines", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == report["rows"]
    assert "NNCF" in said.err
    monkeypatch.setattr(bench_engines, "engines", lambda *names, **settings: {**report, "refused": []})
    assert main(["bench", "engines"]) == 0
    assert not capsys.readouterr().err


def test_a_precision_that_this_cpu_has_not_is_named(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_engines, "precisions", lambda: ("fp32",))
    report = bench_engines.engines([small])
    assert report["refused"] == [
        f"{precision} of {small} is not measured: this CPU has no {precision} arithmetic."
        for precision in ("int8", "bf16")
    ]


def test_a_bench_starts_from_a_cache_without_what_was_computed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_dir()
    (before / "engines" / "of-an-earlier-run.json").parent.mkdir(parents=True, exist_ok=True)
    (before / "engines" / "of-an-earlier-run.json").write_text("{}", "utf-8")
    seen: list[list[str]] = []

    def engines(*names: str, **settings: object) -> dict[str, object]:
        seen.append(sorted(path.name for path in cache_dir().iterdir()))
        return {"rows": [], "refused": []}

    monkeypatch.setattr(bench_engines, "engines", engines)
    assert main(["bench", "engines"]) == 0
    assert set(seen[0]) <= {"weights", "checkpoints"}
    assert cache_dir() == before


def test_the_page_holds_the_table_the_errors_and_a_plot(report: dict[str, object], tmp_path: Path) -> None:
    write_page("engines", report, tmp_path / "docs" / "engines.md")
    text = (tmp_path / "docs" / "engines.md").read_text("utf-8")
    assert "| torch eager | fp32 | 1 |" in text
    assert "valence/arousal error" in text
    assert "(engines.png)" in text
    assert (tmp_path / "docs" / "engines.png").stat().st_size > 1000
    assert json.loads((tmp_path / "docs" / "engines.json").read_text("utf-8")) == report


def test_a_page_that_cannot_be_written_is_a_sentence(report: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "docs").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        write_page("engines", report, tmp_path / "docs" / "engines.md")
    with pytest.raises(UserError, match="bench perception writes no page"):
        write_page("perception", report, tmp_path / "perception.md")


def test_a_report_without_a_plot_is_a_table_and_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda module: None)
    row = {"what": "events", "value": 29.97, "unit": "1/s", "goal": "30"}
    report = {"machine": {"cpu": "2 x test"}, "clip": "demo", "rows": [row]}
    write_page("live", report, tmp_path / "live.md")
    assert "| events | 29.97 | 1/s | 30 |" in (tmp_path / "live.md").read_text("utf-8")
    assert json.loads((tmp_path / "live.json").read_text("utf-8")) == report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.json", "live.md"]
    with pytest.raises(UserError, match="Plots need matplotlib"):
        write_page("streams", report, tmp_path / "streams.md")


@pytest.mark.parametrize("precision", openvino.precisions())
def test_the_limit_is_a_product_in_that_precision(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("_ROWS", "_INNER", "_COLUMNS"):
        monkeypatch.setattr(bench_engines, side, 64)
    found = bench_engines._product(precision, 1)()
    (product,) = found.values()
    rng = np.random.default_rng(0)
    left, right = (rng.uniform(-1, 1, (64, 64)) for _ in range(2))
    np.testing.assert_allclose(product, left @ right, atol=0.3)
