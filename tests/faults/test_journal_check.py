"""Damaged journals, checked and repaired: what is whole is kept, nothing is made up, and the
directory that was looked at stays as it was."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import aiohttp
import msgspec
import pytest

from gridd.cli import main
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.settings import Settings
from gridd.inspection.check import Report, check
from gridd.inspection.repair import repair
from gridd.journal.base import Position
from gridd.journal.files import FileJournal
from gridd.journal.format import MARK_BYTES, frame_head
from gridd.journal.survey import Survey
from gridd.recovery import Recovered, position_of, recover
from tests.conftest import Serving
from tests.faults.journals import Scribe, Written, job_id, make, state_of

encode = msgspec.msgpack.encode

Damager = Callable[[Written, random.Random], None]


# --- what is damaged ------------------------------------------------------------------------


def segments(written: Written) -> list[Path]:
    return sorted(written.directory.glob("*.seg"))


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def a_flipped_bit(written: Written, draw: random.Random) -> None:
    flip(draw.choice(segments(written)), draw)


def flips_in_many_segments(written: Written, draw: random.Random) -> None:
    for path in draw.sample(segments(written), 5):
        flip(path, draw)


def a_missing_segment(written: Written, draw: random.Random) -> None:
    draw.choice(segments(written)[1:-1]).unlink()


def the_first_segments_missing(written: Written, draw: random.Random) -> None:
    for path in segments(written)[: draw.randrange(1, 4)]:
        path.unlink()


def a_cut_segment(written: Written, draw: random.Random) -> None:
    path = draw.choice(segments(written)[:-1])
    os.truncate(path, draw.randrange(path.stat().st_size))


def a_zeroed_sector(written: Written, draw: random.Random) -> None:
    path = draw.choice(segments(written))
    data = bytearray(path.read_bytes())
    at = draw.randrange(0, max(len(data) - 512, 1), 512)
    data[at : at + 512] = bytes(min(512, len(data) - at))
    path.write_bytes(data)


def a_lost_end(written: Written, draw: random.Random) -> None:
    for path in segments(written)[-draw.randrange(1, 4) :]:
        path.unlink()


def all_at_once(written: Written, draw: random.Random) -> None:
    for damage in (flips_in_many_segments, a_cut_segment, a_missing_segment):
        damage(written, draw)


DAMAGES: list[Damager] = [
    a_flipped_bit,
    flips_in_many_segments,
    a_missing_segment,
    the_first_segments_missing,
    a_cut_segment,
    a_zeroed_sector,
    a_lost_end,
    all_at_once,
]


# --- what must come of it -------------------------------------------------------------------


@dataclass
class Truth:
    """Which of the records that were written still lie where they lay, untouched."""

    written: Written
    whole: set[Position]
    broken_marks: set[int]  # as ``Written.batch_of`` names batches

    @classmethod
    def of(cls, written: Written, original: Path) -> Truth:
        found = cls(written, set(), set())
        for position, record in written.log:
            name = f"{position.segment:08d}.seg"
            now = written.directory / name
            after = now.read_bytes() if now.exists() else b""
            before = (original / name).read_bytes()
            frame = slice(position.offset, position.offset + 11 + len(encode(record)))
            if after[frame] == before[frame]:
                found.whole.add(position)
            mark = slice(position.offset - MARK_BYTES, position.offset)
            if after[mark] != before[mark]:
                found.broken_marks.add(written.batch_of[position])
        return found

    def without_the_rest_of_broken_batches(self) -> Truth:
        """A batch is read from its beginning: where a length is lost, so is what lies behind."""
        broken = set(self.broken_marks)
        whole = set()
        for position, _ in self.written.log:
            if position not in self.whole:
                broken.add(self.written.batch_of[position])
            elif self.written.batch_of[position] not in broken:
                whole.add(position)
        return Truth(self.written, whole, broken)

    def untouched_jobs(self, after: Position) -> set[tuple[str, str]]:
        """All of whose records since ``after`` are whole, and the two that memory leaves out."""
        jobs = {(record.queue, record.job) for _, record in self.written.log}
        documents: dict[tuple[str, str, str], Position] = {}
        for position, record in self.written.log:
            key = (record.queue, record.job)
            if position > after and position not in self.whole:
                jobs.discard(key)
            if isinstance(record, r.Submitted | r.KeptJob):  # the newest is the one that counts
                documents[*key, "definition"] = position
            elif isinstance(record, r.Finished):
                documents[*key, "outcome"] = position
        for (queue, job, _), position in documents.items():
            if position not in self.whole:
                jobs.discard((queue, job))
        return jobs


def states(found: Recovered) -> dict[tuple[str, str], tuple[object, ...]]:
    return {
        (queue, kept.job): state_of(kept)
        for queue, engine in found.engines.items()
        for kept in engine.snapshot()
    }


def assert_nothing_made_up(written: Written, journal: FileJournal, found: Recovered) -> None:
    submitted: dict[tuple[str, str], set[bytes]] = {}
    finished: dict[tuple[str, str], set[tuple[object, ...]]] = {}
    for _, record in written.log:
        key = (record.queue, record.job)
        if isinstance(record, r.Submitted):
            submitted.setdefault(key, set()).add(record.definition)
        elif isinstance(record, r.Finished):
            outcome = (record.reason, record.time, record.result, record.logs)
            finished.setdefault(key, set()).add(outcome)
    decode = msgspec.msgpack.Decoder(r.Record).decode
    for queue, engine in found.engines.items():
        for kept in engine.snapshot():
            stored = decode(journal.read(position_of(kept.definition_at)))
            assert isinstance(stored, r.Submitted | r.KeptJob)
            assert stored.definition in submitted[queue, kept.job]
            if kept.state in ("Finished", "Removed"):
                outcome = decode(journal.read(position_of(kept.result_at)))
                assert isinstance(outcome, r.Finished)
                told = (outcome.reason, outcome.time, outcome.result, outcome.logs)
                assert told in finished[queue, kept.job]
                assert (kept.reason, kept.time) == (outcome.reason, outcome.time)
            else:
                assert kept.definition in submitted[queue, kept.job]


def look(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


def may_be_sound(written: Written, damage: Damager, told: Report) -> bool:
    """Nothing shows that there were more segments, or that there ever were those before a
    snapshot; and what is damaged in the very last batch was perhaps never acknowledged."""
    if damage is the_first_segments_missing:
        return bool(written.snapshots)
    return damage is a_lost_end or told.torn_bytes > 0


def spoken_of(written: Written, whole: set[Position], after: Position) -> set[tuple[str, str]]:
    """Jobs that were there at the end, and of which some record after their submission is whole."""
    spoken: dict[tuple[str, str], bool] = {}
    for position, record in written.log:
        key = (record.queue, record.job)
        if isinstance(record, r.Submitted):
            spoken[key] = False
        elif position in whole and position > after:
            spoken[key] = True
    known = {key for key, state in written.states.items() if state[0] != "Removed"}
    return {key for key in known if spoken[key]}


@pytest.mark.parametrize("snapshot_every", [0, 40], ids=["log", "snapshots"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_a_repaired_journal_holds_all_that_was_whole(
    tmp_path: Path, seed: int, damage: Damager, snapshot_every: int
) -> None:
    written = make(tmp_path / "journal", seed, 200, snapshot_every=snapshot_every)
    shutil.copytree(written.directory, tmp_path / "original")
    damage(written, random.Random(seed))
    truth = Truth.of(written, tmp_path / "original")
    if damage is a_zeroed_sector:  # of a bit, the length is known twice
        truth = truth.without_the_rest_of_broken_batches()
    before = look(written.directory)
    found_by_check = check(str(written.directory))
    told = repair(str(written.directory), str(tmp_path / "repaired"))
    assert look(written.directory) == before

    assert told.sound <= may_be_sound(written, damage, told)
    assert found_by_check.sound <= told.sound
    assert (told.jobs, told.records, told.damage) == (
        found_by_check.jobs,
        found_by_check.records,
        found_by_check.damage,
    )
    journal = FileJournal(tmp_path / "repaired")
    try:
        found = recover(journal, Settings())
        for engine in found.engines.values():
            engine.start(found.newest_ms)
            engine.check()
        found = recover(journal, Settings())
        assert_nothing_made_up(written, journal, found)
    finally:
        journal.close()
    after = written.snapshots[-1] if written.snapshots else Position(0, 0)
    repaired = states(found)
    for key in truth.untouched_jobs(after):
        assert repaired.get(key) == written.states.get(key), f"{key} {told.damage}"
    lost = {(job.queue, job.job) for job in told.lost}
    for key in spoken_of(written, truth.whole, after) - set(repaired):
        assert key in lost, f"{key} is lost without a word"
    assert check(str(tmp_path / "repaired")).sound


@pytest.mark.parametrize("disorder", ["holes", "many holes", "shuffled"])
@pytest.mark.parametrize("seed", range(4))
def test_records_that_do_not_follow_each_other_are_made_to(
    tmp_path: Path, seed: int, disorder: str
) -> None:
    """Whole records that an engine would never have written one behind the other."""
    written = make(tmp_path / "written", seed, 200)
    draw = random.Random(seed)
    records = [record for _, record in written.log]
    if disorder == "shuffled":
        draw.shuffle(records)
    else:
        share = 0.05 if disorder == "holes" else 0.5
        records = [record for record in records if draw.random() > share]
    journal = FileJournal(tmp_path / "journal")
    journal.append([encode(record) for record in records], journal.end)
    journal.close()
    found = check(str(tmp_path / "journal"))
    assert not found.sound
    told = repair(str(tmp_path / "journal"), str(tmp_path / "new"))
    assert told.jobs == found.jobs
    assert check(str(tmp_path / "new")).sound
    journal = FileJournal(tmp_path / "new")
    recovered = recover(journal, Settings())
    for engine in recovered.engines.values():
        engine.start(recovered.newest_ms)
        if disorder != "shuffled":  # no disk does that; it must only end well
            engine.check()
    journal.close()


# --- single things --------------------------------------------------------------------------


def test_a_sound_journal_is_sound_and_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = make(tmp_path / "journal", 1, snapshot_every=50)
    before = look(written.directory)
    assert main(["journal", "check", str(written.directory)]) == 0
    assert look(written.directory) == before
    told = capsys.readouterr().out
    assert told.endswith("\nsound\n")
    assert "a start uses it" in told
    assert main(["journal", "check", str(written.directory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["starts"] is True
    assert found["records"]["Submitted"] == sum(
        isinstance(record, r.Submitted) for _, record in written.log
    )
    live = [state for state in written.states.values() if state[0] == "Queued"]
    assert found["jobs"]["Queued"] == len(live)
    assert found["segments"] == len(segments(written))
    assert found["batches"] >= found["segments"]


def test_a_torn_tail_is_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scribe = Scribe(tmp_path / "journal", 2)
    scribe.submit("lab", 1)
    scribe.submit("lab", 2)
    written = scribe.end(clean=False)
    path = segments(written)[-1]
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    before = look(written.directory)
    assert main(["journal", "check", str(written.directory)]) == 0
    told = capsys.readouterr().out
    assert "a start cuts a torn tail of" in told
    assert "jobs: 1 Queued" in told
    assert look(written.directory) == before


def test_damage_is_told_with_file_offset_and_what_a_start_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scribe = Scribe(tmp_path / "journal", 3)
    jobs = [scribe.submit("lab", number) for number in range(3)]
    written = scribe.end()
    position, _ = written.log[1]
    path = segments(written)[0]
    data = bytearray(path.read_bytes())
    data[position.offset + 60] ^= 4
    path.write_bytes(data)
    assert main(["journal", "check", str(written.directory)]) == 1
    told = capsys.readouterr().out
    assert f"damage {path}: byte {position.offset}: the checksum does not match; one rec" in told
    assert f"a start refuses: {path}: damaged at byte {position.offset}" in told
    assert told.endswith("damaged; nothing was changed\n")
    assert main(["journal", "repair", str(written.directory), str(tmp_path / "new")]) == 1
    assert "2 jobs kept" in capsys.readouterr().out
    journal = FileJournal(tmp_path / "new")
    assert set(states(recover(journal, Settings()))) == {("lab", jobs[0]), ("lab", jobs[2])}
    journal.close()


def test_each_lost_job_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scribe = Scribe(tmp_path / "journal", 4)
    job = scribe.submit("lab", 1)
    scribe.worker("lab", "w1")
    scribe.finish("lab", job)
    written = scribe.end()
    path = segments(written)[0]
    data = bytearray(path.read_bytes())
    data[written.log[0][0].offset + 40] ^= 4
    path.write_bytes(data)
    assert main(["journal", "repair", str(written.directory), str(tmp_path / "new")]) == 1
    told = capsys.readouterr().out
    assert f"lost: job {job} in lab: its submission is lost" in told
    assert "whole records about what is lost: 1 Finished, 1 Leased" in told


def test_a_journal_in_use_is_not_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scribe = Scribe(tmp_path / "journal", 5)
    scribe.submit("lab", 1)
    for command in (["check"], ["repair"]):
        new = [str(tmp_path / "new")] if command == ["repair"] else []
        assert main(["journal", *command, str(tmp_path / "journal"), *new]) == 2
        assert f"in use by a server (pid {os.getpid()})" in capsys.readouterr().err
    scribe.submit("lab", 2)  # and the server was not disturbed
    scribe.end()
    assert main(["journal", "check", str(tmp_path / "journal")]) == 0


@pytest.mark.parametrize("action", ["check", "repair"])
def test_what_is_no_journal_is_wrong_usage(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data" / "journal", 1, 5)
    new = [str(tmp_path / "new")] if action == "repair" else []
    assert main(["journal", action, str(tmp_path / "nowhere"), *new]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert main(["journal", action, str(tmp_path / "data"), *new]) == 2
    assert f"try {tmp_path / 'data' / 'journal'}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.part").exists()


def test_a_repair_writes_nowhere_but_into_a_new_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make(tmp_path / "journal", 1, 30).directory
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    before = look(old)
    for new, why in [
        (tmp_path / "full", "is not an empty directory"),
        (old, "is not an empty directory"),
        (old / "inside", "lies inside"),
    ]:
        assert main(["journal", "repair", str(old), str(new)]) == 2
        assert why in capsys.readouterr().err
    (tmp_path / "new.part").mkdir()
    assert main(["journal", "repair", str(old), str(tmp_path / "new")]) == 2
    assert "interrupted" in capsys.readouterr().err
    (tmp_path / "new.part").rmdir()
    (tmp_path / "new").mkdir()
    assert main(["journal", "repair", str(old), str(tmp_path / "new")]) == 0
    assert look(old) == before


def test_another_format_version_is_told_and_not_called_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = segments(make(tmp_path / "journal", 1, 5))[0]
    data = bytearray(path.read_bytes())
    data[8:12] = (9).to_bytes(4, "big")
    data[60:64] = crc32(data[:60]).to_bytes(4, "big")
    path.write_bytes(data)
    assert main(["journal", "check", str(tmp_path / "journal")]) == 1
    assert "written in journal format 9" in capsys.readouterr().err


def test_a_record_of_a_later_version_is_told(tmp_path: Path) -> None:
    scribe = Scribe(tmp_path / "journal", 6)
    scribe.submit("lab", 1)
    scribe.journal.append([encode(["new", "lab", "job"])], scribe.journal.end)
    scribe.end()
    found = check(str(tmp_path / "journal"))
    assert not found.sound
    assert not found.starts
    assert "this version does not know" in found.damage[0].what
    assert found.jobs["Queued"] == 1


def test_a_payload_that_looks_like_records_never_becomes_some(tmp_path: Path) -> None:
    """Whatever one place of damage hits, a submitter's frames inside a definition stay inside."""
    forged = r.Finished("lab", job_id(1), 1, "Success", 1, "w", "", b'{"forged":1}', b"")
    payload = encode(forged)
    frames = (frame_head(payload) + payload) * 6
    scribe = Scribe(tmp_path / "journal", 7)
    scribe.step("lab", ev.Submit(1, job_id(1), frames, r.Needs()))
    scribe.submit("lab", 2)
    written = scribe.end()
    position, _ = written.log[0]
    path = segments(written)[0]
    data = path.read_bytes()
    true = {encode(record) for _, record in written.log}
    for index in range(position.offset - MARK_BYTES, position.offset + 200):
        for value in {data[index] ^ 1 << bit for bit in range(8)} | {0, 255}:
            path.write_bytes(data[:index] + bytes([value]) + data[index + 1 :])
            survey = Survey(written.directory)
            assert {found for _, found in survey.records()} <= true, (index, value)
            survey.close()


async def test_a_server_starts_on_what_was_repaired(tmp_path: Path, serving: Serving) -> None:
    scribe = Scribe(tmp_path / "journal", 8, segment_bytes=1_500)
    scribe.now = time.time_ns() // 1_000_000 - 5_000
    scribe.worker("lab", "w1", cpus=2)
    done = [scribe.submit("lab", number, size=200) for number in range(10)]
    for job in done[:8]:
        scribe.finish("lab", job)
    written = scribe.end()
    a_missing_segment(written, random.Random(3))
    told = repair(str(written.directory), str(tmp_path / "data" / "journal"))
    kept = sum(told.jobs.values())
    assert 0 < kept < 10
    async with serving(tmp_path / "data") as (url, _), aiohttp.ClientSession(url) as web:
        async with web.get("/q/lab/j") as response:
            answer = await response.json()
        assert len(answer["data"]) == kept
        for job in answer["data"]:
            async with web.get(f"/q/lab/j/{job}/definition.json") as response:
                assert response.status == 200, await response.text()
