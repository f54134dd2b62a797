"""BuildKit by the engine's plain API: what it is asked for, and what stands for its events.

Without a session, so it gets no secrets, no logins and no ssh: its base images are there before it
starts. It knows no network but the engine's own bridge, none and the host's, and of the last, which
needs a permission that is never given, nothing comes of ``RUN --network=host``.

What a step finds in ``RUN --mount=type=cache`` is not part of what BuildKit knows its result by: a
stranger's build could fill such a folder and have its result taken for the same step of another's.
So where strangers submit, a build with mounts takes nothing of earlier ones, and its caches begin
empty.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gridd_protocol.canonical import canonical_json
from gridd_protocol.definitions import Build
from gridd_worker.images.buildkit_trace import TraceReader
from gridd_worker.images.error import ImageError
from gridd_worker.images.progress import Translate

_TRACE: Final = "moby.buildkit.trace"
_CACHES: Final = "BUILDKIT_CACHE_MOUNT_NS"
_MOUNT: Final = "--mount"


def buildkit_parameters(
    text: str, build: Build, arguments: Mapping[str, str], network: str, *, shared: bool
) -> dict[str, str]:
    """What the request for the Dockerfile ``text`` has that one to the classic builder has not.
    ``shared``: strangers submit here."""
    # Apart from what the machine's owner builds without the grid; and where strangers submit, from
    # all that is not asked for in the same words: steps of builds at once are not taken for one.
    caches = f"gridd-{_digest(build)}" if shared else "gridd"
    parameters = {
        "version": "2",
        "networkmode": "none" if network == "none" else "default",
        "buildargs": json.dumps({**arguments, _CACHES: caches}),
    }
    return parameters | ({"nocache": "1"} if shared and _MOUNT in text.lower() else {})


def _digest(build: Build) -> str:
    members = {name: getattr(build, name) for name in build.__struct_fields__}
    return hashlib.sha256(canonical_json(members).encode()).hexdigest()[:32]


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
