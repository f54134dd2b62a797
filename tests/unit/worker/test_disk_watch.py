"""Who has to be stopped for what was written, and how it is counted."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gridd_worker import disk_use, disk_watch
from gridd_worker.config import load
from gridd_worker.disk_use import Excess, Part, SharedFolder, occupied, unnamed, written
from gridd_worker.disk_watch import DiskWatch
from gridd_worker.docker.disk import DockerDisk, _ContainerDisk, may_size_layers
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.process.runtime import ProcessRuntime
from gridd_worker.runtimes import make_runtime

MB = 1 << 20


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_watch, "LOOK_S", 0.001)


def writes(*sizes: int | Exception, then: asyncio.Event | None = None) -> Callable[[], object]:
    """A run that is found to have written these, one after the other, and then nothing more."""
    left = list(sizes)

    async def measure() -> list[Part]:
        if len(left) == 1 and then is not None:
            then.set()
        size = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(size, Exception):
            raise size
        return [Part("its own files", size), Part("/outputs", 1)]

    return measure


async def why(watch: DiskWatch, measure: Callable[[], object]) -> str:
    async with asyncio.timeout(10):
        return await watch.look_after(measure)  # type: ignore[arg-type]


async def test_more_than_the_limit_is_said_with_its_places() -> None:
    watch = DiskWatch(10 * MB)
    assert await why(watch, writes(MB, 10 * MB - 1, 10 * MB)) == (
        "the job wrote 10 MiB to the worker's disk; 10 MiB are allowed (--job-disk): "
        "10 MiB in its own files, 1 B in /outputs"
    )
    assert watch._writers == []


async def test_what_can_not_be_looked_at_now_is_looked_at_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = DiskWatch(10 * MB)
    said = await why(watch, writes(OSError("gone"), TimeoutError(), KeyError("ours"), 11 * MB))
    assert said.startswith("the job wrote 11 MiB")
    assert "a fault of the worker itself" in caplog.text
    assert await why(watch, writes(Excess("too many"))) == "too many"


async def test_no_limit_no_end() -> None:
    looked = asyncio.Event()
    watch = DiskWatch(0)
    assert not watch.wanted
    task = asyncio.create_task(why(watch, writes(1 << 50, then=looked)))
    await looked.wait()
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()


async def test_a_slow_look_is_followed_by_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    now = 0.0

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def slow() -> list[Part]:
        nonlocal now
        now += 3.0 if len(slept) == 1 else 30.0
        return [Part("its own files", 11 * MB if len(slept) == 3 else 0)]

    monkeypatch.setattr(disk_watch.asyncio, "sleep", sleep)
    await DiskWatch(10 * MB, clock_s=lambda: now).look_after(slow)
    assert slept == [disk_watch.LOOK_S, 30.0, disk_watch.LOOK_MAX_S]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    real = os.statvfs(".")

    def leave(size: int) -> None:
        state = os.statvfs_result((1, 1, 0, 0, size, *tuple(real)[5:]))
        monkeypatch.setattr(disk_watch.os, "statvfs", lambda _: state)

    return leave


async def test_a_full_disk_is_the_largest_writers(
    tmp_path: Path, free: Callable[..., None]
) -> None:
    now = 100.0
    watch = DiskWatch(0, 100 * MB, [tmp_path], clock_s=lambda: now)
    free(200 * MB)
    small, large = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(why(watch, writes(60 * MB, then=small)))
    second = asyncio.create_task(why(watch, writes(80 * MB, then=large)))
    await small.wait()
    await large.wait()
    free(95 * MB)
    assert await second == (
        "the worker's disk is full (95 MiB are free, 100 MiB are kept: --min-free-disk), and of "
        "all its jobs this one has written the most: 80 MiB in its own files, 1 B in /outputs"
    )
    await asyncio.sleep(0.02)
    assert not first.done(), "what the other wrote is being removed"
    now += disk_watch._CLEANING_S
    assert "this one has written the most: 60 MiB" in await first


async def test_who_wrote_little_is_not_ended_for_others(
    tmp_path: Path, free: Callable[..., None]
) -> None:
    watch = DiskWatch(0, 100 * MB, [tmp_path])
    free(10 * MB)
    looked = asyncio.Event()
    task = asyncio.create_task(why(watch, writes(80 * MB, then=looked)))
    await looked.wait()
    await asyncio.sleep(0.02)
    assert not task.done(), "90 MiB are missing: they are somebody else's"
    task.cancel()


# --- counting -------------------------------------------------------------------------------


async def test_blocks_are_counted_and_links_not_followed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "file").write_bytes(bytes(MB))
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 40)
    (tree / "link").symlink_to("/usr")
    assert MB <= await occupied([tree, tmp_path / "none"]) < 2 * MB


async def test_more_files_than_can_be_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_use, "COUNT_MAX_S", 0.0)
    with pytest.raises(Excess, match="more files than can be counted in 0 s"):
        await occupied([tmp_path])


def test_removed_files_that_are_open(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    before = unnamed([os.getpid()], {device})
    with (tmp_path / "file").open("wb") as file, (tmp_path / "stays").open("wb") as stays:
        for one in (file, stays):
            one.write(bytes(MB))
            one.flush()
            os.fsync(one.fileno())
        (tmp_path / "file").unlink()
        assert MB <= unnamed([os.getpid(), os.getpid()], {device}) - before < 2 * MB
        assert unnamed([os.getpid()], {device + 1}) == 0
    assert unnamed([1 << 30], {device}) == 0


async def test_growth_is_charged_to_who_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave = {"a": 0, "b": 0}
    monkeypatch.setattr(disk_use, "written", lambda names: sum(gave[name] for name in names))
    folder = SharedFolder(tmp_path)
    for name in gave:
        folder.join(name, lambda name=name: [name])  # type: ignore[misc]
    (tmp_path / "before").write_bytes(bytes(MB))
    assert await folder.look("a") == 0, "it was there"
    (tmp_path / "file").write_bytes(bytes(4 * MB))
    gave.update(a=3 * MB, b=MB)
    assert await folder.look("a") == 3 * MB
    assert await folder.look("b") == MB
    (tmp_path / "of another").write_bytes(bytes(8 * MB))
    gave.update(b=2 * MB)
    assert await folder.look("b") == 2 * MB, "never more than it wrote"
    assert not folder.overfilled_by("b", 4 * MB), "a made it grow more"
    assert not folder.overfilled_by("a", 40 * MB)
    assert folder.overfilled_by("a", 4 * MB)
    assert not folder.overfilled_by("b", 4 * MB), "and the others begin anew"
    folder.leave("a")
    folder.leave("b")
    assert not folder.in_use


def test_written_is_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "io").write_text("rchar: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n")
    assert written([7, 8], tmp_path) == 4096


def test_which_engines_may_limit_layers() -> None:
    def info(driver: str, backing: str) -> dict[str, object]:
        return {"Driver": driver, "DriverStatus": [["Backing Filesystem", backing]]}

    assert may_size_layers(info("overlay2", "xfs"))
    assert may_size_layers({"Driver": "btrfs", "DriverStatus": None})
    assert not may_size_layers(info("overlay2", "extfs"))
    assert not may_size_layers({})


class Engine:
    """Answers each inspection with the next of ``sizes`` for the container's layer."""

    def __init__(self, *sizes: int | None) -> None:
        self.sizes = list(sizes)

    async def _query_json(self, path: str, params: dict[str, str]) -> dict[str, object]:
        assert path == "containers/c/json"
        return {"SizeRw": self.sizes.pop(0)} if params else {"State": {"Pid": 0}}


