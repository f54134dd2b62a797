"""What does a job cost when there are very many, and how long is a start?

A journal with the records of so many jobs is written straight through the journal's own code; then
a real ``gridd serve`` is started on it. Rows: bytes of server memory (RSS) for each finished and
each queued job over an empty server's; records replayed a second; a start from a snapshot; and how
long a client socket's PING waits while a snapshot of all that is written, and while all of it is
carried on to new segments and the old ones are dropped.

``python bench/size.py`` takes a few minutes; ``--jobs`` makes it smaller.
"""

import argparse
import asyncio
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from processes import start_grid

from gridd.core import records as r
from gridd.core.story import stored
from gridd.journal.files import FileJournal

QUEUE = "bench"
BATCH = 5_000
_OLD_MS = 8 * 24 * 3_600_000  # older than logs are kept, not than answers are
_PADDING = "x" * 400  # makes a definition of about 500 bytes


def finished(jobs: int, ago_ms: int = 0) -> Iterator[r.Record]:
    """Submitted, leased, finished: three records a job, spread over an hour."""
    now = int(time.time() * 1000) - ago_ms
    for number, (job, definition) in enumerate(_jobs(jobs)):
        began = now - 3_600_000 + number * 3_500_000 // jobs
        yield _submitted(job, definition, began)
        yield r.Leased(QUEUE, job, began + 1, "6f0a5cb4-41ce-4e48-8388-17884638a52f", 1)
        yield r.Finished(
            queue=QUEUE,
            job=job,
            time=began + 2,
            reason="Success",
            attempt=1,
            worker="6f0a5cb4-41ce-4e48-8388-17884638a52f",
            message="",
            result=b'{"StatusCode":0,"duration":12,"outputs":{"out.txt":{"value":"aGVsbG8K"}}}',
            logs=b'{"run":[["hello\\n",1784941344026,false]]}',
            story=stored(
                (
                    r.StoryEntry(began, "submitted", "_"),
                    r.StoryEntry(began + 1, "leased", "6f0a5cb4-41ce-4e48-8388-17884638a52f", 1),
                )
            ),
        )


def queued(jobs: int) -> Iterator[r.Record]:
    began = int(time.time() * 1000) - 3_600_000
    for job, definition in _jobs(jobs):
        yield _submitted(job, definition, began)


def _jobs(count: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        definition = {"image": "busybox", "command": f"echo {number}", "env": {"P": _PADDING}}
        yield hashlib.sha256(b"%d" % number).hexdigest(), json.dumps(definition).encode()


def _submitted(job: str, definition: bytes, at: int) -> r.Submitted:
    return r.Submitted(QUEUE, job, at, "_", definition, r.Needs())


def write_journal(folder: Path, records: Iterator[r.Record], ago_ms: int = 0) -> int:
    """The number of records written."""
    written_ms = int(time.time() * 1000) - ago_ms
    journal = FileJournal(folder / "grid" / "journal", now_ms=lambda: written_ms)
    encode = msgspec.msgpack.Encoder().encode
    written = 0
    batch: list[bytes] = []
    for record in records:
        batch.append(encode(record))
        if len(batch) == BATCH:
            journal.append(batch, journal.end)
            written += len(batch)
            batch = []
    if batch:
        journal.append(batch, journal.end)
    journal.close()
    return written + len(batch)


def rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


def start_and_look(folder: Path) -> tuple[float, int]:
    """Seconds to a ready server, and its RSS then."""
    began = time.perf_counter()
    with start_grid(folder) as grid:
        return time.perf_counter() - began, rss_bytes(grid.pid)


async def waits_while(url: str, going_on: Callable[[], bool]) -> list[float]:
    """Round trips of PING on a client socket, in ms, one every 2 ms or so; sorted."""
    waits = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/q/other/client", max_msg_size=0) as ws,
    ):
        while going_on():
            began = time.perf_counter()
            await ws.send_str("PING")
            while (await ws.receive_str()) != "PONG":
                pass
            waits.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.002)
    return sorted(waits)


def snapshot_pause(folder: Path, jobs: int) -> str:
    """A server that replayed more than a snapshot's worth writes one at once."""
    with start_grid(folder) as grid:
        snapshots = folder / "grid" / "journal"
        end = time.perf_counter() + max(5.0, jobs / 25_000)
        waits = uvloop.run(waits_while(grid.url, lambda: time.perf_counter() < end))
        made = len(list(snapshots.glob("*.snap")))
    if not made:
        raise RuntimeError("no snapshot was written while the waits were measured")
    return f"PING while a snapshot is written: {_told(waits)}"


def dropping_pause(folder: Path, jobs: int) -> str:
    """All segments have had their time: a server carries on what is needed of them, and drops
    them behind its first snapshot."""
    write_journal(folder, finished(jobs, _OLD_MS), _OLD_MS)
    first = folder / "grid" / "journal" / f"{1:08d}.seg"
    with start_grid(folder) as grid:
        began = time.perf_counter()
        end = began + jobs / 1_000 + 60
        waits = uvloop.run(
            waits_while(grid.url, lambda: first.exists() and time.perf_counter() < end)
        )
        took = time.perf_counter() - began
    if first.exists():
        raise RuntimeError(f"the oldest segment was still there after {took:.0f} s")
    return (
        f"PING while {jobs} jobs are carried on and their segments dropped, in {took:.0f} s: "
        f"{_told(waits)}"
    )


def _told(waits: list[float]) -> str:
    return f"p99 {waits[int(len(waits) * 0.99)]:.1f} ms, longest {waits[-1]:.1f} ms"


def measure(jobs: int, records: int) -> None:
    with tempfile.TemporaryDirectory(prefix="gridd-size-") as name:
        empty_s, empty_rss = start_and_look(Path(name))
        print(f"an empty server: ready after {empty_s:.2f} s, {empty_rss / 2**20:.0f} MiB")
        for label, made in (("finished", finished(jobs)), ("queued", queued(jobs))):
            folder = Path(name) / label
            folder.mkdir()
            count = write_journal(folder, made)
            seconds, rss = start_and_look(folder)
            print(
                f"{jobs} {label}: {(rss - empty_rss) / jobs:.0f} bytes of RSS each; "
                f"{count} records replayed in {seconds - empty_s:.2f} s: "
                f"{count / (seconds - empty_s):,.0f} records/s"
            )
            shutil.rmtree(folder)
        folder = Path(name) / "many"
        folder.mkdir()
        count = write_journal(folder, finished(records // 3))
        seconds, _ = start_and_look(folder)  # leaves a snapshot when it stops
        rate = count / (seconds - empty_s)
        print(f"{count} records: ready after {seconds:.2f} s, {rate:,.0f} records/s")
        seconds, rss = start_and_look(folder)
        print(f"the same from a snapshot: ready after {seconds:.2f} s, {rss / 2**20:.0f} MiB")
        for snapshot in (folder / "grid" / "journal").glob("*.snap"):
            snapshot.unlink()
        print(snapshot_pause(folder, records // 3))
        shutil.rmtree(folder)
        folder.mkdir()
        print(dropping_pause(folder, records // 3))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    arguments = parser.parse_args()
    measure(arguments.jobs, arguments.records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
