"""Markdown with places to fill in, written ``{{so}}``: what can be read off the program is filled
in once, the grid's addresses for each reader, as he calls it."""

import functools
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
_FOR_READERS: Final = ("origin", "shell-origin", "queue")


def read(name: str, parts: dict[str, str]) -> str:
    """The template of this folder with ``parts`` filled in. Each has its place, and no place but
    those of ``filled`` is left: anything else is our own mistake."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    for place, words in parts.items():
        assert text.count(_place(place)) == 1, f"{name} has no one place for {place}"
        text = text.replace(_place(place), words.rstrip("\n"))
    rest = functools.reduce(lambda left, place: left.replace(_place(place), ""), _FOR_READERS, text)
    assert "{{" not in rest, f"{name} has a place that nothing fills"
    return text


def filled(template: str, origin: str, queue: str) -> str:
    """``origin`` may be what a stranger wrote into a header: what stands in a command is quoted."""
    values = (origin, shlex.quote(origin), queue)
    for place, value in zip(_FOR_READERS, values, strict=True):
        template = template.replace(_place(place), value)
    return template


def rows(texts: Iterable[str]) -> str:
    return "".join(f"- {text}\n" for text in texts)


def table(texts: Iterable[tuple[object, ...]]) -> str:
    """Rows of a table whose head stands in the template."""
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in texts)


def shell(text: str) -> str:
    return f"```sh\n{text.rstrip()}\n```\n"


def _place(name: str) -> str:
    return "{{" + name + "}}"
