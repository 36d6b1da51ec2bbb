"""Archives: recordings a second with one and two CPUs, and a run that is killed in the middle and goes on.

The clips are of a second, so that what a recording costs besides its pictures shows. Each run starts with no result.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.errors import UserError
from service.archive.inputs import recordings
from service.archive.run import run
from service.archive.task import Reading, Task
from service.bench.ray_nodes import ray_cluster
from service.capture.media import Frame
from service.capture.open import open_source
from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL

RATE = 5  # pictures a second; a clip has as many
CPUS = (1, 2)


def measure(clips: int) -> dict[str, Any]:
    """Return the rows of all runs over so many clips. Raise `UserError` without Ray, or if a recording failed."""
    with tempfile.TemporaryDirectory(prefix="affectstream-") as made:
        folder = Path(made) / "clips"
        _write_clips(folder, clips)
        rows = [_processes(folder, Path(made) / f"processes-{cpus}", cpus) for cpus in CPUS]
        rows += [_on_ray(folder, Path(made) / f"ray-{cpus}", cpus) for cpus in CPUS]
        rows += _killed(folder, Path(made) / "killed", clips)
    return {"archive": rows}


def _write_clips(folder: Path, count: int) -> None:
    """Write the demo's first pictures as one clip of a second, `count` times."""
    import av

    folder.mkdir()
    first = folder / "clip-000.mp4"
    with av.open(str(first), "w") as out:
        stream: Any = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for picture in _pictures(RATE):
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    for n in range(1, count):
        (folder / f"clip-{n:03d}.mp4").hardlink_to(first)


def _pictures(count: int) -> Iterator[Any]:
    import av

    stop = threading.Event()
    for item in open_source("demo:", realtime=False).read(stop):
        if isinstance(item, Frame):
            yield av.VideoFrame.from_ndarray(item.image, format="rgb24")
            count -= 1
            if not count:
                stop.set()
                return


def _processes(folder: Path, out: Path, cpus: int) -> dict[str, Any]:
    out.mkdir()
    return _timed("processes", folder, out, cpus, None)


def _on_ray(folder: Path, out: Path, cpus: int) -> dict[str, Any]:
    out.mkdir()
    try:
        import ray
    except ImportError:
        raise UserError("bench cluster needs Ray: pip install 'affectstream[cluster]'.") from None
    with ray_cluster("head", *(f"node-{n}" for n in range(cpus))) as nodes:
        try:
            return _timed("Ray Data", folder, out, cpus, nodes.address)
        finally:
            ray.shutdown()


def _timed(way: str, folder: Path, out: Path, cpus: int, cluster: str | None) -> dict[str, Any]:
    """Return the row of one run, whose seconds include the start of processes and engines."""
    reading = Reading(model=DEFAULT_MODEL, engine=DEFAULT_ENGINE)
    begin = time.perf_counter()
    summary = run(_tasks(folder, out), reading, str(out), jobs=cpus, cluster=cluster)
    seconds = time.perf_counter() - begin
    if summary.failed:
        raise UserError(f"bench cluster: {next(iter(summary.failed.values()))}")
    return _row(way, cpus, summary.done, 0, seconds)


def _killed(folder: Path, out: Path, clips: int) -> list[dict[str, Any]]:
    """Return the row of a run that is killed after half of its clips, and of the one that goes on."""
    command = [sys.executable, "-P", "-m", "service.cli", "analyze", str(folder), "--out", f"{out}/", "--jobs", "2"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(_results(out)) < clips // 2:
        if process.poll() is not None:
            raise UserError("bench cluster: the run that was to be killed ended by itself")
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = time.perf_counter() - begin
    time.sleep(1.0)  # its processes end with it
    there = len(_results(out))
    begin = time.perf_counter()
    summary = run(_tasks(folder, out), Reading(model=DEFAULT_MODEL, engine=DEFAULT_ENGINE), str(out), jobs=2)
    return [
        _row("killed", 2, there, 0, first),
        _row("resumed", 2, summary.done - summary.kept, summary.kept, time.perf_counter() - begin),
    ]


def _tasks(folder: Path, out: Path) -> Sequence[Task]:
    return [Task(place=one.place, name=one.name, out=str(out)) for one in recordings([str(folder)])]


def _results(out: Path) -> list[Path]:
    return list(out.glob("*.parquet.meta.json"))


def _row(way: str, cpus: int, read: int, kept: int, seconds: float) -> dict[str, Any]:
    rate = round(read / seconds, 2)
    return {"way": way, "cpus": cpus, "read": read, "kept": kept, "s": round(seconds, 1), "recordings_per_s": rate}
