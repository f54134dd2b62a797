"""What the worker must know of a Dockerfile before the engine builds it: which images it starts
and copies from, and whether the engine would fetch an address for it. Pure.

The engine follows ``ADD http://…`` in its own name, past every rule for jobs: on a cloud machine
that reaches the machine's credentials. So it is refused, also where only a variable could make it
an address. All else in the file is the engine's to judge.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gridd_protocol.errors import shown
from gridd_worker.images.dockerfile_lines import (
    Instruction,
    beginnings,
    escape_of,
    flags,
    heredocs_are_certain,
    instructions,
    taken_apart,
)
from gridd_worker.images.error import ImageError

DOCKERFILE_BYTES_MAX: Final = 1 << 20
_BASES_MAX: Final = 64
_STAGE: Final = re.compile(r"\s+as\s+(\S+)\s*$", re.IGNORECASE)
_VARIABLE: Final = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<sign>[-+])(?P<word>[^{}$]*))?\})"
)
_FETCHED: Final = ("http://", "https://", "git://")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://|[\w.+-]+@[\w.-]+:")  # and git over ssh
_ADD: Final = re.compile(r"\s*(?:ONBUILD\s+)?ADD\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a stage starts from, and its ``--platform`` if it names one."""

    image: str
    platform: str | None = None


def bases(
    text: str,
    arguments: Mapping[str, str],
    target: str | None = None,
    *,
    heredocs: bool = False,
    automatic: Mapping[str, str] | None = None,
) -> list[Base]:
    """The images of the stages up to ``target`` (a name or a number; None is the last) and those
    that are copied from or mounted in them, each once, in their order; not ``scratch``, not earlier
    stages.

    ``arguments``: the build's own, by name; ``automatic``: those that its builder adds;
    ``heredocs``: it knows here-documents. Raises ``ImageError`` for an image that can't be worked
    out here, and for more than 64.
    """
    escape = escape_of(text)
    automatic = automatic or {}

    def read(*, doubled: bool = True, heredocs: bool = heredocs) -> list[Base]:
        read = instructions(text, escape, doubled=doubled, heredocs=heredocs)
        return _bases(read, {**automatic, **arguments}, automatic, target)

    found = read()
    # Whether two escape signs at the end of a line continue it is up to the engine's version.
    if found != read(doubled=False):
        raise ImageError(
            f"a line of the Dockerfile ends with {escape * 2!r}: engines differ in what that means",
            building=True,
        )
    if heredocs and not heredocs_are_certain(text) and not _same(found, read):
        raise ImageError(
            "the Dockerfile has << behind a quote, a variable or the like, and a FROM or --from"
            " after it: write <<WORD before those, so that it is plain what is in it",
            building=True,
        )
    if len(found) > _BASES_MAX:
        raise ImageError(f"the Dockerfile starts from more than {_BASES_MAX} images", building=True)
    return found


def _same(found: list[Base], read: Callable[..., list[Base]]) -> bool:
    """Whether it makes no difference if here-documents are none."""
    try:
        return read(heredocs=False) == found
    except ImageError:
        return False


def check_fetches(text: str, where: str = "the Dockerfile") -> None:
    """Raises ``ImageError`` if an ``ADD`` names, or could come to name, an address."""
    # From every line, with either sign: no trick with continued lines leads past this.
    for escape in "\\`":
        for word, rest in beginnings(text, escape, _ADD):
            if word == "ONBUILD":
                _, rest = taken_apart(rest)
            if any(map(_could_be_fetched, _sources(rest))):
                raise ImageError(
                    f"{where} has ADD {shown(rest)}: the engine would fetch that past the rules"
                    " for jobs; fetch it in a RUN, or copy it from the context",
                    building=True,
                )


def _bases(
    read: Iterable[Instruction],
    arguments: Mapping[str, str],
    automatic: Iterable[str],
    target: str | None,
) -> list[Base]:
    found: dict[Base, None] = {}
    stages = {"scratch"}
    names: set[str] = set()  # of the stage that is read
    count = 0
    known = {name: arguments[name] for name in automatic}
    in_stage = False
    for word, rest, *_ in read:
        if word == "ARG" and not in_stage:
            known |= _arguments(rest, arguments, known)
        if word in ("COPY", "RUN") and in_stage:
            found |= dict.fromkeys(_copied_from(word, rest, stages))
        if word != "FROM":
            continue
        if in_stage and target and target.lower() in names:
            break
        in_stage = True
        base = _base(rest, known)
        if base.image.lower() not in stages:
            found[base] = None
        names = {str(count)}
        if match := _STAGE.search(rest):
            names.add(match[1].lower())
            stages.add(match[1].lower())
        count += 1
    return list(found)


def _copied_from(word: str, rest: str, stages: Collection[str]) -> Iterator[Base]:
    """The images of ``COPY --from=`` and ``RUN --mount=from=``. One that is named by a variable is
    left to the engine, which has only stages for it or refuses it."""
    for name, value in flags(rest):
        if word == "RUN":
            options = dict(part.partition("=")[::2] for part in value.split(","))
            value = options.get("from", "") if name == "mount" else ""
        elif name != "from":
            continue
        plain = value.strip("\"'")
        if plain and not plain.isdigit() and plain.lower() not in stages and "$" not in plain:
            yield Base(plain)


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
    return _SCHEME.match(plain) is not None
