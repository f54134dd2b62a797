"""What goes to which stream."""

import io

import pytest

from gridd.client.output import Console, clean, table
from gridd.client.progress import Progress, shown_bytes
from gridd_protocol.messages import LogLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def console(kind=io.StringIO, **more):
    out, err = kind(), kind()
    return Console(out=out, err=err, **more), out, err


LINES = [LogLine("out", 1), LogLine("put\n", 2), LogLine("oops\n", 3, True), LogLine("end", 4)]


def test_a_job_s_streams_are_passed_on_exactly():
    it, out, err = console()
    it.lines("run", LINES)
    it.remark("done")
    assert (out.getvalue(), err.getvalue()) == ("output\nend", "oops\ndone\n")


def test_on_a_terminal_our_lines_start_at_the_left():
    it, out, err = console(Terminal)
    it.lines("run", [LogLine("no end", 1)])
    it.remark("done")
    assert (out.getvalue(), err.getvalue()) == ("no end\n", "done\n")


def test_quiet_keeps_the_job_s_output_alone():
    it, out, err = console(quiet=True)
    it.remark("running")
    it.lines("build", [LogLine("pulling", 1)])
    it.lines("run", LINES)
    assert (out.getvalue(), err.getvalue()) == ("output\nend", "oops\n")
    it.complaint("heard")
    assert err.getvalue().endswith("heard\n")


def test_machine_keeps_standard_output_for_json():
    it, out, err = console(machine=True)
    it.lines("run", LINES)
    it.json({"a": 1})
    assert out.getvalue() == '{"a": 1}\n'
    assert err.getvalue() == "output\noops\nend"


def test_machine_and_quiet_print_json_alone():
    it, out, err = console(machine=True, quiet=True)
    it.lines("run", LINES)
    it.json(None)
    assert (out.getvalue(), err.getvalue()) == ("null\n", "")


def test_build_lines_end_and_may_be_what_was_asked_for():
    it, out, err = console()
    it.lines("build", [LogLine("pulling", 1), LogLine("done\n", 2)])
    assert (out.getvalue(), err.getvalue()) == ("", "pulling\ndone\n")
    it.lines("build", [LogLine("pulling", 1)], as_data=True)
    assert out.getvalue() == "pulling\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\x1b[2J", "a b [2J"), ("x" * 600, "x" * 499 + "…"), (None, "None"), ("é ", "é")],
)
def test_words_of_others_can_not_steer_a_terminal(text, shown):
    assert clean(text) == shown


def test_table():
    assert table([("NAME", "N"), ("a\tb", 1), ("longer", 22)]) == "NAME    N\na b     1\nlonger  22"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_950, "1.0 MB"), (5 * 10**15, "5000.0 TB")],
)
def test_bytes(count, text):
    assert shown_bytes(count) == text


def test_progress_is_for_terminals():
    quiet = io.StringIO()
    progress = Progress("x", 10, stream=quiet)
    progress._started -= 10
    progress.add(5)
    progress.close()
    assert quiet.getvalue() == ""


def test_progress_draws_and_wipes_its_line():
    screen = Terminal()
    progress = Progress("a" * 50, 10_000, stream=screen)
    progress.add(1_000)
    assert screen.getvalue() == ""  # it is too early for a line
    progress._started -= 10
    progress.add(4_000)
    progress.add(1)  # and too early for another
    assert screen.getvalue().count("\r") == 1
    assert "50%  5.0 kB of 10.0 kB" in screen.getvalue()
    progress.close()
    assert screen.getvalue().endswith("\r\x1b[K")
