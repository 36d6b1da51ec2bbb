"""`affectstream bench gpu`: without a GPU one sentence; the rest with the CPU in the GPU's place."""

import json
from pathlib import Path

import pytest
import torch

from engines import load, split, weights
from engines.gpu import torch_cuda
from engines.gpu.torch_cuda import TorchEngine
from engines.load import Backend
from service.bench import gpu as bench_predictions
from service.bench import gpu_batches as bench_gpu
from service.bench.lanes import Eager
from service.bench.page import tables, write_page
from service.cli import main


def test_without_a_gpu_the_sentence_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["bench", "gpu"]) == 2
    assert "sees no NVIDIA GPU here" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_every_engine_is_measured_beside_eager_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_(entry: weights.Weights, precision: str, *_: int) -> load.Engine:
        return split.opened(weights.verified(entry), lambda path: TorchEngine(path, precision=precision, device="cpu"))

    precisions = lambda: ("bf16", "fp32")  # noqa: E731
    backend = Backend(precisions, open_, torch_cuda.version, lambda: "none")
    monkeypatch.setattr(torch_cuda, "precisions", precisions)
    monkeypatch.setattr(torch_cuda, "device", lambda: "none")
    monkeypatch.setattr(load, "BACKENDS", {**load.BACKENDS, "torch": backend})
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(Eager, "cuda", lambda self: self)
    monkeypatch.setattr(bench_gpu, "_peak", lambda precision: 1.0)
    monkeypatch.setattr(bench_gpu, "MOST", 3)
    monkeypatch.setattr(bench_gpu, "BATCHES", (1, 2))
    row = {"model": "face-mt", "sessions": 2}
    monkeypatch.setattr(bench_predictions, "streams", lambda *_: row)
    assert main(["bench", "gpu", "--model", "face-mt", "--json", "--out", str(tmp_path / "gpu.md")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(r["backend"], r["precision"], r["batch"]) for r in report["rows"]] == [
        (backend, precision, batch)
        for batch in (1, 2)
        for backend, precision in (("torch eager", "fp32"), ("torch", "bf16"), ("torch", "fp32"))
    ]
    assert {r["ratio"] for r in report["rows"] if r["backend"] == "torch eager"} == {1.0}
    assert all(r["verified"] for r in report["rows"] if r["backend"] == "torch")
    assert [part["precision"] for part in report["convolutions"]] == ["bf16", "fp32"]
    assert [len(rows) for rows in tables(report)] == [6, 2, 1]
    page = (tmp_path / "gpu.md").read_text("utf-8")
    assert "- face-mt torch bf16, 64 samples: " in page
    assert (tmp_path / "gpu.png").stat().st_size > 0
    with pytest.raises(Exception, match=r"writes no page; --out is for live, .*, gpu, cluster\."):
        write_page("perception", report, tmp_path / "perception.md")


def test_sessions_get_their_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    row = bench_predictions.streams("face-mt", "openvino", sessions=3, processes=2, seconds=4.0)
    assert (row["engine"], row["sessions"], row["processes"]) == ("openvino:int8", 3, 2)
    assert 0 < row["slowest"] <= row["mean"] <= 60.0  # they want 30 a second
    assert row["p50_ms"] <= row["p95_ms"]
