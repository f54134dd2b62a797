"""Which line of a Dockerfile a build failed on, and the engine's reason in fewer words. Pure."""

import re
from typing import Any, Final

from gridd_protocol.errors import shown
from gridd_worker.images.dockerfile_lines import escape_of, instructions
from gridd_worker.images.error import ImageError

_STEP: Final = re.compile(r"Step (\d{1,6})/\d+ : (\S+)")
_VERTEX: Final = re.compile(r"\[[^\]]*\d+/\d+\] (.*)", re.DOTALL)
_LAYERS: Final = re.compile(
    r"^(?:failed to solve(?: with frontend \S+)?: |failed to create LLB definition: "
    r"|rpc error: code = \w+ desc = |failed to load LLB: |failed to compute cache key: "
    r"|failed to calculate checksum of ref \S+: )+"
)

_EXIT: Final = re.compile(
    r"(?:The command '.*' returned a non-zero code|executor failed running \[.*\]: exit code"
    r"|process \".*\" did not complete successfully: exit code): (\d{1,3})$",
    re.DOTALL,
)
_KILLED: Final = "137"
_INSTRUCTION_MAX: Final = 160


class ClassicPlace:
    """Follows the classic builder's ``Step N/M : …`` lines."""

    def __init__(self) -> None:
        self._number = 0
        self._word = ""

    def watch(self, event: dict[str, Any]) -> None:
        if match := _STEP.match(str(event.get("stream", ""))):
            self._number, self._word = int(match[1]), match[2].upper()

    def line(self, text: str) -> tuple[int, str] | None:
        """Where the step stands in the Dockerfile ``text``, and the instruction."""
        for doubled in (True, False):
            read = instructions(text, escape_of(text), doubled=doubled)
            for number, one in enumerate(read, start=1):
                if number == self._number and one.word == self._word:
                    return one.line, f"{one.word} {one.rest}"
        return None


def vertex_line(text: str, vertex: str) -> tuple[int, str] | None:
    """Where what BuildKit calls ``[stage 2/3] RUN …`` stands in the Dockerfile ``text``, and the
    instruction. None where that is not plain: in its names variables have their values."""
    match = _VERTEX.match(vertex)
    if match is None:
        return None
    name = " ".join(match[1].split())
    exact, like = [], []
    for one in instructions(text, escape_of(text), heredocs=True):
        whole = " ".join(f"{one.word} {one.rest}".split())
        begins = whole.partition("$")[0].rstrip()
        if whole == name:
            exact.append((one.line, whole))
        elif (one.heredoc or begins != whole) and name.startswith(begins):
            like.append((one.line, whole))
    found = exact or like
    return found[0] if len(found) == 1 else None


def placed(error: ImageError, place: tuple[int, str] | None) -> ImageError:
    """``error`` with the line that it is about, and without the names of the engine's parts. A
    step that is named need not be named again."""
    message = _LAYERS.sub("", str(error))
    if place is None:
        return ImageError(message, building=True)
    line, instruction = place
    if match := _EXIT.match(message):
        message = f"exit code {match[1]}"
        if match[1] == _KILLED:
            message += ": it was killed, most likely for want of memory"
    instruction = " ".join(instruction.split())
    where = f"line {line} of the Dockerfile ({shown(instruction, _INSTRUCTION_MAX)})"
    return ImageError(f"{where}: {message}", building=True)
