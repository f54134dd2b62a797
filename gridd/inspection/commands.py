"""What ``gridd journal check`` and ``gridd journal repair`` print, and their exit codes."""

import argparse
import sys
from typing import Final

import msgspec

from gridd.inspection.check import AffectedJob, NotChecked, Report, check
from gridd.inspection.repair import repair
from gridd.inspection.restoration import JOBS_LISTED_MAX
from gridd.journal.base import JournalError
from gridd.journal.survey import Damage

SOUND: Final = 0
DAMAGED: Final = 1
NOTHING_DONE: Final = 2

_SHOWN_MAX = 20
"""Lines of a list that people are shown; ``--json`` has more."""


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when all is whole, 1 when something is damaged or lost, 2 when nothing was done.
    Raises nothing that the journal's bytes could cause."""
    try:
        if args.action == "check":
            found = check(args.directory)
        else:
            found = repair(args.directory, args.new_directory)
    except (NotChecked, JournalError, OSError) as error:
        sys.stderr.write(f"gridd: {error}\n")
        return NOTHING_DONE if isinstance(error, NotChecked) else DAMAGED
    if args.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        lines = told(found) if args.action == "check" else repaired(found, args.new_directory)
        sys.stdout.writelines(line + "\n" for line in lines)
    return SOUND if found.sound else DAMAGED


def told(found: Report) -> list[str]:
    """A check, for people."""
    return [*_counts(found), *_trouble(found, _SHOWN_MAX), *_verdict(found)]


def repaired(found: Report, new_directory: str) -> list[str]:
    """A repair, for people: each job that is lost."""
    kept = sum(found.jobs.values())
    lost = len(found.lost) + found.lost_more
    summary = f"{new_directory}: {kept} jobs kept, {lost} known to be lost"
    return [*_counts(found), *_trouble(found, JOBS_LISTED_MAX), summary]


def _counts(found: Report) -> list[str]:
    records = ", ".join(f"{count} {kind}" for kind, count in sorted(found.records.items()))
    jobs = ", ".join(f"{count} {state}" for state, count in found.jobs.items())
    lines = [
        f"{found.directory}: {found.segments} segments, {found.bytes} bytes, "
        f"{found.batches} batches",
        f"records: {records or 'none'}",
        f"jobs: {jobs} in {found.queues} queues",
    ]
    for seen in found.snapshots:
        whole = f"{seen.records} jobs" if seen.whole else "damaged"
        lines.append(f"snapshot {seen.file}: {whole}{', a start uses it' if seen.used else ''}")
    return lines


def _trouble(found: Report, most: int) -> list[str]:
    lines = [_damage(damage) for damage in found.damage[:most]]
    lines += _more(found.damage_count - len(lines), "damaged places")
    lines += _jobs("lost", found.lost, found.lost_more, most)
    lines += _jobs("doubtful", found.doubtful, found.doubtful_more, most)
    if found.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.skipped.items()))
        lines.append(f"whole records about what is lost: {kinds}")
    return lines


def _damage(damage: Damage) -> str:
    if damage.records is None:
        lost = f"{damage.bytes or 'an unknown number of'} bytes of records are lost"
    elif damage.records == 1:
        lost = "one record is lost"
    else:
        lost = "no record is lost by it"
    return f"damage {damage.file}: byte {damage.offset}: {damage.what}; {lost}"


def _jobs(what: str, jobs: list[AffectedJob], more: int, most: int) -> list[str]:
    lines = [f"{what}: job {job.job} in {job.queue}: {job.why}" for job in jobs[:most]]
    return [*lines, *_more(len(jobs) - len(lines) + more, f"{what} jobs")]


def _more(count: int, what: str) -> list[str]:
    return [f"and {count} more {what} (--json may list them)"] if count > 0 else []


def _verdict(found: Report) -> list[str]:
    lines = []
    if found.torn_bytes:
        lines.append(f"a start cuts a torn tail of {found.torn_bytes} bytes, as after any crash")
    if found.unused_file:
        lines.append(f"a start removes {found.unused_file}, which was never used")
    if not found.starts:
        lines.append(f"a start refuses: {found.start}")
    elif not found.sound:
        lines.append("a server would start all the same")
    lines.append("sound" if found.sound else "damaged; nothing was changed")
    return lines
