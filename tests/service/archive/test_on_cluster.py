"""An archive on a real Ray cluster of two nodes: the same results, and nobody is stopped by a recording that kills."""

from pathlib import Path

import pytest
from helpers import shelf
from helpers.archive import check_fifty, fifty
from helpers.clips import write_clip

from service.bench.ray_nodes import ray_cluster
from service.cli import main

pytest.importorskip("ray", reason="needs the extra cluster")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_cluster_reads_one_recording_a_task_and_goes_on_after_one_that_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import fsspec
    import ray

    fsspec.register_implementation("shelf", shelf.Shelf, clobber=True)
    packages = shelf.install(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", packages)
    folder, out = fifty(tmp_path / "in"), tmp_path / "out"
    command = ["analyze", f"shelf://{folder}", "--out", f"shelf://{out}", "--fps", "5", "--cluster"]
    with ray_cluster("head", "one", "two", PYTHONPATH=packages) as cluster:
        try:
            assert main([*command, cluster.address]) == 1
            assert "47 of 50 recordings are done; 3 failed" in capfd.readouterr().out
            check_fifty(out)
            for name in ("broken.mp4", "cut.mp4"):
                write_clip(folder / name, seconds=0.2)
            (folder / "killer.mp4").unlink()
            assert main([*command, cluster.address]) == 0
            assert "49 of 49 recordings are done, 47 of them before" in capfd.readouterr().out
        finally:
            ray.shutdown()


def test_without_a_cluster_there_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "a.mp4", seconds=0.2)
    command = ["analyze", str(tmp_path / "a.mp4"), "--out", f"{tmp_path}/out/", "--cluster", "127.0.0.1:1"]
    assert main(command) == 2
    assert "There is no Ray cluster at 127.0.0.1:1" in capfd.readouterr().err
