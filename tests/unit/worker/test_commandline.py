"""Splitting commands: the table and examples of WIRE 6.7, and what upstream's splitter answered."""

import pytest

from gridd_worker.commandline import CommandError, split_command

OBSERVED: list[tuple[str, dict[str, str], list[str] | None]] = [
    ("echo hello", {}, ["echo", "hello"]),
    ("sh -c 'echo a; echo b'", {}, ["sh", "-c", "echo a; echo b"]),
    ('sh -c "echo \\"q\\" $HOME"', {}, ["sh", "-c", 'echo "q" ']),
    ("echo $HOME", {"HOME": "/root"}, ["echo", "/root"]),
    ("echo $HOME ${HOME}x", {"HOME": "/r"}, ["echo", "/r", "/rx"]),
    ("echo $NOPE", {}, ["echo", ""]),
    ("ls -la | wc -l", {}, ["ls -la | wc -l"]),
    ("a && b", {}, ["a && b"]),
    ("a; b", {}, ["a; b"]),
    ("a > /outputs/x", {}, ["a > /outputs/x"]),
    ("a & b", {}, ["a & b"]),
    ("(a)", {}, ["(a)"]),
    ("echo *.txt", {}, ["echo *.txt"]),
    ("echo '*.txt'", {}, ["echo", "*.txt"]),
    ("echo a\\ b", {}, ["echo", "a b"]),
    ("echo 'it'\\''s'", {}, ["echo", "it's"]),
    ('echo ""', {}, ["echo", ""]),
    ("echo ''", {}, ["echo", ""]),
    ("   spaced   out  ", {}, ["spaced", "out"]),
    ("line1\nline2", {}, ["line1", "line2"]),
    ("echo #comment", {}, ["echo #comment"]),
    ("echo 'a#b'", {}, ["echo", "a#b"]),
    ("python -c \"print('x')\"", {}, ["python", "-c", "print('x')"]),
    (
        "bash -c 'cat /inputs/in.txt | sort > /outputs/out.txt'",
        {},
        ["bash", "-c", "cat /inputs/in.txt | sort > /outputs/out.txt"],
    ),
    ("", {}, None),
    (" ", {}, []),
    ("'unterminated", {}, ["unterminated"]),
    ("echo \\$HOME", {"HOME": "/r"}, ["echo", "$HOME"]),
    ("echo '$HOME'", {"HOME": "/r"}, ["echo", "$HOME"]),
    ('echo "$HOME"', {"HOME": "/r"}, ["echo", "/r"]),
    ("echo é 😀 日本", {}, ["echo", "é", "😀", "日本"]),
    ("cmd --flag=val --other='a b'", {}, ["cmd", "--flag=val", "--other=a b"]),
    ("FOO=bar cmd", {}, ["FOO=bar", "cmd"]),
    ("echo `date`", {}, ["echo", "`date`"]),
    ("echo $(date)", {}, ["echo $(date)"]),
    ("echo {a,b}", {}, ["echo", "{a,b}"]),
    ("echo ~", {}, ["echo", "~"]),
    ("echo a=b", {}, ["echo", "a=b"]),
    ("echo !x", {}, ["echo", "!x"]),
    ("echo ?", {}, ["echo ?"]),
    ("echo [ab]", {}, ["echo", "[ab]"]),
    ("sleep 5 # wait", {}, ["sleep 5 # wait"]),
    ("echo \\\\ x", {}, ["echo", "\\ x"]),
    ('echo "a\\nb"', {}, ["echo", "a\\nb"]),
    ("echo 1>&2", {}, ["echo 1>&2"]),
    ("if true; then x; fi", {}, ["if true; then x; fi"]),
]


@pytest.mark.parametrize(("text", "env", "words"), OBSERVED)
def test_as_observed(text: str, env: dict[str, str], words: list[str] | None) -> None:
    assert split_command(text, env) == words


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("echo $FOO", {"FOO": "bar"}, ["echo", "bar"]),
        ("sh -c 'a && b'", {}, ["sh", "-c", "a && b"]),
        ("echo hi && ls", {}, ["echo hi && ls"]),
        ("ls *", {}, ["ls *"]),
        ('echo "a $X b"', {"X": "1"}, ["echo", "a 1 b"]),
        (r"echo a\ b", {}, ["echo", "a b"]),
        ("${A}${B}c", {"A": "1", "B": "2"}, ["12c"]),
        ("$$ $? $!", {}, ["", "", ""]),
        ("a$", {}, ["a$"]),
        ("$A", {"A": "two words; and *"}, ["two words; and *"]),
        ('"\\$A"', {"A": "1"}, ["$A"]),
        (r"a\;b \#c", {}, ["a;b", "#c"]),
        ("\t\n ", {}, []),
        ("'${'", {}, ["${"]),
    ],
)
def test_table(text: str, env: dict[str, str], words: list[str]) -> None:
    assert split_command(text, env) == words


@pytest.mark.parametrize("text", ["${", "echo ${A", 'echo "${A"', "${}", 'a"${}"b'])
def test_broken_substitution_is_an_error_with_the_place(text: str) -> None:
    with pytest.raises(CommandError, match=r"bad substitution in .* at character"):
        split_command(text)


def test_absent_and_lists() -> None:
    assert split_command(None) is None
    assert split_command("") is None
    assert split_command(["a b", "$X"]) == ["a b", "$X"]


def test_the_longest_command_is_split_quickly() -> None:
    """No text makes the splitter slow: each is handled in one pass."""
    for text in ('"' * 200_000, r"\'" * 100_000, '"\\"' * 70_000, "a" * 300_000, "$" * 100_000):
        split_command(text)
