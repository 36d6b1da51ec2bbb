"""The cores' speed beside a benchmark: each is looked at, and what takes twice the time is half as fast."""

import time
from contextlib import closing

import pytest

from engines.cores import usable_cores
from service.bench import cores as bench_cores
from service.bench.cores import Cores, _Sample


def test_each_core_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cores, "EVERY", 0.01)
    with closing(Cores()) as cores:
        begin = time.monotonic()
        while len({sample.core for sample in cores._samples}) < len(usable_cores()):
            assert time.monotonic() - begin < 60
            time.sleep(0.01)
        speeds = cores.speeds(begin, time.monotonic())
    assert len(speeds) == len(usable_cores())
    assert cores.best > 0


def test_a_speed_is_a_part_of_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cores, "EVERY", 100.0)
    with closing(Cores()) as cores:
        cores._samples += [_Sample(float(t), t % 2, 0.001 if t % 2 == 0 or t < 20 else 0.002) for t in range(100)]
        assert cores.speeds(0, 100) == pytest.approx([1.0, 0.5])
        assert cores.speeds(0, 19) == pytest.approx([1.0, 1.0])
