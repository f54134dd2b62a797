"""How much of a log was told, for the next process: written over, read again, removed."""

import os
import threading
import time
from pathlib import Path

from gridd_protocol.limits import RETENTION_MS
from gridd_worker.checkpoints import Checkpoints
from gridd_worker.keeping import Keeping
from gridd_worker.spool import Spool
from gridd_worker.told import Told


def test_the_last_number_counts_and_rooms_are_apart(tmp_path: Path) -> None:
    told = Told(tmp_path / "told")
    for lines in (7, 1_000, 20):
        told.save("room", "j", 1, lines)
    told.save("room", "j", 2, 3)
    told.save("other", "j", 1, 4)
    assert told.load("room") == {("j", 1): 20, ("j", 2): 3}
    told.remove("room", "j", 2)
    told.remove("room", "j", 2)
    assert told.load("room") == {("j", 1): 20}


def test_what_is_damaged_or_old_is_left_out(tmp_path: Path) -> None:
    told = Told(tmp_path / "told")
    (told.folder / "room-j-1").write_text("")
    (told.folder / "room-j-x").write_text("5")
    (told.folder / "room-").write_text("5")
    assert told.load("room") == {}
    told.save("room", "j", 3, 5)
    long_ago_s = time.time() - RETENTION_MS / 1000 - 60
    os.utime(told.folder / "room-j-3", (long_ago_s, long_ago_s))
    told.prune()
    assert {path.name for path in told.folder.iterdir()} == {"room-j-1", "room-j-x", "room-"}


def test_a_disk_that_fails_costs_the_number_only(tmp_path: Path) -> None:
    told = Told(tmp_path / "told")
    told.folder.rmdir()
    told.save("room", "j", 1, 5)
    assert told.load("room") == {}


class SlowDisk(Told):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.saved: list[int] = []
        self.began, self.go_on = threading.Event(), threading.Event()

    def save(self, room: str, job: str, attempt: int, lines: int) -> None:
        self.saved.append(lines)
        self.began.set()
        assert self.go_on.wait(20)
        super().save(room, job, attempt, lines)


def test_a_disk_that_lags_is_asked_for_the_newest_only(tmp_path: Path) -> None:
    told = SlowDisk(tmp_path / "told")
    keeping = Keeping(Spool(tmp_path / "spool"), Checkpoints(tmp_path / "running"), told)
    keeping.told("room", "j", 1, 1)
    assert told.began.wait(20)
    for lines in range(2, 500):
        keeping.told("room", "j", 1, lines)
    keeping.told("room", "k", 1, 9)
    keeping.told("room", "k", 1, None)
    told.go_on.set()
    keeping.close()
    assert told.saved == [1, 499]
    assert keeping.told_before("room") == {("j", 1): 499}