async def test_a_tree_that_the_engine_can_not_count_is_not_let_be(tmp_path: Path) -> None:
    """A tree deeper than a path makes the engine say -1."""
    engine = Engine(-1, 5, -1, -1, None, -1, -1, -1)
    disk = _ContainerDisk(engine, "c", tmp_path, 10 * MB, {})  # type: ignore[arg-type]
    for layer in (None, 5, None, None, 0, None, None):
        if layer is None:
            with pytest.raises(OSError, match="can't count"):
                await disk.measure()
        else:
            assert (await disk.measure())[0] == Part("its own files", layer)
    with pytest.raises(Excess, match="a tree of files that the engine can't count"):
        await disk.measure()


def test_the_doctor_says_what_is_not_seen(tmp_path: Path) -> None:
    disk = DockerDisk(DiskWatch(3 << 30))
    seen = disk.finding({"DockerRootDir": str(tmp_path)})
    assert (seen.state, seen.found) == ("ok", "each job may write 3 GiB")
    unseen = disk.finding({"DockerRootDir": str(tmp_path / "none")})
    assert unseen.state == "warn"
    assert "caches and volumes is not seen from here" in unseen.found


def test_the_owners_sizes_reach_the_watch(tmp_path: Path) -> None:
    options = {"data_directory": str(tmp_path), "job_disk": "3g", "min_free_disk": "1g"}
    for name in ("docker", "process"):
        runtime = make_runtime(load(["q"], {**options, "runtime": name}, {}), "w")
        assert isinstance(runtime, DockerRuntime | ProcessRuntime)
        watch = runtime._watch if isinstance(runtime, DockerRuntime) else runtime._disk
        assert watch is not None
        assert (watch.limit, watch._floor, watch._folders) == (3 << 30, 1 << 30, [tmp_path])
    assert load(["q"], {}, {}).job_disk == 20 << 30
