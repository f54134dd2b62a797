"""The view on a terminal, and the lines of the log."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridd_worker.log import JsonFormatter, TextFormatter, about_job, set_up
from gridd_worker.view import JobPicture, Meter, Picture, Usage, View, rows, wanted

JOB = JobPicture(
    *("3853b38e" + "0" * 56, "q", "running", 65, 2, 1 << 30, ("1", "3"), "step 7"),
    busy_cpus=1.46,
    used_memory=412 << 20,
)
PICTURE = Picture("w1", ("q", "r"), 2, 4, 2, (), (JOB,))
USAGE = Usage(0.371, 6 << 30, 8 << 30)


def test_the_block_says_what_runs_and_what_the_machine_does() -> None:
    head, row = rows(PICTURE, USAGE, 120, 10)
    assert head == (
        "─ w1: q, r ─ 1 jobs, 2 of 4 cpus, using 1.5 and 412 MiB ─ machine 37%, 6 GiB/8 GiB"
    )
    assert row == (
        "  3853b38e q        running     1:05  73% of 2 cpu  412 MiB/1 GiB gpu 1,3  step 7"
    )


def test_a_worker_of_one_queue_on_80_columns() -> None:
    picture = Picture("54a55185-03f1-450c-af96-2b51195b596b", ("q",), 1, 4, 2, (), (JOB,))
    assert rows(picture, USAGE, 80, 10) == [
        "─ 54a55185-03f1-450c-af96-2b51195b596b: q",
        "─ 1 jobs, 2 of 4 cpus, using 1.5 and 412 MiB ─ machine 37%, 6 GiB/8 GiB",
        "  3853b38e running     1:05  73% of 2 cpu  412 MiB/1 GiB gpu 1,3  step 7",
    ]


def test_what_is_not_known_is_not_made_up() -> None:
    waiting = JobPicture("a" * 64, "q", "waiting", 1, 0, 0, (), "", busy_cpus=0.0)
    unread = JobPicture("b" * 64, "q", "running", 1, 0.5, 1 << 20, (), "")
    head, first, second = rows(
        Picture("w1", ("q",), 1, 4, 2, (), (waiting, unread)), USAGE, 120, 10
    )
    assert "2 of 4 cpus, using 0.0 and 0 B ─" in head
    assert "   – of 0 cpu  – " in first
    assert "  – of 0.5 cpu  –/1 MiB " in second
    [head, _] = rows(Picture("w1", ("q",), 1, 4, 2, (), (unread,)), USAGE, 120, 10)
    assert "2 of 4 cpus ─" in head


def test_what_is_wrong_stands_above_the_jobs() -> None:
    picture = Picture("w1", ("q", "r"), 1, 4, 4, ("the disk is full: 1 MiB",), (), draining=True)
    head, hold = rows(picture, USAGE, 120, 10)
    assert "(1 of 2 connected), stopping" in head
    assert hold == "! the disk is full: 1 MiB"


def test_the_block_fits_the_terminal() -> None:
    picture = Picture("w" * 200, ("q",), 1, 4, 0, (), (JOB,) * 30)
    block = rows(picture, USAGE, 40, 6)
    assert len(block) == 6
    assert all(len(row) <= 40 for row in block)
    assert block[-1] == "  and 27 more"


def test_a_job_can_not_play_with_the_terminal() -> None:
    evil = JobPicture(
        "a" * 64, "q\x1b[2J", "running", 1, 1, 0, (), "\x1b[31mred\r\x9b1A\u202eback 漢字"
    )
    [_, row] = rows(Picture("w", ("q",), 1, 1, 0, (), (evil,)), USAGE, 100, 5)
    assert row.isprintable()
    assert "red" in row
    assert "漢字" in row
    narrow = rows(Picture("w", ("q",), 1, 1, 0, (), (evil,)), USAGE, len(row) + 1, 5)[1]
    assert narrow.endswith("漢"), "a wide sign takes two columns"


def test_a_tower_of_accents_stays_in_its_row() -> None:
    tower = JobPicture("a" * 64, "q", "running", 1, 1, 0, (), "e" + "\u0301" * 60_000 + "nd")
    [_, row] = rows(Picture("w", ("q",), 1, 1, 0, (), (tower,)), USAGE, 100, 5)
    assert len(row) < 110
    assert row.endswith("nd")


class Terminal(io.StringIO):
    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def logged(view: View, text: str) -> None:
    view.handle(logging.LogRecord("gridd_worker", logging.INFO, "", 1, text, None, None))


def test_log_lines_go_above_the_block_and_nothing_is_written_twice() -> None:
    terminal = Terminal()
    view = View(terminal, lambda: USAGE)
    view.draw(["head", "row"])
    assert terminal.getvalue().endswith("row\n")
    written = terminal.writes
    view.draw(["head", "row"])
    assert terminal.writes == written, "no change, no drawing"
    logged(view, "one")
    view.draw(["head", "row"])
    [_, after] = terminal.getvalue().split("\x1b[2A\r\x1b[J")
    assert after.index("one") < after.index("row")
    view.draw([])
    assert terminal.getvalue().endswith("\x1b[2A\r\x1b[J")


def test_a_flood_of_log_lines_is_bounded_and_counted() -> None:
    terminal = Terminal()
    view = View(terminal, lambda: USAGE)
    for number in range(1_500):
        logged(view, f"line {number}")
    view.draw([])
    assert terminal.getvalue().startswith("… 500 lines of the log left out\nline 500\n")


def test_a_terminal_that_is_gone_does_no_harm() -> None:
    terminal = Terminal()
    view = View(terminal, lambda: USAGE)
    terminal.close()
    logged(view, "one")
    view.draw(["head"])


async def test_it_draws_until_it_is_cancelled_and_cleans_up() -> None:
    terminal = Terminal()
    view = View(terminal, lambda: USAGE)
    showing = asyncio.create_task(view.show(lambda: PICTURE))
    while "3853b38e" not in terminal.getvalue():
        await asyncio.sleep(0)
    logged(view, "the last words")
    showing.cancel()
    await asyncio.gather(showing, return_exceptions=True)
    assert terminal.getvalue().endswith("the last words\n")


async def test_looks_at_the_jobs_do_not_hold_up_the_drawing() -> None:
    terminal = Terminal()
    looks = 0

    async def measure() -> None:
        nonlocal looks
        looks += 1
        await asyncio.Event().wait()

    view = View(terminal, lambda: USAGE)
    showing = asyncio.create_task(view.show(lambda: PICTURE, measure))
    while not looks or "3853b38e" not in terminal.getvalue():
        await asyncio.sleep(0)
    showing.cancel()
    await asyncio.gather(showing, return_exceptions=True)
    assert looks == 1


def test_the_meter_reads_the_machine(tmp_path: Path) -> None:
    def stat(idle: int, busy: int) -> None:
        (tmp_path / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1\n")

    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")
    meter = Meter(tmp_path)
    stat(100, 100)
    meter.look()
    stat(130, 170)
    assert meter.look() == Usage(0.7, 600 << 10, 1000 << 10)
    assert Meter(tmp_path / "none").look() == Usage()
    assert Meter().look().memory_all > 0


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_gets_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert wanted(Tty(), plain_lines=False, json_lines=False)
    assert not wanted(Tty(), plain_lines=True, json_lines=False)
    assert not wanted(Tty(), plain_lines=False, json_lines=True)
    assert not wanted(io.StringIO(), plain_lines=False, json_lines=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not wanted(Tty(), plain_lines=False, json_lines=False)


# --- the log --------------------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("gridd_worker")
    before, level = list(logger.handlers), logger.level
    yield logger
    for handler in [handler for handler in logger.handlers if handler not in before]:
        logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_line_names_the_job_that_it_is_about(logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up(handler=logging.StreamHandler(out))
    token = about_job.set("3853b38e" + "0" * 56)
    try:
        logger.info("container %s: log broke off", "abc")
        logger.info("finished job 3853b38e")
    finally:
        about_job.reset(token)
    logger.warning("the disk says \x1b[2J\r")
    logger.warning("no such file\n2026-01-01 00:00:00,000 INFO \u202eall is well")
    first, second, third, fourth = out.getvalue().splitlines()
    assert fourth.endswith("no such file ⏎ 2026-01-01 00:00:00,000 INFO �all is well")
    assert first.endswith("INFO job 3853b38e: container abc: log broke off")
    assert second.endswith("INFO finished job 3853b38e")
    assert third.endswith("WARNING the disk says �[2J�")


def test_json_lines_have_the_members_of_the_servers_log(logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up(json_lines=True, handler=logging.StreamHandler(out))
    logger.info("took job %s", "3853b38e", extra={"job": "3853b38e" + "0" * 56})
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        logger.exception("a fault")
    took, fault = map(json.loads, out.getvalue().splitlines())
    assert took.pop("time").endswith("Z")
    assert took == {
        "level": "info",
        "logger": "gridd_worker",
        "event": "took job 3853b38e",
        "job": "3853b38e" + "0" * 56,
    }
    assert "ValueError: broken\nhere" in fault["exception"]
    assert isinstance(TextFormatter(), logging.Formatter)
    assert isinstance(JsonFormatter(), logging.Formatter)
