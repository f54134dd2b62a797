"""Directories that no server ever wrote, given to everything that reads a journal.

Whatever lies there: an answer or a ``JournalError``, soon and in little memory, and never a record
that was not written. The mutations start from whole journals, since random bytes hardly get past
the first checksum. Small cases that matter are kept in ``corpus/``, with why and what was written.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gridd.cli import main
from gridd.journal.base import JournalError, Position
from gridd.journal.files import FileJournal
from gridd.journal.format import HEADER_BYTES, MARK_BYTES
from gridd.journal.survey import Survey
from tests.faults.journals import make

CORPUS = Path(__file__).with_name("corpus")
CASE_S_MAX = 5.0
"""For one directory of at most 200 KB; typical are 30 ms. Twice quadratic would not pass."""
CASE_BYTES_MAX = 16 << 20
FUZZ_S = 5.0

Files = dict[str, bytes]
Numbers = Iterator[int]


# --- mutations: each takes files, and numbers to choose by ----------------------------------


def pick(files: Files, numbers: Numbers) -> str:
    names = sorted(files)
    return names[next(numbers) % len(names)]


def at_of(data: bytes, numbers: Numbers) -> int:
    return next(numbers) % (len(data) + 1)


def flip(files: Files, numbers: Numbers) -> None:
    name = pick(files, numbers)
    data = bytearray(files[name] or b"\0")
    data[next(numbers) % len(data)] ^= 1 << next(numbers) % 8
    files[name] = bytes(data)


def overwrite(files: Files, numbers: Numbers) -> None:
    """With bytes that mean something: the largest lengths, heads of frames and marks, zeros."""
    name = pick(files, numbers)
    words = [
        b"\xff\xff\xff\xff",
        b"\x7f" + b"\xff" * 7,
        b"\x92\xce\x00\x00\x00\x00\xc6\x01\xff\xff\xff",
        b"\x92\xce\x00\x00\x00\x00\xc6\xff\xff\xff\xff",
        b"\x92\xce\x00\x00\x00\x00\xc7\x20\x01",
        b"\x92\xce\x00\x00\x00\x00\xc4\x00",
        b"\xdd\xff\xff\xff\xff" * 9,
        b"\x91" * 4_000,
        bytes(512),
    ]
    data, word = files[name], words[next(numbers) % len(words)]
    at = at_of(data, numbers)
    files[name] = data[:at] + word + data[at + len(word) :]


def cut(files: Files, numbers: Numbers) -> None:
    name = pick(files, numbers)
    files[name] = files[name][: at_of(files[name], numbers)]


def splice(files: Files, numbers: Numbers) -> None:
    """A part of one file into another, or to another place of its own."""
    source, target = files[pick(files, numbers)], pick(files, numbers)
    start, size = at_of(source, numbers), next(numbers) % 3_000
    data, at = files[target], at_of(files[target], numbers)
    behind = at if next(numbers) % 2 else at + size
    files[target] = data[:at] + source[start : start + size] + data[behind:]


def leave_out(files: Files, numbers: Numbers) -> None:
    name = pick(files, numbers)
    data, at = files[name], at_of(files[name], numbers)
    files[name] = data[:at] + data[at + next(numbers) % 300 :]


def swap(files: Files, numbers: Numbers) -> None:
    one, other = pick(files, numbers), pick(files, numbers)
    files[one], files[other] = files[other], files[one]


def copy(files: Files, numbers: Numbers) -> None:
    """Under a name that is free, far off, or longer than any number that we would write."""
    data = files[pick(files, numbers)]
    number = [next(numbers) % 30, 99_999_999, 1 << 64, 1 << 70][next(numbers) % 4]
    names = [f"{number:08d}.seg", f"{number:09d}.seg", f"snapshot-{number:08d}-{64:012d}.snap"]
    files[names[next(numbers) % 3]] = data


def remove(files: Files, numbers: Numbers) -> None:
    if len(files) > 1:
        del files[pick(files, numbers)]


def forge_header(files: Files, numbers: Numbers) -> None:
    """A header that checks, with another number in it."""
    name = pick(files, numbers)
    if len(files[name]) >= HEADER_BYTES:
        head = bytearray(files[name][:60])
        value = [0, 1, 64, 1 << 32, (1 << 63) - 1, (1 << 64) - 1][next(numbers) % 6]
        struct.pack_into(">Q", head, 20 + 8 * (next(numbers) % 4), value)
        head += struct.pack(">I", crc32(head))
        files[name] = bytes(head) + files[name][HEADER_BYTES:]


def forge_mark(files: Files, numbers: Numbers) -> None:
    """A mark that checks, with another length."""
    name = pick(files, numbers)
    data = files[name]
    at = data.find(b"\xc7\x20\x01", at_of(data, numbers)) - 6
    if at >= HEADER_BYTES:
        value = [0, 1, MARK_BYTES, 1 << 31, (1 << 64) - 1][next(numbers) % 5]
        body = data[at + 9 : at + MARK_BYTES - 8] + struct.pack(">Q", value)
        mark = struct.pack(">BBIBBb", 0x92, 0xCE, crc32(body), 0xC7, 32, 1) + body
        files[name] = data[:at] + mark + data[at + MARK_BYTES :]


MUTATIONS: list[Callable[[Files, Numbers], None]] = [
    flip,
    overwrite,
    cut,
    splice,
    leave_out,
    swap,
    copy,
    remove,
    forge_header,
    forge_mark,
]


# --- what they start from, and what is done with them ---------------------------------------


@cache
def sources() -> list[tuple[Files, frozenset[bytes]]]:
    """Whole journals and the payloads in them: small segments, with and without snapshots."""
    found = []
    for seed, steps, every in ((1, 40, 0), (2, 120, 30), (3, 3, 1)):
        with TemporaryDirectory() as root:
            make(Path(root) / "journal", seed, steps, snapshot_every=every)
            journal = FileJournal(Path(root) / "journal")
            payloads = {payload for _, payload in journal.replay()}
            snapshot = journal.read_snapshot()
            payloads |= set(snapshot[1]) if snapshot else set()
            journal.close()
            files = {
                path.name: path.read_bytes()
                for path in (Path(root) / "journal").iterdir()
                if path.name != "lock"
            }
            older = [name for name in files if name.endswith(".snap")]
            for name in older:
                payloads |= frames_of(files[name])
            found.append((files, frozenset(payloads)))
    return found


def frames_of(data: bytes) -> set[bytes]:
    """The payloads of a whole file, by the simplest reader."""
    unpacker = msgpack.Unpacker(io.BytesIO(data[HEADER_BYTES:]), raw=True)
    return {body for _, body in unpacker if isinstance(body, bytes)}


def mutated(numbers: Numbers, mutations: int) -> tuple[Files, frozenset[bytes]]:
    files, payloads = sources()[next(numbers) % len(sources())]
    files = dict(files)
    for _ in range(mutations):
        MUTATIONS[next(numbers) % len(MUTATIONS)](files, numbers)
    return files, payloads


def read_everything(directory: Path) -> set[bytes]:
    """As a server does, and in places where it would not. Only ``JournalError`` may come."""
    found: set[bytes] = set()
    try:
        journal = FileJournal(directory)
    except JournalError:
        return found
    try:
        with suppress(JournalError):
            snapshot = journal.read_snapshot()
            if snapshot is not None:
                found.update(snapshot[1])
                with suppress(JournalError):
                    found.update(payload for _, payload in journal.replay(snapshot[0]))
        places = [Position(1, 64), Position(1, 105), Position(2, 1 << 40), journal.end]
        with suppress(JournalError):
            for position, payload in journal.replay():
                found.add(payload)
                places.append(position)
        for place in places:
            with suppress(JournalError, KeyError):
                found.add(journal.read(place))
        with suppress(JournalError):
            journal.append([b"more"], journal.end)
    finally:
        journal.close()
    return found


def salvaged(directory: Path) -> set[bytes]:
    """What check and repair believe."""
    try:
        survey = Survey(directory)
    except JournalError:
        return set()
    try:
        found = {payload for _, payload in survey.records()}
        for snapshot in survey.snapshots:
            if snapshot.whole:
                found.update(survey.payloads(snapshot))
        return found
    finally:
        survey.close()


def look_at(files: Files, payloads: frozenset[bytes]) -> None:
    with TemporaryDirectory() as root:
        directory = Path(root) / "journal"
        directory.mkdir()
        for name, data in files.items():
            (directory / name).write_bytes(data)
        began = time.monotonic()
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            checked = main(["journal", "check", str(directory)])
            repaired = main(["journal", "repair", str(directory), f"{root}/new"])
        assert checked in (0, 1, 2), said.getvalue()
        assert "unexpected" not in said.getvalue(), said.getvalue()
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
        if repaired != 2 and Path(root, "new").exists():
            with redirect_stdout(said):
                assert main(["journal", "check", f"{root}/new"]) == 0, said.getvalue()
        shutil.copytree(directory, f"{root}/opened")
        found = read_everything(Path(root) / "opened") | salvaged(directory)
        assert found <= payloads, "a record that was never written"
        took = time.monotonic() - began
        assert took < CASE_S_MAX, f"{took:.1f} s for {sum(map(len, files.values()))} bytes"


def numbers_from(seed: int) -> Numbers:
    draw = random.Random(seed)
    while True:
        yield draw.randrange(1 << 32)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


# --- the runs -------------------------------------------------------------------------------


def test_mutated_directories_are_read_or_refused() -> None:
    """As many as fit into ``FUZZ_S``; each is one seed, named when it fails."""
    until = time.monotonic() + FUZZ_S
    seed = 0
    while time.monotonic() < until or seed < 20:
        files, payloads = mutated(numbers_from(seed), 1 + seed % 4)
        try:
            look_at(files, payloads)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        seed += 1


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=30), st.integers(1, 4))
def test_mutations_that_shrink(chosen: list[int], mutations: int) -> None:
    def numbers() -> Numbers:
        yield from chosen
        while True:
            yield 0

    look_at(*mutated(numbers(), mutations))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.binary(max_size=2_000), st.sampled_from(["segment", "snapshot", "bare"]))
@example(b"\x92\xce\xff\xff\xff\xff\xc6\x02\x00\x00\x00", "segment")
@example(b"\xdd\xff\xff\xff\xff", "segment")
@example(b"\xc6\xff\xff\xff\xff", "snapshot")
def test_random_bytes_are_refused(data: bytes, where: str) -> None:
    files, payloads = sources()[2]
    files = dict(files)
    segment = min(name for name in files if name.endswith(".seg"))
    snapshot = max(name for name in files if name.endswith(".snap"))
    if where == "bare":
        files = {segment: data}
    else:
        name = segment if where == "segment" else snapshot
        files[name] = files[name][:HEADER_BYTES] + data
    look_at(files, payloads)


def test_absurd_lengths_take_little_memory() -> None:
    tracemalloc.start()
    try:
        for seed in range(1_000_000, 1_000_040):
            numbers = numbers_from(seed)
            files, payloads = mutated(numbers, 0)
            for mutation in (overwrite, forge_mark, forge_header):
                mutation(files, numbers)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            look_at(files, payloads)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < CASE_BYTES_MAX, f"seed {seed}: {peak} bytes"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_once(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    files = {name: bytes.fromhex(data) for name, data in case["files"].items()}
    look_at(files, frozenset(map(bytes.fromhex, case["payloads"])))
