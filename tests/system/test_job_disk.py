"""Jobs that write for ever: each is ended, with the reason, and its neighbours go on. On a real
engine, with limits of some megabytes."""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from gridd_worker import disk_watch
from gridd_worker.disk_watch import DiskWatch
from gridd_worker.docker import disk as docker_disk
from gridd_worker.docker.config import cache_volume
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.runtime import Outcome

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
WORKER = f"tester-{os.getpid()}"
LIMIT = 24 << 20
ENDED_S = 12.0  # looked at every 2 s and gone 2 s later; a shared machine gets more
SEEN = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what is in a volume")
# A megabyte at a time and not as fast as it can: a test must not fill the machine either.
FOREVER = "while :; do dd if=/dev/zero bs=1M count=1 2>/dev/null >>{}; sleep 0.02; done"


def shell(script: str, **members: Any) -> dict[str, Any]:
    quoted = script.replace("'", "'\\''")
    return {"image": IMAGE, "command": f"sh -c '{quoted}'", **members}


@asynccontextmanager
async def opened(watch: DiskWatch) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(worker=WORKER, disk=watch)
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.close()


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker(url="unix:///var/run/docker.sock") as docker:
        yield docker


@pytest.fixture
async def queue(engine: aiodocker.Docker) -> AsyncIterator[str]:
    name = f"tests {uuid.uuid4()}"
    yield name
    volume = aiodocker.volumes.DockerVolume(engine, cache_volume(name))
    with contextlib.suppress(aiodocker.DockerError):  # it may never have been made
        await volume.delete()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_watch, "LOOK_S", 0.2)


async def containers(engine: aiodocker.Docker) -> list[Any]:
    ours = {"label": [f"gridd.worker={WORKER}"]}
    return list(await engine.containers.list(all=True, filters=ours))


def is_over(outcome: Outcome, where: str) -> None:
    assert outcome.error is not None
    assert outcome.error.startswith("the job wrote ")
    assert "24 MiB are allowed (--job-disk): " in outcome.error
    assert f"MiB in {where}" in outcome.error
    assert outcome.exit_code == 137
    assert not outcome.timed_out
    assert outcome.remarks == [f"💥 {outcome.error}", "💥 StatusCode: 137"]


async def test_who_writes_for_ever_is_ended_and_a_neighbour_is_not(bench, engine) -> None:
    ways = {"/tmp/big": "its own files", "/outputs/big": "/outputs"}
    async with opened(DiskWatch(LIMIT)) as runtime:
        task = bench.task(shell("echo small >/tmp/small; sleep 60"))
        neighbour = await runtime.start(task, lambda *_: None, lambda: None)
        try:
            began = time.monotonic()
            tasks = [bench.task(shell(FOREVER.format(file))) for file in ways]
            ended = await asyncio.gather(*(bench.run(runtime, task) for task in tasks))
            assert time.monotonic() - began < ENDED_S
            for (outcome, _), where in zip(ended, ways.values(), strict=True):
                is_over(outcome, where)
            [left] = await containers(engine)
            assert left["State"] == "running", "the neighbour's"
        finally:
            await neighbour.stop()
    assert await containers(engine) == []


HIDDEN = {
    "many small files": (
        "mkdir /tmp/d; n=0; while :; do n=$((n+1)); head -c 999999 /dev/zero >/tmp/d/$n; done",
        "its own files",
    ),
    "folders deeper than any path": (
        "cd /tmp; n=0; while [ $n -lt 60 ]; do n=$((n+1));"
        " d=$(printf %0200d $n); mkdir $d && cd $d; done; " + FOREVER.format("big"),
        "its own files",
    ),
    "a file without a name": (
        "exec 3>/tmp/f; rm /tmp/f; while :; do head -c 1000000 /dev/zero >&3; sleep 0.02; done",
        "files that it removed and holds open",
    ),
    "in a volume of the image": (FOREVER.format("/data/big"), "volumes of the image"),
}


