"""A Dockerfile as instructions: continued lines, comments, here-documents, ``# directives``. Pure.

Engines differ in small points of this, and strangers write the files: where it matters, callers
read a text in each way that an engine could.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from gridd_worker.images.error import ImageError

_ESCAPE: Final = re.compile(r"#\s*escape\s*=\s*([\\`])", re.IGNORECASE)
_DIRECTIVE: Final = re.compile(r"#\s*[A-Za-z][A-Za-z0-9]*\s*=.*")
_HEREDOC: Final = re.compile(r"""(?<!\S)\d*<<(-?)(["']?)([A-Za-z_][A-Za-z0-9_.]*)\2(?!\S)""")
_WITH_HEREDOCS: Final = ("RUN", "COPY", "ADD")
_BEGINNINGS_MAX: Final = 16
# Before a here-document these could make something else of it.
_UNSURE: Final = re.compile(r"[\"'\\`$#(]")


class Instruction(NamedTuple):
    """``line``: where it begins, from 1. ``heredoc``: it has a here-document."""

    word: str
    rest: str
    line: int
    heredoc: bool = False


def instructions(
    text: str, escape: str, *, doubled: bool = True, heredocs: bool = False
) -> Iterator[Instruction]:
    """Each instruction, its continued lines joined. ``doubled``: also those that end with two
    escape signs. ``heredocs``: what stands in a here-document is none."""
    lines = text.removeprefix("\ufeff").split("\n")
    held, began, skip_to = "", 0, 0
    for number, line in enumerate(lines, start=1):
        if number <= skip_to or line.lstrip().startswith("#") or (held and not line.strip()):
            continue  # comments and empty lines may stand within an instruction
        began = began or number
        cut = line.rstrip("\r").rstrip(" \t")
        if cut.endswith(escape) and (doubled or not cut.endswith(escape * 2)):
            held += cut[:-1]
            continue
        whole, held = (held + line).strip(), ""
        if whole:
            end = _heredocs_end(whole, lines, number)
            yield Instruction(*taken_apart(whole), began, end > number)
            skip_to = end if heredocs else 0
        began = 0
    if held.strip():
        yield Instruction(*taken_apart(held.strip()), began)


def taken_apart(instruction: str) -> tuple[str, str]:
    """``WORD`` and the rest."""
    word, *rest = instruction.split(None, 1)
    return word.upper(), rest[0] if rest else ""


def beginnings(text: str, escape: str, wanted: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """``(WORD, rest)`` of all that could be an instruction and matches ``wanted`` where it begins:
    on any line, also within what looks like a continued instruction or a here-document.

    Raises ``ImageError`` for more than 16 in one run of continued lines."""
    for joined, starts in _runs(text, escape):
        found = [start for start in starts if wanted.match(joined, start)]
        if len(found) > _BEGINNINGS_MAX:
            raise ImageError(
                f"the Dockerfile has a run of continued lines with more than {_BEGINNINGS_MAX}"
                " instructions in it",
                building=True,
            )
        for start in found:
            yield taken_apart(joined[start:].strip())


def _runs(text: str, escape: str) -> Iterator[tuple[str, list[int]]]:
    """Each run of continued lines, joined, and where in it its lines begin, but for empty ones."""
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.lstrip().startswith("#") or (parts and not line.strip()):
            continue
        cut = line.rstrip("\r").rstrip(" \t")
        goes_on = cut.endswith(escape)
        part = cut[:-1] if goes_on else line
        if part.strip():
            starts.append(length)
        parts.append(part)
        length += len(part)
        if not goes_on:
            yield "".join(parts), starts
            parts, starts, length = [], [], 0
    yield "".join(parts), starts


def escape_of(text: str) -> str:
    """The sign that continues a line; directives stand before all else."""
    for line in text.removeprefix("\ufeff").split("\n"):
        if match := _ESCAPE.match(line.strip()):
            return match[1]
        if not _DIRECTIVE.fullmatch(line.strip()):
            break
    return "\\"


def flags(rest: str) -> list[tuple[str, str]]:
    """``--name=value`` before all else of an instruction."""
    found = []
    for word in rest.split():
        if not word.startswith("--") or word == "--":
            break
        name, _, value = word[2:].partition("=")
        found.append((name.lower(), value))
    return found


def heredocs_are_certain(text: str) -> bool:
    """False if a here-document, or what looks like one, might be something else: it stands behind
    a quote, a variable or the like."""
    return all(
        one.heredoc and not _UNSURE.search(one.rest.partition("<<")[0])
        for one in instructions(text, escape_of(text), heredocs=True)
        if "<<" in one.rest and one.word in (*_WITH_HEREDOCS, "ONBUILD")
    )


def _heredocs_end(whole: str, lines: list[str], number: int) -> int:
    """The number of the line that ends the here-documents of an instruction which itself ends on
    line ``number``; that same number if there is none, or no end of it."""
    word, rest = taken_apart(whole)
    if word == "ONBUILD" and rest:
        word, rest = taken_apart(rest)
    if "<<" not in rest or word not in _WITH_HEREDOCS:
        return number
    end = number
    for match in _HEREDOC.finditer(rest):
        for at in range(end, len(lines)):
            line = lines[at].removesuffix("\r")
            if (line.lstrip("\t") if match[1] else line) == match[3]:
                end = at + 1
                break
        else:
            return number
    return end
