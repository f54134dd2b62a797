"""What a person or a program sees: data to standard output, everything else to standard error.

A job's own output is passed on as it is. Words that come from other peers (names, reasons,
errors) are cleaned first, so that they can't steer a terminal.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from gridd_protocol.canonical import without_surrogates
from gridd_protocol.messages import LogLine

_CELL_MAX = 64  # characters: the whole id of a job, so that it can be copied


def clean(text: object, length: int = 500) -> str:
    """``text`` on one line, without control characters, cut to ``length``."""
    words = "".join(c if c.isprintable() else " " for c in str(text)).strip()
    return words if len(words) <= length else words[: length - 1] + "…"


class Console:
    """``quiet`` keeps back remarks and build lines; ``machine`` keeps standard output for one
    JSON document, so that a job's lines go to standard error."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        machine: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.quiet = quiet
        self.machine = machine
        self._out = out if out is not None else sys.stdout
        self._err = err if err is not None else sys.stderr
        self._open_lines: set[int] = set()  # streams that wait for the end of a line

    @property
    def is_terminal(self) -> bool:
        return self._out.isatty()

    @property
    def err_is_terminal(self) -> bool:
        return self._err.isatty()

    def data(self, text: str) -> None:
        """A line that was asked for."""
        self._finish_line(self._out)
        self._write(self._out, text + "\n")

    def json(self, value: Any) -> None:
        indent = 2 if self.is_terminal else None
        text = json.dumps(value, ensure_ascii=False, indent=indent)
        if without_surrogates(text) != text:  # such halves can be printed as escapes alone
            text = json.dumps(value, indent=indent)
        self.data(text)

    def remark(self, text: str) -> None:
        """How things go; kept back when quiet."""
        if not self.quiet:
            self.complaint(text)

    def complaint(self, text: str) -> None:
        """What a person must hear."""
        self._finish_line(self._err)
        if self.is_terminal:
            self._finish_line(self._out)
        self._write(self._err, text + "\n")

    def lines(self, kind: str, lines: Sequence[LogLine], *, as_data: bool = False) -> None:
        """A job's log. ``as_data``: it is what was asked for, and all of it is data, as with
        upstream's ``cq``. Otherwise we are the program: its output, exactly, is ours and its errors
        are ours; what pulls and builds print are remarks."""
        if (self.machine and self.quiet) or (kind == "build" and self.quiet and not as_data):
            return
        for line in lines:
            text = line.text
            if kind == "build" and not text.endswith("\n"):  # those may come without
                text += "\n"
            is_data = as_data or (kind == "run" and not line.stderr)
            self._write(self._out if is_data and not self.machine else self._err, text)

    def _write(self, stream: TextIO, text: str) -> None:
        if not text:
            return
        stream.write(text)
        stream.flush()
        if text.endswith("\n"):
            self._open_lines.discard(id(stream))
        else:
            self._open_lines.add(id(stream))

    def _finish_line(self, stream: TextIO) -> None:
        """Our lines start at the left on a terminal; in a file the job's bytes stay its own."""
        if id(stream) in self._open_lines and stream.isatty():
            self._write(stream, "\n")


def table(rows: Sequence[Sequence[object]]) -> str:
    """Columns, the first row being their names; as wide as they need to be."""
    cells = [[clean(cell, _CELL_MAX) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
