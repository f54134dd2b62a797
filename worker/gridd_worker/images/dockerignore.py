"""Which files of a build context ``.dockerignore`` leaves out. Pure.

The engine's rules: one pattern a line, ``#`` for comments, ``*``, ``?`` and ``[…]`` within a name,
``**`` for any number of folders, ``!`` to take back in; the last line that fits decides, and what
holds for a folder holds for what is in it. Matched name by name and not by regular expressions: a
stranger's pattern must not keep the interpreter to itself.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gridd_worker.images.error import ImageError

TEXT_BYTES_MAX: Final = 1 << 18
_PATTERNS_MAX: Final = 500
_PATTERN_MAX: Final = 250  # characters
_ANY: Final = "**"


@dataclass(frozen=True, slots=True)
class Rules:
    """``looks_into_all``: a ``!`` may take back something within a folder that is left out."""

    rules: tuple[tuple[tuple[str, ...], bool], ...]  # (pattern, leaves out)
    looks_into_all: bool

    def ignores(self, path: str) -> bool:
        """``path`` is relative to the context, with ``/`` between its names."""
        names = tuple(path.split("/"))
        ignored = False
        for pattern, leaves_out in self.rules:
            if ignored != leaves_out and _fits(pattern, names):
                ignored = leaves_out
        return ignored


def read_rules(text: str) -> Rules:
    """Raises ``ImageError`` for more than 500 patterns, or one of more than 250 characters."""
    rules = [rule for line in text.split("\n") if (rule := _rule(line)) is not None]
    if len(rules) > _PATTERNS_MAX:
        raise ImageError(f".dockerignore has more than {_PATTERNS_MAX} patterns", building=True)
    return Rules(tuple(rules), not all(leaves_out for _, leaves_out in rules))


def _rule(line: str) -> tuple[tuple[str, ...], bool] | None:
    if line.startswith("#") or not (word := line.strip()):
        return None
    leaves_out = not word.startswith("!")
    word = word.removeprefix("!").strip()
    if len(word) > _PATTERN_MAX:
        raise ImageError(
            f".dockerignore has a pattern of {len(word)} characters; {_PATTERN_MAX} are allowed",
            building=True,
        )
    plain = posixpath.normpath(word).lstrip("/") if word else ""
    if plain in ("", "."):
        return None
    names: list[str] = []
    for name in plain.split("/"):
        if name.startswith(_ANY) and name != _ANY:  # **.log is like **/*.log
            names.append(_ANY)
        names.append(name if name == _ANY else name.replace(_ANY, "*"))
    return tuple(names), leaves_out


def _fits(pattern: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether it fits the path, or a folder that the path is in."""
    if _ANY not in pattern:
        return len(pattern) <= len(names) and all(map(_name_fits, pattern, names))
    # here[i]: the pattern up to where we are fits the first i names
    here = [True] + [False] * len(names)
    for part in pattern:
        if part == _ANY:
            first = here.index(True) if True in here else len(here)
            here = [at >= first for at in range(len(here))]
        else:
            here = [
                False,
                *(fits and _name_fits(part, name) for fits, name in zip(here, names, strict=False)),
            ]
    return any(here[1:])


@lru_cache(maxsize=1 << 14)
def _name_fits(pattern: str, name: str) -> bool:
    if not any(sign in pattern for sign in "*?[\\"):
        return pattern == name
    tests = _tests(pattern)
    # The usual walk: on a mismatch go back to the last star and let it take one more.
    at = here = 0
    star, star_at = -1, 0
    while here < len(name):
        test = tests[at] if at < len(tests) else None
        if at < len(tests) and test is None:
            star, star_at, at = at, here, at + 1
        elif test is not None and test(name[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            star_at += 1
            at, here = star + 1, star_at
        else:
            return False
    return all(test is None for test in tests[at:])


@lru_cache(maxsize=1 << 10)
def _tests(pattern: str) -> list[Callable[[str], bool] | None]:
    """One test for each character; None for a star."""
    tests: list[Callable[[str], bool] | None] = []
    at = 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "*":
            tests.append(None)
        elif char == "?":
            tests.append(lambda _: True)
        elif char == "[" and (end := pattern.find("]", at + 1)) > 0:
            tests.append(_one_of(pattern[at:end]))
            at = end + 1
        else:
            if char == "\\" and at < len(pattern):
                char, at = pattern[at], at + 1
            tests.append(char.__eq__)
    return tests


def _one_of(inside: str) -> Callable[[str], bool]:
    wanted = not inside.startswith("^")
    inside = inside.removeprefix("^")
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            ranges.append((inside[at], inside[at + 2]))
            at += 3
        else:
            ranges.append((inside[at], inside[at]))
            at += 1
    return lambda char: any(low <= char <= high for low, high in ranges) == wanted
