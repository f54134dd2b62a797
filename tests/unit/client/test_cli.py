"""The parser, and how errors become exit codes."""

import subprocess
import sys

import pytest

from gridd import __version__, cli
from gridd.arguments import build_parser
from gridd.client.errors import GridError, UsageError
from gridd.errors import ConfigError
from gridd.journal.base import JournalError


@pytest.mark.parametrize("line", [("--image=a", "--cpus=2"), ("--image", "a", "--cpus", "2")])
def test_values_with_and_without_equals(line):
    args = build_parser().parse_args(["run", *line])
    assert (args.image, args.cpus) == ("a", "2")


def test_a_value_may_look_like_an_option_after_equals():
    assert build_parser().parse_args(["run", "--command=--version"]).command_text == "--version"


@pytest.mark.parametrize(
    "line",
    [
        (),
        ("nonsense",),
        ("run", "--imag", "x"),
        ("run", "alpine"),
        ("logs",),
        ("logs", "a", "--since", "-1"),
        ("logs", "a", "--kind", "all"),
        ("queue",),
        ("status", "--", "word"),
        ("up", "--port", "x", "--cpus", "none", "--runtime", "lxc"),
        ("url", "job", "--", "word"),
    ],
)
def test_wrong_usage_is_2_and_says_so(line, capsys):
    assert cli.main(line) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ((), "first steps:"),
        (("run", "--image", "a", "echo", "hi"), "echo hi: what the job runs stands after `--`"),
        (("run", "--imag", "x"), "see `gridd run --help`"),
        (("logs", "a", "b"), "unrecognized arguments: b; see `gridd logs --help`"),
    ],
)
def test_what_to_do_instead_is_said(line, words, capsys):
    assert cli.main(line) == 2
    assert words in capsys.readouterr().err


def test_up_tells_all_complaints(capsys):
    assert cli.main(("up", "--port", "x", "--cpus", "none", "--runtime", "lxc")) == 2
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [
        " --port",
        " --runtime",
        " --cpus",
    ]


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gridd {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageError("do so"), 2, "gridd: do so\n"),
        (GridError("refused", 400), 125, "gridd: refused\n"),
        (ConfigError(["a", "b"]), 2, "gridd: a\ngridd: b\n"),
        (KeyboardInterrupt(), 130, ""),
        (JournalError("torn"), 125, "gridd: torn\n"),
        (PermissionError(13, "Permission denied", "/x"), 125, "Permission denied: '/x'\n"),
        (ZeroDivisionError("no"), 125, "unexpected ZeroDivisionError: no (GRIDD_DEBUG=1"),
    ],
)
def test_errors_become_exit_codes_and_sentences(monkeypatch, capsys, error, code, text):
    def fail(_):
        raise error

    monkeypatch.delenv("GRIDD_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_client", fail)
    assert cli.main(["status"]) == code
    shown = capsys.readouterr().err
    assert text in shown
    assert "Traceback" not in shown


def test_a_trace_is_there_for_who_asks(monkeypatch, capsys):
    def fail(_):
        raise GridError("refused")

    monkeypatch.setenv("GRIDD_DEBUG", "1")
    monkeypatch.setattr(cli, "_client", fail)
    assert cli.main(["status"]) == 125
    assert "Traceback" in capsys.readouterr().err


def test_help_does_not_load_what_it_does_not_need():
    code = (
        "import sys\nfrom gridd.cli import main\nmain(['run', '--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('aiohttp', 'uvloop', 'gridd.server')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "exit codes" in done.stdout
