"""The cores that a process may use: by its affinity, and by the quota of its control group."""

import os
from pathlib import Path

import pytest

from engines import cores, openvino

ALL = list(range(8))


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process's control group, two below the top, on a machine of eight cores."""
    own = tmp_path / "proc" / "cgroup"
    own.parent.mkdir()
    own.write_text("12:cpu:/old\n0::/system.slice/affect.service\n", "utf-8")
    top = tmp_path / "cgroup"
    folder = top / "system.slice" / "affect.service"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cores, "_GROUPS", top)
    monkeypatch.setattr(cores, "_OWN_GROUP", own)
    monkeypatch.setattr(cores, "_allowed", lambda: ALL)
    return folder


def test_without_a_limit_all_cores_are_usable(group: Path) -> None:
    (group / "cpu.max").write_text("max 100000\n", "utf-8")
    assert cores.cpu_quota() is None
    assert cores.usable_cores() == ALL
    assert cores.usable_share() == 8
    assert cores.shortage() == ""


def test_half_a_core_is_one_core_and_a_sentence(group: Path) -> None:
    (group / "cpu.max").write_text("50000 100000\n", "utf-8")
    assert cores.usable_share() == 0.5
    assert len(cores.usable_cores()) == 1
    assert "0.5 of a core's time" in cores.shortage()
    assert openvino.threads_for(1, 4, heavy=True) == 1  # not a thread for each of the machine's cores
    assert openvino.threads_for(1, 4, heavy=False) == 1


def test_the_lowest_limit_of_the_groups_above_counts(group: Path) -> None:
    (group / "cpu.max").write_text("400000 100000\n", "utf-8")
    (group.parent / "cpu.max").write_text("250000 100000\n", "utf-8")
    assert cores.cpu_quota() == 2.5
    chosen = cores.usable_cores()
    assert len(set(chosen)) == 3
    assert set(chosen) <= set(ALL)
    assert chosen == cores.usable_cores()


@pytest.mark.parametrize("text", ["", "nonsense", "0 100000", "50000 0", "-1 100000"])
def test_a_limit_that_cannot_be_read_is_none(group: Path, text: str) -> None:
    (group / "cpu.max").write_text(text, "utf-8")
    assert cores.usable_cores() == ALL


def test_a_container_that_sees_no_group_of_its_own_reads_the_top(group: Path) -> None:
    cores._OWN_GROUP.write_text("0::/../../elsewhere\n", "utf-8")
    (cores._GROUPS / "cpu.max").write_text("100000 100000\n", "utf-8")
    assert cores.cpu_quota() == 1
    cores._OWN_GROUP.unlink()
    assert cores.cpu_quota() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_one_core_is_one_core() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.usable_cores() == [min(before)]
        assert openvino.threads_for(1, 16, heavy=False) == 1
    finally:
        os.sched_setaffinity(0, before)
