"""The result of a run, as it travels in ``finished`` and stands in ``result.json``."""

from typing import Any

import msgspec

from gridd_protocol.messages import LogLine


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """Member names are upstream's (``StatusCode`` included).

    ``logs`` holds only lines that were *not* streamed as ``log`` messages (the worker's own
    remarks, such as the exit code); the server puts the streamed run log in front of them when
    it answers ``result.json``. ``outputs`` maps names to references. ``duration`` is in ms.
    """

    StatusCode: int | None = None
    duration: int | None = None
    isTimedOut: bool = False
    outputs: dict[str, dict[str, Any]] = {}
    error: Any = None
    logs: list[LogLine] = []