@SEEN
async def test_other_places_and_ways(bench, engine, queue, often) -> None:
    """Each is ended for what it does itself, all at once."""
    definitions = {way: shell(script) for way, (script, _) in HIDDEN.items()}
    text = f"FROM {IMAGE}\nVOLUME /data\n# {uuid.uuid4()}\n"
    command = definitions["in a volume of the image"]["command"]
    definitions["in a volume of the image"] = {"build": {"dockerfile": text}, "command": command}
    async with opened(DiskWatch(LIMIT)) as runtime:
        tasks = [bench.task(definition, queue=queue) for definition in definitions.values()]
        ended = await asyncio.gather(*(bench.run(runtime, task) for task in tasks))
    for (outcome, _), (_, where) in zip(ended, HIDDEN.values(), strict=True):
        is_over(outcome, where)
    assert await containers(engine) == []
    ours = {"reference": ["gridd-built"], "label": [f"gridd.builder={WORKER}"]}
    for image in await engine.images.list(filters=ours):
        await engine.images.delete(image["Id"], force=True)


async def test_the_engine_is_asked_where_its_folders_can_not_be_seen(
    bench, monkeypatch, often
) -> None:
    monkeypatch.setattr(docker_disk, "_visible", lambda _: None)
    async with opened(DiskWatch(LIMIT)) as runtime:
        outcome, _ = await bench.run(runtime, bench.task(shell(FOREVER.format("/big"))))
        is_over(outcome, "its own files")


@SEEN
async def test_who_shares_the_cache_with_one_that_fills_it_goes_on(bench, queue, often) -> None:
    async with opened(DiskWatch(LIMIT)) as runtime:
        small = "while :; do date >>/job-cache/log; date >>/tmp/log; sleep 0.1; done"
        neighbour = await runtime.start(
            bench.task(shell(small), queue=queue), lambda *_: None, lambda: None
        )
        waiting = asyncio.create_task(neighbour.wait())
        try:
            script = FOREVER.format("/job-cache/big")
            outcome, _ = await bench.run(runtime, bench.task(shell(script), queue=queue))
            assert (outcome.error or "").startswith("the job filled the /job-cache of its queue to")
            assert outcome.exit_code == 137
            await asyncio.sleep(0.5)  # two looks
            assert not waiting.done()
        finally:
            await neighbour.stop()
            await waiting


@SEEN
async def test_a_cache_that_short_jobs_have_filled_is_emptied(
    bench, engine, queue, often, until: Callable[..., Any]
) -> None:
    add = shell(
        "head -c 13000000 /dev/zero >/job-cache/$(cat /proc/sys/kernel/random/uuid);"
        " ls /job-cache | wc -l"
    )
    async with opened(DiskWatch(LIMIT)) as runtime:
        counts: list[int] = []
        while len(counts) < 15 and counts[-1:] >= sorted(counts)[-1:]:
            outcome, heard = await bench.run(runtime, bench.task(add, queue=queue))
            assert outcome.exit_code == 0, outcome
            counts.append(int(heard.text()))
            await asyncio.sleep(0.25)  # a look in the background is due then
    assert counts[-1] == 1, f"it grew on and on: {counts}"


async def test_a_full_disk_ends_the_one_that_wrote_the_most(
    bench, engine, small_disk: Path, often
) -> None:
    """40 MB, of which 24 are to be kept: the one that writes ends, the other does not. There is no
    limit for each."""
    bench.data = small_disk
    async with opened(DiskWatch(0, 24 << 20, [small_disk])) as runtime:
        little = shell("head -c 2000000 /dev/zero >/outputs/little; sleep 60")
        neighbour = await runtime.start(bench.task(little), lambda *_: None, lambda: None)
        try:
            script = FOREVER.format("/outputs/big")
            outcome, _ = await bench.run(runtime, bench.task(shell(script)))
            assert (outcome.error or "").startswith("the worker's disk is full (")
            assert "24 MiB are kept: --min-free-disk" in (outcome.error or "")
            [left] = await containers(engine)
            assert left["State"] == "running"
        finally:
            await neighbour.stop()


async def test_a_limit_of_the_engines_own_is_used_where_it_has_one(bench, engine, until) -> None:
    """This engine has none: it refuses to make such a container, once, and the job runs."""
    async with opened(DiskWatch(LIMIT)) as runtime:
        shown = await engine.system.info()
        if docker_disk.may_size_layers(shown):
            pytest.skip(f"the engine's {shown['Driver']} may limit layers by itself")
        runtime._sizes_layers = True
        outcome, heard = await bench.run(runtime, bench.task(shell("echo on")))
        assert (outcome.exit_code, heard.text()) == (0, "on\n")
        assert not runtime._sizes_layers
