"""What of a Dockerfile only BuildKit understands, and what BuildKit must not be told. Pure.

BuildKit runs the program that ``# syntax=IMAGE`` names in the place of its own reader of
Dockerfiles, with the right to fetch any address in the engine's name: only Docker's own is let.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gridd_protocol.errors import shown
from gridd_worker.images.dockerfile_lines import escape_of, flags, instructions
from gridd_worker.images.error import ImageError

_CLASSIC: Final[dict[str, Collection[str]]] = {"RUN": (), "COPY": ("chown", "from"),
                                               "ADD": ("chown",)}  # fmt: skip
"""The flags of the classic builder, which refuses all others."""
_EARLY: Final = ("mount", "chmod")  # BuildKit has these since engine 19.03 and 20.10
_SYNTAX: Final = re.compile(r"\s*(?:#|//)\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_DOCKERS: Final = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]{64})?"
)
_NO_HEREDOCS: Final = re.compile(r"(?:0\.|1\.[0-3](?:[.-]|$)|experimental)")
_JSON: Final = re.compile(r"\ufeff?(?:#![^\n]*)?\s*\{")
_PLATFORM: Final = re.compile(r"\$\{?(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)\b")
_ARGUMENT: Final = "BUILDKIT_SYNTAX"


@dataclass(frozen=True, slots=True)
class Need:
    """``what`` on ``line`` needs BuildKit; ``recent``: one of engine 23 or later, or a
    ``# syntax=`` line."""

    what: str
    line: int
    recent: bool = False


def needs(text: str) -> list[Need]:
    """What the classic builder can't build, in its order."""
    declared: set[str] = set()
    found: list[Need] = []
    for one in instructions(text, escape_of(text), heredocs=True):
        if one.heredoc:
            found.append(Need(f"a here-document in {one.word}", one.line, recent=True))
        for name, _ in flags(one.rest) if one.word in _CLASSIC else ():
            if name not in _CLASSIC[one.word]:
                found.append(Need(f"{one.word} --{name}", one.line, name not in _EARLY))
        if one.word == "ARG":
            declared.update(part.partition("=")[0] for part in one.rest.split())
        if one.word == "FROM":
            for match in _PLATFORM.finditer(one.rest):
                name = match[0].strip("${")
                if name not in declared:
                    found.append(Need(f"${name} in FROM", one.line))
    return found


def check_classic(text: str) -> None:
    """Raises ``ImageError`` for what needs BuildKit."""
    if found := needs(text):
        raise ImageError(
            f"this Dockerfile uses {found[0].what} (line {found[0].line}), which needs BuildKit:"
            " the worker's owner can allow it with --builder auto",
            building=True,
        )


def check_buildkit(text: str, arguments: Mapping[str, str], *, recent: bool) -> str | None:
    """The image that ``# syntax=`` names, None for the engine's own reader. ``recent``: the
    engine is of version 23 or later. Raises ``ImageError`` for another than Docker's, and for what
    the reader is too old for."""
    if _ARGUMENT in arguments:
        raise ImageError(f"build.buildArgs sets {_ARGUMENT}, which no job may", building=True)
    if _JSON.match(text):  # the frontend can be named in such a form, too
        raise ImageError("the Dockerfile begins with a brace", building=True)
    named, wanted = list(_named(text)), needs(text)
    heredoc_lines = [need.line for need in wanted if "here-document" in need.what]
    for image in named:
        match = _DOCKERS.fullmatch(image)
        if match is None:
            raise ImageError(
                f"the Dockerfile has # syntax={shown(image)}: only docker/dockerfile is allowed,"
                " since such a program acts in the engine's name",
                building=True,
            )
        # Here-documents are read as such by us: the engine must not read them as instructions.
        # What a digest stands for is not known here, whatever tag is written before it.
        unknown = "@" in image or _NO_HEREDOCS.match(match["tag"] or "")
        if heredoc_lines and unknown:
            raise ImageError(
                f"the Dockerfile has a here-document (line {heredoc_lines[0]}) and"
                f" # syntax={shown(image)}: that needs docker/dockerfile:1.4 or later, by a tag",
                building=True,
            )
    if not named and not recent:
        for need in wanted:
            if need.recent:
                raise ImageError(
                    f"this Dockerfile uses {need.what} (line {need.line}), which this worker's"
                    " engine does not know: put `# syntax=docker/dockerfile:1` on the first line",
                    building=True,
                )
    return named[0] if named else None


def _named(text: str) -> Iterator[str]:
    """In the lines before the first instruction, in each form that some version reads."""
    for line in text.removeprefix("\ufeff").split("\n"):
        if match := _SYNTAX.match(line):
            yield match[1]
        if line.strip() and not line.lstrip().startswith(("#", "//")):
            return


def automatic_arguments(native: str, platform: str | None) -> dict[str, str]:
    """The arguments that BuildKit has by itself. ``native``: the engine's ``os/arch``;
    ``platform``: what is built for, None is that."""
    target = platform or native
    found: dict[str, str] = {}
    for prefix, name in (("BUILD", native), ("TARGET", target)):
        full = name.lower() if "/" in name else f"linux/{name.lower()}"
        system, arch, variant, *_ = [*full.split("/"), "", ""]
        parts = {"PLATFORM": full, "OS": system, "ARCH": arch, "VARIANT": variant}
        found |= {f"{prefix}{part}": value for part, value in parts.items()}
    return found


def declared(text: str, names: Iterable[str]) -> set[str]:
    """Which of ``names`` the Dockerfile has an ``ARG`` for, without a value of its own."""
    words = set()
    for one in instructions(text, escape_of(text)):
        if one.word == "ARG":
            words |= {part for part in one.rest.split() if "=" not in part}
    return words & set(names)
