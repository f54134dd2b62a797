"""Every recorded exchange: how it is played, or why it is not."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """``entries``: numbers and ranges of the transcript to play, in this order; empty: all.
    ``without``: sockets that are left out. ``why`` something is.
    ``settings`` are the engine's, ``options`` the server's; ``blobs``: where files are kept.
    """

    transcript: str
    part: str = ""
    entries: str = ""
    without: tuple[str, ...] = ()
    why: str = ""
    settings: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    blobs: str = "folder"

    @property
    def name(self) -> str:
        return f"{self.transcript}: {self.part}" if self.part else self.transcript

    def of(self, timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
        chosen = timeline
        if self.entries:
            chosen = [timeline[at] for at in _places(self.entries, [e["n"] for e in timeline])]
        left_out = set(self.without)
        chosen = [
            entry
            for entry in chosen
            if not left_out & {entry.get(key) for key in ("open", "close", "from", "to")}
        ]
        said = _said(chosen)
        return [_without_others(entry, said) for entry in chosen]


def _places(entries: str, numbers: list[int]) -> Iterator[int]:
    for piece in entries.split():
        first, _, last = piece.partition("-")
        wanted = range(int(first), int(last or first) + 1)
        yield from (at for at, number in enumerate(numbers) if number in wanted)


def _said(entries: list[dict[str, Any]]) -> str:
    """All that was asked of the server, and the ids of the jobs that were submitted."""
    asked = [entry for entry in entries if entry.get("from", "http") != "server"]
    return json.dumps([[e.get("frame"), e.get("http"), _job_of(e)] for e in asked])


def _job_of(entry: dict[str, Any]) -> Any:
    answer = (entry.get("response") or {}).get("json")
    return answer.get("jobId") if isinstance(answer, dict) else None


def _without_others(value: Any, said: str) -> Any:
    """Jobs of other exchanges are not there when this one is played by itself."""
    if isinstance(value, list):
        return [_without_others(one, said) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_others(member, said)
        for name, member in value.items()
        if not (isinstance(member, dict) and "state" in member and "worker" in member)
        or name in said
    }


ONE_CLAIM = "upstream lets two workers claim one job; here it is shown to one (DESIGN 5.5, F7)"
PROCESS = "a job without image and build waits for a worker that takes such (DESIGN 5.13)"
PROTOCOL = "10-socket-protocol"
LOCAL = {"open_to_all": False, "allow_origin": ("http://example.org",)}

EXCHANGES = [
    Exchange("01-success"),
    Exchange("02-nonzero-exit"),
    Exchange("03-bad-image"),
    Exchange("04-timed-out"),
    Exchange("05-cancel-running"),
    Exchange("06-cancel-queued"),
    Exchange("07-namespace-replacement"),
    Exchange("08-worker-lost", settings={"lease_ms": 1_000, "heartbeat_ms": 300}),
    Exchange("09-build", entries="0-102 134-135", why=PROCESS),
    Exchange(PROTOCOL, "welcome", "0-28"),
    Exchange(
        PROTOCOL, "a job and its end, told twice", "8-17 29-36 42-45 49-54 62 57-59 63-90",
        ("worker-b",), ONE_CLAIM,
    ),
    Exchange(PROTOCOL, "deleted", "8-10 91-110", ("worker-a", "worker-b"), "no part"),
    Exchange(PROTOCOL, "an error, and again", "8-17 111-134", ("worker-b",), ONE_CLAIM),
    Exchange(PROTOCOL, "jobs that nobody knows", "8-17 135-147", ("worker-b",), ONE_CLAIM),
    Exchange(PROTOCOL, "lost by its own word", "8-17 148-163", ("worker-b",), ONE_CLAIM),
    Exchange(PROTOCOL, "ids that are no hash", "8-10 164-183", ("worker-a", "worker-b"), "no part"),
    Exchange(PROTOCOL, "odd frames", "8-17 184-206", ("worker-b",), "no part"),
    Exchange(PROTOCOL, "status, and a second socket", "8-26 207-230 234-236"),
    Exchange(PROTOCOL, "an unknown socket", "231-233"),
    Exchange("11-ageing"),
    Exchange("12-files", blobs="s3"),
    Exchange("13-http-errors"),
    Exchange("14-inputs-outputs", blobs="s3"),
    Exchange("15-webhooks"),
    Exchange("16-mcp"),
    Exchange("17-server-restart"),
    Exchange("18-server-restart-slow"),
    Exchange("20-local-mode-states", options=LOCAL),
    Exchange("21-local-mode-files", options=LOCAL),
    Exchange("22-local-mode-http-errors", options=LOCAL),
    Exchange("23-local-mode-inputs", options=LOCAL),
    Exchange("24-local-mode-mcp", options=LOCAL),
]  # fmt: skip

NOT_PLAYED = {
    "19-ending-frames": "each is sent in tests/system/test_ending_frames.py",
    "30-function-tables": "its rows are vectors of tests/unit/test_upstream_tables.py",
}
