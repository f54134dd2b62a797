"""``/llms.txt``: what a program, or a person, needs to use a grid with nothing else in hand. The
prose is ``overview.md``; what it lists is read off the program here."""

import functools
from collections.abc import Iterable
from typing import Final

from gridd.edge.metaframe import HASH_PARAMETERS
from gridd.edge.openapi import Operation, operations
from gridd.guide import examples, tables
from gridd.guide.template import read, rows, shell
from gridd.mcp.tools import TOOLS
from gridd_protocol.version import __version__

BYTES_MAX: Final = 24_000
"""Whoever reads this pays for each word. A test holds it."""


@functools.cache
def template() -> str:
    """The text, with places for the grid's addresses: see ``template.filled``."""
    parts = {
        "version": __version__,
        "words": rows(f"**{word}**: {meaning}" for word, meaning in tables.WORDS.items()),
        "members": rows(f"`{name}`: {meaning}" for name, meaning in tables.MEMBERS.items()),
        "references": tables.REFERENCES,
        "tools": rows(f"`{name}`: {_sentence(tool.description)}" for name, tool in TOOLS.items()),
        "commands": _commands(),
        "ends": rows(
            f"`{reason}`: {meaning}. {step[0].upper()}{step[1:]}"
            for reason, (meaning, step) in tables.ENDS.items()
        ),
        "refusals": rows(f"`{code}`: {step}" for code, step in tables.REFUSALS.items()),
        "addresses": rows(_addresses(operations())),
        "parameters": rows(
            f"`{name}` ({about['type']}): {about['description']}"
            for name, about in HASH_PARAMETERS.items()
        ),
        "limits": rows(f"{what}: {bound}" for what, bound in tables.BOUNDS),
        "promises": rows(tables.PROMISES),
    }
    return read("overview.md", parts)


def _commands() -> str:
    """One block writes the files of the examples, then one for each group."""
    blocks = [shell(_files())]
    for title, commands in examples.GROUPS.items():
        found = [one for several in commands.values() for one in several]
        blocks.append(f"{title}:\n\n{shell(examples.lines(found))}")
    return "\n".join(blocks)


def _files() -> str:
    folders = sorted({name.rpartition("/")[0] for name in examples.FILES} - {""})
    made = [f"mkdir -p {folder}" for folder in folders]
    made += [f"cat > {name} <<'END'\n{text}END" for name, text in examples.FILES.items()]
    return "\n".join(made)


def _addresses(known: Iterable[Operation]) -> list[str]:
    """One row for what has several addresses."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in known:
        query = "?" + "&".join(f"{name}=" for name in one.query) if one.query else ""
        found.setdefault((one.method.upper(), one.summary), []).append(f"`{one.path}{query}`")
    return [f"{method} {', '.join(paths)}: {about}" for (method, about), paths in found.items()]


def _sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".")
