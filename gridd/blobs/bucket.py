"""The settings of a blob store on S3, as they are written. Nothing here needs the S3 library."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gridd_protocol.errors import shown

LINK_MS: Final = 3_600_000
# The longest that a signature of version 4 may hold.
LINK_MS_MAX: Final = 7 * 24 * 3_600_000

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What S3 calls safe: no character that any store, proxy or signature treats in its own way.
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{1,200}")


@dataclass(frozen=True, slots=True)
class Bucket:
    """``prefix`` is empty or ends in a slash; what the store keeps lies under it."""

    name: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """``endpoint``: where the server reaches the store, ``None`` for Amazon's own.
    ``public_endpoint``: where those who download do, if that is another address.
    ``addressing``: ``path``, ``virtual`` or ``auto`` (``path`` where there is an endpoint).
    ``link_ms``: how long a download may be begun after it was asked for."""

    endpoint: str | None = None
    public_endpoint: str | None = None
    region: str | None = None
    addressing: str = "auto"
    link_ms: int = LINK_MS


def read_bucket(text: str) -> Bucket:
    """``s3://BUCKET[/PREFIX]``. Raises ``ValueError`` with a sentence."""
    name, _, prefix = text[len("s3://") :].partition("/")
    prefix = prefix.strip("/")
    if not text.lower().startswith("s3://") or not _NAME.fullmatch(name):
        raise ValueError(
            f"{shown(text)} is not a bucket; write it as s3://BUCKET or s3://BUCKET/PREFIX"
        )
    if prefix and (not _PREFIX.fullmatch(prefix) or {"", ".", ".."} & set(prefix.split("/"))):
        raise ValueError(
            f"{shown(text)}: the prefix may have letters, digits, !_.*'()- and single slashes, "
            "and at most 200 of them"
        )
    return Bucket(name, prefix + "/" if prefix else "")


def read_endpoint(text: str) -> str:
    """A URL without credentials: those come from the AWS environment only."""
    parts = urlsplit(text)
    try:
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if not fits or more or not text.isprintable() or " " in text:
        raise ValueError(f"{shown(text)} is not an endpoint; write it as https://s3.example.org")
    return text.rstrip("/")


def read_region(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,63}", text):
        raise ValueError(f"{shown(text)} is not a region; write it as eu-central-1")
    return text
