"""How the text of one setting is read: from an option, the environment or a file alike.

Each reader answers the value or raises ``ValueError`` with a sentence that shows what was given.
Knows no setting by name; ``config`` does.
"""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from gridd.blobs.bucket import LINK_MS_MAX, Bucket, read_bucket
from gridd_protocol.errors import shown
from gridd_protocol.units import parse_duration_setting

_DURATION_MS_MAX = 100 * 365 * 24 * 3_600_000  # a century: beyond it a digit too many was typed
_LEASE_MS_MIN = 2_000  # the worker's clock, the network and a busy machine take their part
LOG_LEVELS = ("debug", "info", "warning", "error")


def duration_ms(text: str) -> int:
    """Milliseconds of ``28d``, ``1h30m``, ``1.5s``. Raises ``ValueError`` with a sentence."""
    value = parse_duration_setting(text)
    if value > _DURATION_MS_MAX:
        raise ValueError(f"{shown(text)} is longer than a century")
    return value


def retention(text: str) -> int:
    value = duration_ms(text)
    if value < 60_000:
        raise ValueError(f"{shown(text)} is too short; finished jobs are kept at least 1m")
    return value


def lease(text: str) -> int:
    value = duration_ms(text)
    if value < _LEASE_MS_MIN:
        raise ValueError(f"{shown(text)} is too short; the least is {_LEASE_MS_MIN} ms")
    return value


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65_535:
        raise ValueError(f"{shown(text)} is not a port; write a number from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise ValueError(f"{shown(text)} is not a number; write one such as 1000, or 0")
    return int(text)


def host(text: str) -> str:
    if not text or any(c.isspace() or c in "/?#@" for c in text):
        raise ValueError(f"{shown(text)} is not a host name or address")
    return text.removeprefix("[").removesuffix("]")


def path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError(f"{shown(text)} is not a path")
    return Path(text).expanduser()


def store(kind: str, scheme: str, instead: str) -> Callable[[str], Path]:
    """A folder; the address of a store that is not built yet is refused with a sentence."""

    def read(text: str) -> Path:
        if text.lower().startswith(f"{scheme}:"):
            raise ValueError(f"{shown(text)}: {kind} can't be kept on {instead} yet; name a folder")
        if "://" in text:
            raise ValueError(f"{shown(text)} is not a folder; {kind} are kept in one")
        return path(text)

    return read


def blobs(text: str) -> Path | Bucket:
    if text.lower().startswith("s3:"):
        return read_bucket(text)
    if "://" in text:
        raise ValueError(f"{shown(text)} is neither a folder nor s3://BUCKET")
    return path(text)


def link_life(text: str) -> int:
    value = duration_ms(text)
    if not 1_000 <= value <= LINK_MS_MAX:
        raise ValueError(f"{shown(text)} does not fit; a link lives from 1s to 7d")
    return value


def origin(text: str) -> str:
    """An origin as browsers send it: scheme, host, port; nothing after."""
    parts = urlsplit(text)
    try:
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    host_only = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    fits = parts.scheme in ("http", "https") and parts.hostname and host_only
    if not fits or not port_fits:
        raise ValueError(f"{shown(text)} is not an origin; write it as https://example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def origins(text: str) -> tuple[str, ...]:
    return tuple(origin(part.strip()) for part in text.split(",") if part.strip())


def public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{shown(text)} is not a URL; write it as https://grid.example.org")
    return text.rstrip("/")


def one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{shown(text)} is not one of {', '.join(names)}")
        return text.lower()

    return read


def switch(text: str) -> bool:
    """``on`` or ``off``; ``true`` and ``false`` too, as configuration files have them."""
    if text.lower() not in ("on", "off", "true", "false"):
        raise ValueError(f"{shown(text)} is not on or off")
    return text.lower() in ("on", "true")


def is_loopback(host: str) -> bool:
    """True for the names and addresses that only this machine reaches."""
    name = host.lower().removeprefix("[").removesuffix("]")
    return name in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None
