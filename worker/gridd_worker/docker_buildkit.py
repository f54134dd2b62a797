"""BuildKit by the engine's plain API: what it is asked for, and what stands for its events.

Without a session, so it gets no secrets, no logins and no ssh: its base images are there before it
starts. It knows no network but the engine's own bridge, none and the host's, and of the last, which
needs a permission that is never given, nothing comes of ``RUN --network=host``.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gridd_protocol.canonical import canonical_json
from gridd_protocol.definitions import Build
from gridd_worker.buildkit_trace import TraceReader
from gridd_worker.docker_progress import Translate
from gridd_worker.image_error import ImageError

_TRACE: Final = "moby.buildkit.trace"
_CACHES: Final = "BUILDKIT_CACHE_MOUNT_NS"


def buildkit_parameters(build: Build, arguments: Mapping[str, str], network: str) -> dict[str, str]:
    """What the request has that one to the classic builder has not."""
    return {
        "version": "2",
        "networkmode": "none" if network == "none" else "default",
        "buildargs": json.dumps({**arguments, _CACHES: _cache_name(build)}),
    }


def _cache_name(build: Build) -> str:
    """What ``RUN --mount=type=cache`` is kept under. The block as written: who can have another
    content built under the same words could write into the same cache."""
    members = {name: getattr(build, name) for name in build.__struct_fields__}
    return f"gridd-{hashlib.sha256(canonical_json(members).encode()).hexdigest()[:32]}"


def shown_trace(trace: TraceReader) -> Translate:
    """What stands for an event of BuildKit's in the log."""

    def translate(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        lines = []
        if event.get("id") == _TRACE:
            try:
                lines = trace.read(base64.b64decode(event.get("aux") or "", validate=True))
            except (TypeError, binascii.Error):
                raise ImageError("BuildKit's progress can't be read", building=True) from None
        elif "error" in event:
            lines = trace.finish()
        for line, is_error in lines:
            yield {"stream": line, "stderr": is_error}
        if event.get("id") != _TRACE:
            yield event

    return translate
