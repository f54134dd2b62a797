"""From the text of a setting to its value, each with what it may be. A text that is none raises
``ValueError`` (``ProtocolError`` for names of the protocol) with a sentence.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gridd_protocol.errors import shown
from gridd_protocol.limits import CREDIT_MAX
from gridd_protocol.names import check_queue_name
from gridd_protocol.units import parse_duration_setting

QUEUES_MAX = 64
WEIGHT_MAX = 1_000
TAGS_MAX = 64
_DEVICE = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_DOCKER_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_USER = re.compile(r"[0-9]{1,10}(:[0-9]{1,10})?")
_USER_MAX = (1 << 31) - 1
_CPUS_MAX = 1 << 20
_GPUS_MAX = 1_024


def cpus(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= _CPUS_MAX:
        raise ValueError(f"{shown(text)} is not a number of cpus from 1 to {_CPUS_MAX}")
    return value


def gpus(text: str) -> tuple[str, ...]:
    """``2`` is the first two devices; ``device=1,3`` names them; ``all`` is what /dev shows."""
    plain = text.strip().strip("\"'")
    if plain.isascii() and plain.isdigit() and int(plain) <= _GPUS_MAX:
        return tuple(str(index) for index in range(int(plain)))
    if plain == "all":
        return gpus_of_machine()
    devices = plain.removeprefix("device=").split(",")
    if not plain.startswith("device=") or not all(map(_DEVICE.fullmatch, devices)):
        raise ValueError(f"{shown(text)} is not of the form 2, device=1,3 or all")
    if len(set(devices)) != len(devices):
        raise ValueError(f"{shown(text)} names a device twice")
    return tuple(devices)


def gpus_of_machine(directory: Path = Path("/dev")) -> tuple[str, ...]:
    found = (re.fullmatch(r"nvidia([0-9]+)", path.name) for path in directory.glob("nvidia*"))
    indexes = sorted(int(match[1]) for match in found if match)
    if not indexes:
        raise ValueError(
            "all: there is no NVIDIA device under /dev; name them yourself, as in device=0,1"
        )
    return tuple(map(str, indexes))


def duration(text: str) -> int:
    value = parse_duration_setting(text)
    if value < 1:
        raise ValueError(f"{shown(text)} is not longer than 0")
    return value


def jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= CREDIT_MAX:
        raise ValueError(f"{shown(text)} is not a number of jobs from 1 to {CREDIT_MAX}")
    return int(text)


def directory(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError(f"{shown(text)} is not a path")
    return Path(text).expanduser().absolute()


def docker_runtime(text: str) -> str:
    if not _DOCKER_RUNTIME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of an engine's runtime, such as runsc")
    return text


def user(text: str) -> str:
    """By number, since a name means another user in each image."""
    if not _USER.fullmatch(text) or any(int(part) > _USER_MAX for part in text.split(":")):
        raise ValueError(f"{shown(text)} is not of the form UID or UID:GID, in numbers")
    return text


def readable(text: str) -> Path:
    """A file of the owner's. It is read again when it is needed; a mistake shows at the start."""
    path = directory(text)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    return path


def address(text: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.port is None or parts.port > 0
    except ValueError:
        fits = False
    if not fits or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{shown(text)} is not an http:// or https:// address")
    if parts.query or parts.fragment:
        raise ValueError(f"{shown(text)} must have no query and no fragment")
    return text.rstrip("/")


def proxy(text: str) -> str:
    if text == "system" or urlsplit(text).scheme in ("http", "https", "socks5", "socks5h"):
        return text
    raise ValueError(f"{shown(text)} is neither an address of a proxy nor the word system")


def tags(text: str) -> tuple[str, ...]:
    tags = sorted({tag.strip() for tag in text.split(",")} - {""})
    if len(tags) > TAGS_MAX or any(len(tag) > 100 for tag in tags):
        raise ValueError(f"{shown(text)}: at most {TAGS_MAX} tags of 100 characters")
    return tuple(tags)


def queues(text: str) -> dict[str, int]:
    return weighted([name.strip() for name in text.split(",") if name.strip()])


def weighted(given: Sequence[str]) -> dict[str, int]:
    """``NAME`` or ``NAME=WEIGHT`` each; a name that ends in ``=`` and a number needs a weight."""
    weights: dict[str, int] = {}
    for text in given:
        name, equals, weight = text.rpartition("=")
        if not (equals and name and weight.isascii() and weight.isdigit()):
            name, weight = text, "1"
        if not 1 <= int(weight[:9]) <= WEIGHT_MAX:
            raise ValueError(f"{shown(text)}: a weight is a number from 1 to {WEIGHT_MAX}")
        weights[check_queue_name(name)] = int(weight[:9])
    if len(weights) > QUEUES_MAX:
        raise ValueError(f"{len(weights)} queues; one worker serves at most {QUEUES_MAX}")
    return weights


def one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{shown(text)} is not one of {', '.join(names)}")
        return text.lower()

    return read


def switch(text: str) -> bool:
    if text.lower() not in ("true", "1", "yes", "on", "false", "0", "no", "off", ""):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text.lower() in ("true", "1", "yes", "on")
