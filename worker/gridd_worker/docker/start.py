"""Why a container's program never ran, when only its init could say so.

Containers run under the engine's init, which starts whatever the image holds: a program that is
not there is found out inside, and looks from outside like one that ended with 127, which a shell
says too. The init's own line tells them apart, and the files of the container, which is still
there, confirm it: a program that prints the same line was there to print it.
"""

import asyncio
import posixpath
import re
from typing import Any, Final

from aiodocker import Docker, DockerError

from gridd_protocol.errors import shown
from gridd_protocol.messages import LogLine
from gridd_worker.docker.logs import BROKEN, open_stream

CODES: Final = (1, 126, 127)
"""What the init ends with when it could not start the program."""
_ASK_S: Final = 20.0
_PLACES_MAX: Final = 32
_LINES: Final = (
    re.compile(
        r"\[FATAL tini \(\d+\)\] exec (?P<program>.*) failed: (?P<why>[^\n]*)\n?", re.DOTALL
    ),
    # Podman's, which does not say of what it speaks.
    re.compile(r"ERROR \(catatonit:\d+\): failed to exec pid1: (?P<why>[^\n]*)\n?(?P<program>)"),
)
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # the engine's
_SHELL_SIGNS: Final = re.compile(r"[\s|&;<>()*?#]")


async def why_not_started(
    docker: Docker, container: str, only_line: LogLine | None, image: str
) -> str | None:
    """A sentence; None when the program did run, or it can't be told. ``only_line`` is all that
    the container printed, ``image`` names its image to people."""
    if only_line is None or not only_line.stderr:
        return None
    said = next(filter(None, (line.fullmatch(only_line.text) for line in _LINES)), None)
    if said is None:
        return None
    try:
        async with asyncio.timeout(_ASK_S):
            found = await docker._query_json(f"containers/{container}/json")
            config = found.get("Config") or {}
            program = _program(config)
            if said["program"] not in (program, ""):
                return None  # an init of the image's own, which was started
            places = _places(program, config)
            there = [place for place in places if await _has(docker, container, place)]
    except BROKEN:
        return None
    if there and not said["program"]:
        return None
    return _told(program, said["why"], places, image, there=bool(there))


def _told(program: str, why: str, places: list[str], image: str, *, there: bool) -> str:
    name = shown(program, 200)
    if why != "No such file or directory":
        return f"{name} in {image} can't be executed: {why[:1].lower()}{why[1:]}"
    if there:
        return (
            f"{name} is in {image}, but what it needs to start is not: the interpreter that its"
            " first line names, or its loader"
        )
    if _SHELL_SIGNS.search(program):
        return (
            f"{name} is not in {image}: all of it is taken for the name of one program, since it"
            " has signs that only a shell understands; write sh -c '…' around it"
        )
    if "/" in program:
        return f"{name} is not in {image}"
    folders = ", ".join(posixpath.dirname(place) for place in places)
    return f"{name} is not in {image}: looked in {folders}"


def _program(config: dict[str, Any]) -> str:
    """The first word that the init was to start."""
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return str(words[0]) if words else ""


def _places(program: str, config: dict[str, Any]) -> list[str]:
    """Where the program is looked for inside."""
    workdir = config.get("WorkingDir") or "/"
    if "/" in program:
        return [posixpath.join(workdir, program)]
    env = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    folders = (env.get("PATH") or _PATH).split(":")[:_PLACES_MAX]
    return [posixpath.join(workdir, folder, program) for folder in dict.fromkeys(folders)]


async def _has(docker: Docker, container: str, path: str) -> bool:
    """Raises what is no plain "no". (Not by HEAD: aiodocker reads its 404 as JSON.)"""
    try:
        address = f"containers/{container}/archive"
        async with open_stream(docker, address, params={"path": path}):
            return True  # closed before it is read
    except DockerError as error:
        if error.status == 404:
            return False
        raise
