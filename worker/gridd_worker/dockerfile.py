"""What the worker must know of a Dockerfile before the engine builds it: which images it starts
from, and whether the engine would fetch an address for it. Pure.

The engine follows ``ADD http://…`` in its own name, past every rule for jobs: on a cloud machine
that reaches the machine's credentials. So it is refused, also where only a variable could make it
an address. All else in the file is the engine's to judge.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gridd_protocol.errors import shown
from gridd_worker.image_error import ImageError

DOCKERFILE_BYTES_MAX: Final = 1 << 20
_BASES_MAX: Final = 64
_ESCAPE: Final = re.compile(r"#\s*escape\s*=\s*([\\`])", re.IGNORECASE)
_DIRECTIVE: Final = re.compile(r"#\s*[A-Za-z][A-Za-z0-9]*\s*=.*")
_STAGE: Final = re.compile(r"\s+as\s+(\S+)\s*$", re.IGNORECASE)
_VARIABLE: Final = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<sign>[-+])(?P<word>[^{}$]*))?\})"
)
_FETCHED: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a stage starts from, and its ``--platform`` if it names one."""

    image: str
    platform: str | None = None


def bases(text: str, arguments: Mapping[str, str], target: str | None = None) -> list[Base]:
    """The images of the stages up to ``target`` (a name or a number; None is the last), each once,
    in their order; not ``scratch``, not earlier stages.

    ``arguments``: the build's own, by name. Raises ``ImageError`` for an image that can't be
    worked out here, and for more than 64.
    """
    escape = _escape(text)
    found = _bases(_instructions(text, escape), arguments, target)
    # Whether two escape signs at the end of a line continue it is up to the engine's version.
    if found != _bases(_instructions(text, escape, doubled=False), arguments, target):
        raise ImageError(
            f"a line of the Dockerfile ends with {escape * 2!r}: engines differ in what that means",
            building=True,
        )
    if len(found) > _BASES_MAX:
        raise ImageError(f"the Dockerfile starts from more than {_BASES_MAX} images", building=True)
    return found


def check_fetches(text: str, where: str = "the Dockerfile") -> None:
    """Raises ``ImageError`` if an ``ADD`` names, or could come to name, an address."""
    # Read in every way that an engine could: no trick with continued lines leads past this.
    single = ((line, "\0") for line in text.split("\n"))
    for part, escape in (*single, (text, "\\"), (text, "`")):
        for word, rest in _instructions(part, escape):
            if word == "ONBUILD":
                word, rest = _taken_apart(rest) if rest else ("", "")
            if word == "ADD" and any(map(_could_be_fetched, _sources(rest))):
                raise ImageError(
                    f"{where} has ADD {shown(rest)}: the engine would fetch that past the rules"
                    " for jobs; fetch it in a RUN, or copy it from the context",
                    building=True,
                )


def _bases(
    instructions: Iterable[tuple[str, str]], arguments: Mapping[str, str], target: str | None
) -> list[Base]:
    found: dict[Base, None] = {}
    stages = {"scratch"}
    count = 0
    known: dict[str, str] = {}
    in_stage = False
    for word, rest in instructions:
        if word == "ARG" and not in_stage:
            known |= _arguments(rest, arguments, known)
        if word != "FROM":
            continue
        in_stage = True
        base = _base(rest, known)
        if base.image.lower() not in stages:
            found[base] = None
        names = {str(count)}
        if match := _STAGE.search(rest):
            names.add(match[1].lower())
            stages.add(match[1].lower())
        if target and target.lower() in names:
            break
        count += 1
    return list(found)


def _instructions(text: str, escape: str, *, doubled: bool = True) -> Iterator[tuple[str, str]]:
    """``(WORD, rest)`` of each instruction, its continued lines joined. ``doubled``: also those
    that end with two escape signs."""
    held = ""
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.lstrip().startswith("#") or (held and not line.strip()):
            continue  # comments and empty lines may stand within an instruction
        cut = line.rstrip("\r").rstrip(" \t")
        if cut.endswith(escape) and (doubled or not cut.endswith(escape * 2)):
            held += cut[:-1]
            continue
        whole, held = (held + line).strip(), ""
        if whole:
            yield _taken_apart(whole)
    if held.strip():
        yield _taken_apart(held.strip())


def _taken_apart(instruction: str) -> tuple[str, str]:
    word, *rest = instruction.split(None, 1)
    return word.upper(), rest[0] if rest else ""


def _escape(text: str) -> str:
    """The sign that continues a line; directives stand before all else."""
    for line in text.removeprefix("\ufeff").split("\n"):
        if match := _ESCAPE.match(line.strip()):
            return match[1]
        if not _DIRECTIVE.fullmatch(line.strip()):
            break
    return "\\"


def _arguments(rest: str, given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """``ARG A=1 B``: what each is for the ``FROM`` lines that follow."""
    found: dict[str, str] = {}
    for part in rest.split():
        name, _, default = part.partition("=")
        found[name] = given.get(name, _expanded(default.strip("\"'"), known) or "")
    return found


def _base(rest: str, known: Mapping[str, str]) -> Base:
    words = rest.split()
    platform = None
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        if name.lower() == "--platform":
            platform = _expanded(value, known)
    image = _expanded(words[0].strip("\"'"), known) if words else None
    if not image or any(sign in image for sign in "\"'\\`"):
        raise ImageError(
            f"the Dockerfile starts from {shown(rest)}: no image can be made out of that",
            building=True,
        )
    return Base(image, platform or None)


def _expanded(text: str, known: Mapping[str, str]) -> str | None:
    """None when some form of variable is not understood here."""

    def value(match: re.Match[str]) -> str:
        has = known.get(match["plain"] or match["braced"], "")
        if match["sign"] == "-":
            return has or match["word"]
        return (match["word"] if has else "") if match["sign"] == "+" else has

    done = _VARIABLE.sub(value, text)
    return None if "$" in done else done


def _sources(rest: str) -> list[str]:
    """The words of an ``ADD`` but the last, which is where it goes."""
    words = rest.split()[:-1]
    if rest.lstrip().startswith("["):
        try:
            listed = json.loads(rest)
        except ValueError:
            pass  # then the engine, too, takes it for words
        else:
            words += [word for word in listed[:-1] if isinstance(word, str)]
    return words


def _could_be_fetched(word: str) -> bool:
    """Whatever quotes and escapes are in it: the engine takes them away before it looks."""
    plain = re.sub(r"[\"'\\`\[\],]", "", word).lower()
    begins, variable, _ = plain.partition("$")
    if variable:
        return any(address.startswith(begins) or begins.startswith(address) for address in _FETCHED)
    return plain.startswith(_FETCHED)
