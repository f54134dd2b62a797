"""Both console scripts, as installed."""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridd.arguments import build_parser
from gridd.client import commands

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    script = Path(sys.executable).parent / words[0]
    return subprocess.run(
        [str(script), *words[1:]], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in PROJECT["scripts"]),
        ["gridd", "serve"],
        ["gridd", "up"],
        ["gridd", "run"],
        ["gridd-worker", "run"],
        ["gridd-worker", "doctor"],
    ],
    ids=" ".join,
)
def test_help_is_printed(words: list[str]) -> None:
    done = run(*words, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["gridd", "serve"], ["gridd-worker", "run"]], ids=" ".join)
def test_an_unknown_option_is_named_and_ends_with_2(words: list[str]) -> None:
    done = run(*words, "--no-such-option")
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr
    assert "Traceback" not in done.stderr


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """This one and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


EVERY = {parser.prog: parser for parser in parsers(build_parser())}


@pytest.mark.parametrize("name", EVERY)
def test_every_option_says_what_it_does(name: str) -> None:
    parser = EVERY[name]
    assert parser.description
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, f"{name} {action.option_strings or action.dest} has no help"


@pytest.mark.parametrize("name", EVERY)
def test_every_client_command_is_there(name: str) -> None:
    function = EVERY[name].get_default("function")
    groups = {"worker", "journal", "queue", "job"}  # their actions do something
    elsewhere = {"serve", "up", "help", "mcp", "check", "repair"}
    if function in (None, *groups, *elsewhere):
        return
    assert callable(getattr(commands, function)), f"{name} does nothing"
