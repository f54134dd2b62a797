"""What simulated worlds found (tests/simulation), each told again in a few lines.

The disk is theirs: a page cache above what is durable, and failures on request.
"""

import asyncio
import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gridd import upkeep
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal.base import Damaged, JournalError, Position, WriteFailed
from gridd.journal.files import FileJournal
from gridd.journal.format import HEADER_BYTES
from tests.simulation.disk import Disk, SimFiles


class Failing(SimFiles):
    """Each operation that ``when`` answers true for fails, with EIO."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk, lambda: None)
        self.serving = True  # a failed sync also drops what it should have made durable
        self.when: Callable[[str, str], bool] = lambda operation, path: False

    def step(
        self,
        operation: str,
        path: str,
        lands: Callable[[], None] | None = None,
        *,
        doubted: bool = False,
    ) -> None:
        if self.when(operation, path):
            raise OSError(errno.EIO, "failed on request", path)
        super().step(operation, path, lands, doubted=doubted)


def new_disk() -> Disk:
    return Disk(random.Random(1), 16)


def open_on(files: SimFiles, segment_bytes: int = 300) -> FileJournal:
    draw = random.Random(len(files.disk.names))
    return FileJournal(
        "/d", fs=files, segment_bytes=segment_bytes, room_bytes=10, random_bytes=draw.randbytes
    )


def killed(disk: Disk) -> Failing:
    """The next process on the same machine."""
    disk.locks.clear()
    return Failing(disk)


def after_a_power_cut(disk: Disk) -> Failing:
    disk.power_cut()
    return Failing(disk)


def append(journal: FileJournal, payload: bytes) -> Position:
    return journal.append([payload], journal.end)[0]


def payloads(journal: FileJournal) -> list[bytes]:
    return [payload for _, payload in journal.replay()]


def test_a_segment_that_could_not_be_removed_leaves_no_gap() -> None:
    files = Failing(new_disk())
    journal = open_on(files)
    for number in range(8):
        append(journal, b"%d" % number * 200)
    for _ in range(2):
        append(journal, b"x")
        journal.write_snapshot(journal.end, [b"all"])
    files.when = lambda operation, path: operation == "remove" and path.endswith("00000001.seg")
    with pytest.raises(JournalError, match=r"00000001\.seg: can't be removed"):
        journal.forget(journal.end)
    with pytest.raises(JournalError, match=r"00000001\.seg: can't be removed"):
        journal.forget(journal.end)
    files.when = lambda operation, path: False
    journal.close()
    journal = open_on(killed(files.disk))
    journal.forget(journal.end)
    assert len(list(files.disk.names)) == 1 + 2, "one segment and two snapshots are left"


@pytest.mark.parametrize("end", ["reopen", "close", "open"])
def test_a_mark_whose_sync_failed_is_not_believed_by_the_next_process(end: str) -> None:
    """It is in the page cache, looks whole, and never reaches the disk."""
    files = Failing(new_disk())
    journal = open_on(files, 10_000)
    append(journal, b"kept")

    def in_segment(operation: str, path: str) -> bool:
        return operation == "sync" and path.endswith(".seg")

    if end == "reopen":
        files.when = in_segment
        with pytest.raises(WriteFailed):
            append(journal, b"lost")
        syncs = iter([False, True])  # of the cut, and of the mark
        files.when = lambda operation, path: in_segment(operation, path) and next(syncs)
        with pytest.raises(WriteFailed):
            journal.reopen()
    elif end == "close":
        files.when = in_segment
        journal.close()
    else:
        journal.close()
        files = killed(files.disk)
        syncs = iter([False, True])  # of what was found, and of the mark
        files.when = lambda operation, path: in_segment(operation, path) and next(syncs)
        with pytest.raises(JournalError):
            open_on(files, 10_000)
    journal = open_on(killed(files.disk), 10_000)
    append(journal, b"acknowledged")
    journal = open_on(after_a_power_cut(files.disk), 10_000)
    assert payloads(journal) == [b"kept", b"acknowledged"]


def test_a_header_whose_sync_failed_is_not_believed_by_the_next_process() -> None:
    files = Failing(new_disk())
    journal = open_on(files)
    append(journal, b"a" * 200)
    files.when = lambda operation, path: path.endswith("2.seg") and operation in ("sync", "remove")
    with pytest.raises(WriteFailed):
        append(journal, b"b" * 200)
    assert len(files.disk.names["/d/00000002.seg"].data) == HEADER_BYTES
    journal = open_on(killed(files.disk))
    append(journal, b"c" * 200)
    journal = open_on(after_a_power_cut(files.disk))
    assert payloads(journal) == [b"a" * 200, b"c" * 200]


def test_what_shows_that_a_segment_was_full_outlives_a_crash_on_opening() -> None:
    """The empty file behind a segment says that its end is no torn tail. It was removed before
    that segment was looked at; killed in between, the next start cut the damage off."""
    files = Failing(new_disk())
    journal = open_on(files)
    append(journal, b"a" * 200)
    files.disk.names["/d/00000002.seg"] = type(files.disk.names["/d/00000001.seg"])()
    files.disk.names["/d/00000001.seg"].data[-5] ^= 1
    for _ in range(2):
        with pytest.raises(Damaged, match=r"00000001\.seg: damaged at"):
            open_on(killed(files.disk))


async def test_a_stop_in_the_middle_of_a_snapshot_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot's complaint that it was broken off took the place of the cancellation, and the
    housekeeping went on: a stop waited for it for ever."""
    monkeypatch.setattr(upkeep, "LOOK_S", 0.001)
    monkeypatch.setattr(upkeep, "SNAPSHOT_RECORDS", 0)
    begun = asyncio.Event()

    async def feed(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(upkeep, "_feed", feed)
    journal = FileJournal(tmp_path)
    daemon = Daemon(journal, JsonFrames())
    daemon.start()
    await daemon.submit("q", b'{"definition": {"image": "alpine"}}')
    await asyncio.wait_for(begun.wait(), 10)
    await asyncio.wait_for(daemon.close(), 10)
    journal.close()
