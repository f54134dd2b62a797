"""The texts of ``gridd.guide`` against what they tell of: nothing is missing, nothing invented."""

import argparse
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gridd.arguments import build_parser
from gridd.client.errors import MEANINGS, Exit
from gridd.core.records import FinishedReason
from gridd.edge.metaframe import HASH_PARAMETERS
from gridd.edge.openapi import operations
from gridd.guide import examples, overview, skill, tables
from gridd.mcp.tools import TOOLS
from gridd_protocol.definitions import Definition
from gridd_protocol.errors import ErrorCode

DOCS = Path(__file__).parents[2] / "docs"
COMMAND_LINE = (DOCS / "command-line.md").read_text(encoding="utf-8")
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OF_CQ = ("run", "submit", "logs", "wait", "result", "outputs", "upload", "status", "url", "help")
ON_SOCKETS = {"bad-frame", "bad-message", "unknown-type", "hello-first", "bad-version"}


def leaves(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Names of the commands that do something."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield parser.prog
    for group in groups:
        for inner in group.choices.values():
            yield from leaves(inner)


COMMANDS = sorted(set(leaves(build_parser())))


def test_each_command_has_examples_and_each_example_is_of_a_command() -> None:
    assert sorted(examples.EXAMPLES) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_of_their_command(command: str) -> None:
    assert examples.EXAMPLES[command]
    for line, _, _ in examples.EXAMPLES[command]:
        begun = line.removeprefix("JOB=$(")
        assert shlex.split(begun.removesuffix(")"))[: len(command.split())] == command.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In its help, in /llms.txt and in docs/command-line.md, with all of its examples."""
    handed_over = ("gridd worker run", "gridd worker doctor")  # their help is the worker's own
    words = command.split()[1:]
    asked = words[:1] if command in handed_over else words
    with pytest.raises(SystemExit):
        build_parser().parse_args([*asked, "--help"])
    help = capsys.readouterr().out
    shells = "".join(SHELL.findall(overview.template()))
    for example in examples.EXAMPLES[command]:
        for text in (help, shells, COMMAND_LINE):
            assert example.line in text


@pytest.mark.parametrize("text", [overview.template(), skill.template(), COMMAND_LINE])
def test_no_other_command_is_shown(text: str) -> None:
    known = {one.line for several in examples.EXAMPLES.values() for one in several}
    shown = [line.split("  #")[0].rstrip() for line in "".join(SHELL.findall(text)).splitlines()]
    ours = {line for line in shown if "gridd" in line.split("=$(")[-1].split(" ")[0]}
    assert ours, "there are commands"
    assert ours <= known


@pytest.mark.parametrize("group", examples.GROUPS)
def test_the_document_has_the_examples_of_a_group_in_their_order(group: str) -> None:
    found = [one for several in examples.GROUPS[group].values() for one in several]
    assert examples.lines(found) in COMMAND_LINE


def test_the_documents_job_file_is_the_one_of_the_examples() -> None:
    assert f"```toml\n{examples.FILES['job.toml']}```" in COMMAND_LINE


@pytest.mark.parametrize("code", [code for code in Exit if code not in (0, Exit.PIPE_CLOSED)])
def test_each_exit_code_has_its_row(code: Exit) -> None:
    row = f"| {int(code)} | {MEANINGS[code]} |"
    assert row in COMMAND_LINE
    assert row in skill.template()


def test_each_command_of_cq_has_its_row() -> None:
    table = COMMAND_LINE.partition("## Coming from `cq`")[2]
    for command in _OF_CQ:
        assert f"`{command}`" in table, command


def test_tables_are_whole() -> None:
    assert list(tables.ENDS) == list(typing.get_args(FinishedReason))
    assert set(tables.REFUSALS) == {code.value for code in ErrorCode} - ON_SOCKETS
    members = {field.encode_name for field in msgspec.structs.fields(Definition)}
    assert set(tables.MEMBERS) == members - {"v"}


def test_words_mean_what_the_glossary_says() -> None:
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    for word, meaning in tables.WORDS.items():
        assert f"| **{word}** | {meaning} |" in glossary


def test_parameters_of_links_are_those_of_the_document() -> None:
    table = (DOCS / "page.md").read_text(encoding="utf-8").partition("| parameter |")[2]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table.partition("\n\n")[0], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(HASH_PARAMETERS)
    for name in HASH_PARAMETERS:
        assert f"\n- `{name}` (" in overview.template()


def test_the_overview_lists_every_address_and_every_tool() -> None:
    text = overview.template()
    for one in operations():
        assert re.search(rf"^- {one.method.upper()} .*`{re.escape(one.path)}[?`]", text, re.M), one
    for name in TOOLS:
        assert f"\n- `{name}`: " in text
