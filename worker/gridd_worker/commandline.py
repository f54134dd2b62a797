"""Splits a definition's ``command`` and ``entrypoint`` into words (WIRE 6.7).

It splits like a shell but runs none: a string with an operator, a wildcard or a comment outside
quotes needs a real shell, so it stays one word. Variables come from the definition's ``env``
alone, never from the worker's environment.
"""

import re
from collections.abc import Mapping

from gridd_worker.runtime import Task

# A word is a run of bare characters and quoted parts. A backslash keeps the next quote, operator
# or blank in the word. A quote that is never closed is no part of any word and is left out.
_WORD = re.compile(
    r"""
    (?: \\['"|&;()<>\ \t]
      | [^\s'"|&;()<>]
      | "(?:\\"|[^"])*?"
      | '(?:\\'|[^'])*?'
    )+
    | [|&;()<>]
    """,
    re.VERBOSE,
)
_OPERATORS = frozenset("|&;()<>")
_SHELL_SIGNS = frozenset("*?#") | _OPERATORS
_VARIABLE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)\}|(?P<special>[*@#?$!-])|(?P<plain>[A-Za-z0-9_]*))"
)


class CommandError(ValueError):
    """A ``${`` without a name or without its ``}``. The message shows the place."""


class _NeedsShell(Exception):
    """The text has a sign that only a shell understands."""


def variables(task: Task) -> dict[str, str]:
    """What ``$NAME`` may stand for in a task's command: its definition's ``env``, as text."""
    return {name: task.environment.get(name, "") for name in task.definition.env or {}}


def split_command(
    text: str | list[str] | None, env: Mapping[str, str | None] | None = None
) -> list[str] | None:
    """The argument list of ``text``; None when it is absent or empty (the image's default holds).

    A list is passed on as it is. Raises ``CommandError`` for a broken ``${…}``.
    """
    if not text:
        return None
    if not isinstance(text, str):
        return list(text)
    try:
        return [_expand(match.group(), env or {}) for match in _WORD.finditer(text)]
    except _NeedsShell:
        return [text]


def _expand(word: str, env: Mapping[str, str | None]) -> str:
    """Takes the quotes off one word and puts the variables in."""
    out: list[str] = []
    quote = ""
    at = 0
    while at < len(word):
        char = word[at]
        if char == "$" and quote != "'":
            value, at = _variable(word, at, env)
            out.append(value)
            continue
        at += 1
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and at < len(word):
                following = word[at]
                out.append(following if following in '"\\$' else char + following)
                at += 1
            else:
                out.append(char)
        elif char in "'\"":
            quote = char
        elif char == "\\":
            out.append(word[at : at + 1])
            at += 1
        elif char in _SHELL_SIGNS:
            raise _NeedsShell
        else:
            out.append(char)
    return "".join(out)


def _variable(word: str, at: int, env: Mapping[str, str | None]) -> tuple[str, int]:
    """The value of the variable at ``word[at]`` and where the word goes on."""
    match = _VARIABLE.match(word, at)
    if match is None or match["braced"] == "":
        raise CommandError(f"bad substitution in {word[:60]!r} at character {at}: want ${{NAME}}")
    if word.startswith("${", at) and match["braced"] is None:
        raise CommandError(f"bad substitution in {word[:60]!r} at character {at}: no closing }}")
    name = match["braced"] or match["special"] or match["plain"]
    if not name:
        return "$", match.end()  # a dollar sign before something that is no name is itself
    return env.get(name) or "", match.end()
