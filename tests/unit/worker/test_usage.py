"""What programs use: from the kernel's files of both versions, the engine's answer, and /proc."""

import asyncio
import os
from pathlib import Path

import pytest

from gridd_worker import usage
from gridd_worker.usage import Gauge, Use, descendants, of_container, of_engine, of_processes

ID = "f3b755c9" * 8


def write(root: Path, **files: str) -> None:
    root.mkdir(parents=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize("group", [f"docker/{ID}", f"system.slice/docker-{ID}.scope"])
def test_groups_of_version_1(tmp_path: Path, group: str) -> None:
    stat = "cache 1\ninactive_file 5\ntotal_inactive_file 300\n"
    memory = {"memory__usage_in_bytes": "1000\n", "memory__stat": stat}
    write(tmp_path / "memory" / group, **memory)
    write(tmp_path / "cpuacct" / group, cpuacct__usage="2500000000\n")
    assert of_container(ID, tmp_path) == Use(2.5, 700)


@pytest.mark.parametrize("group", [f"docker/{ID}", f"system.slice/docker-{ID}.scope"])
def test_groups_of_version_2(tmp_path: Path, group: str) -> None:
    write(
        tmp_path / group,
        memory__current="1000\n",
        memory__stat="anon 1\ninactive_file 300\n",
        cpu__stat="usage_usec 2500000\nuser_usec 1\n",
    )
    assert of_container(ID, tmp_path) == Use(2.5, 700)


def test_groups_that_are_not_there_or_half_gone(tmp_path: Path) -> None:
    assert of_container(ID, tmp_path) is None
    write(tmp_path / "memory" / "docker" / ID, memory__usage_in_bytes="", memory__stat="")
    assert of_container(ID, tmp_path) is None


def test_the_engines_answer_of_both_versions() -> None:
    cpu = {"cpu_usage": {"total_usage": 1_500_000_000}}
    old = {"usage": 1000, "stats": {"inactive_file": 1, "total_inactive_file": 300}}
    new = {"usage": 1000, "stats": {"inactive_file": 400}}
    assert of_engine({"cpu_stats": cpu, "memory_stats": old}) == Use(1.5, 700)
    assert of_engine({"cpu_stats": cpu, "memory_stats": new}) == Use(1.5, 600)
    assert of_engine({"cpu_stats": cpu, "memory_stats": {}}) is None, "it has just ended"
    assert of_engine({}) is None


async def test_processes_with_their_children() -> None:
    command = ("sh", "-c", "sleep 60 & sleep 60")
    process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    try:
        async with asyncio.timeout(10):
            while len(found := descendants(process.pid)) < 3:
                await asyncio.sleep(0.01)
        use = of_processes(found)
        assert use is not None
        assert use.cpu_s < 5
        assert 100_000 < use.memory < 100_000_000
    finally:
        os.killpg(process.pid, 9)
        await process.wait()
    assert of_processes([process.pid]) is None


async def test_a_gauge_makes_a_rate_of_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    gauge = Gauge(lambda: now)
    gauge.take(Use(1.0, 500))
    assert (gauge.cpus, gauge.memory) == (None, 500)
    now = 2.0
    gauge.take(Use(4.0, 600))
    assert (gauge.cpus, gauge.memory) == (1.5, 600)
    now = 4.0
    gauge.take(Use(3.0, 100))
    assert (gauge.cpus, gauge.memory) == (0.0, 100), "a process went that nobody waited for"

    async def hangs() -> Use:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(usage, "LOOK_MAX_S", 0.01)
    now = 6.0
    await gauge.look(hangs)
    assert (gauge.cpus, gauge.memory) == (None, None), "never an old number for a new one"
    now = 8.0
    gauge.take(Use(5.0, 7))
    assert (gauge.cpus, gauge.memory) == (None, 7)
