"""Which grid and which queue: where they are named, and links into the grid's page."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from gridd.client.errors import UsageError
from gridd.config_values import is_loopback
from gridd_protocol import limits
from gridd_protocol.canonical import without_surrogates
from gridd_protocol.errors import shown

DEFAULT_API = "http://127.0.0.1:8000"
_NAME_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u to misread
_NAME_CHARACTERS = 28  # 5 bits each: 140 bits
_NAME_GROUP = 4
_HASH_SAFE = "-_.!~*'()"  # left alone when a page writes JSON into its hash (BROWSER 2.3)
_QUEUE_SAFE = "!$'()*+,;:@/?-._~"  # what the value of a hash parameter may hold as it is


@dataclass(frozen=True, slots=True)
class Target:
    """``api`` is a URL without a slash at its end; ``queue`` a name, not encoded."""

    api: str
    queue: str

    def page(self, job: str) -> str:
        """The job's page (BROWSER 2.1, short form)."""
        return f"{self.api}/j/{quote(job, safe='')}#?queue={_hash_value(self.queue)}"

    def queue_page(self) -> str:
        return f"{self.api}/#?queue={_hash_value(self.queue)}"

    def page_of(self, definition: Mapping[str, Any]) -> str:
        """A link that holds the whole definition (BROWSER 2.1, self-contained form)."""
        text = self.text_of(definition)
        escaped = quote(without_surrogates(text), safe=_HASH_SAFE)
        encoded = base64.b64encode(escaped.encode("ascii")).decode("ascii")
        return f"{self.api}/#?job={encoded}&queue={_hash_value(self.queue)}"

    @staticmethod
    def text_of(definition: Mapping[str, Any]) -> str:
        """Its JSON, as pages write it into links."""
        return json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def resolve(api: str | None, queue: str | None, environ: Mapping[str, str]) -> Target:
    """Option over ``GRIDD_*`` over ``CQ_*`` over default. Raises ``UsageError``."""
    return Target(*_resolved(api, queue, environ))


def resolve_api(api: str | None, environ: Mapping[str, str]) -> str:
    """As ``resolve``, for what needs no queue."""
    given = api or environ.get("GRIDD_API") or environ.get("CQ_API") or DEFAULT_API
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{shown(given)} is not a grid's URL; write it as {DEFAULT_API}")
    return given.rstrip("/")


def _resolved(api: str | None, queue: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    address = resolve_api(api, environ)
    name = queue or environ.get("GRIDD_QUEUE") or environ.get("CQ_QUEUE")
    if not name and is_loopback(urlsplit(address).hostname or ""):
        name = "local"
    if not name:
        raise UsageError(
            f"no queue named for {address}; give --queue NAME or set GRIDD_QUEUE "
            "(`gridd queue new` makes a name that nobody can guess)"
        )
    if len(name.encode("utf-8", "surrogatepass")) > limits.QUEUE_NAME_BYTES_MAX:
        raise UsageError(
            f"queue name {shown(name)} is longer than {limits.QUEUE_NAME_BYTES_MAX} bytes"
        )
    return address, name


def new_queue_name() -> str:
    """A name that nobody can guess: who knows a queue's name may use it, so it is the secret."""
    letters = [secrets.choice(_NAME_ALPHABET) for _ in range(_NAME_CHARACTERS)]
    groups = range(0, _NAME_CHARACTERS, _NAME_GROUP)
    return "-".join("".join(letters[at : at + _NAME_GROUP]) for at in groups)


def _hash_value(queue: str) -> str:
    return quote(queue, safe=_QUEUE_SAFE)
