"""What is read back from the journal: definitions, finished jobs, stored logs.

Pure functions from records to the JSON that peers get (WIRE 1.5, 1.7).
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from gridd.core import records as r
from gridd.core.effects import JobView
from gridd.core.logs import StoredLogs
from gridd.submission import shown_members
from gridd_protocol.canonical import read_json, without_surrogates
from gridd_protocol.messages import LogLine

_read_record = msgspec.msgpack.Decoder(r.Record).decode
_read_logs = msgspec.json.Decoder(StoredLogs).decode


def definition_of(payload: bytes) -> bytes:
    """The definition's JSON text, exactly as submitted."""
    record = _read_record(payload)
    assert isinstance(record, r.Submitted | r.KeptJob), type(record)
    return record.definition


def logs_of(payload: bytes) -> StoredLogs:
    record = _read_record(payload)
    assert isinstance(record, r.Finished), type(record)
    if record.carried:
        return StoredLogs(expired=True)
    return _read_logs(record.logs) if record.logs else StoredLogs()


def without_logs(record: r.Finished) -> r.Finished:
    """The outcome alone, all else as it was written. A worker may have put a log into its result
    too (``logsComplete``, or its own remarks)."""
    result = record.result
    if b'"logs' in result:
        try:
            members = msgspec.json.decode(result, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:
            members = _result_of(result)
        kept = {name: members[name] for name in members if name not in ("logs", "logsComplete")}
        result = msgspec.json.encode(kept)
    return msgspec.structs.replace(record, result=result, logs=b"")


def finished_of(payload: bytes, view: JobView, definition: bytes | None) -> bytes:
    """The finished job: the job's record with ``finished`` (WIRE 1.5).

    ``result.logs`` is what the program printed, then the worker's own remarks. Of a job that
    never ran its program, it is what building or pulling its image printed. When the log's time
    is over, ``result.logsExpired`` is true. ``tags`` and
    ``requirements`` come from ``definition``: an archived job has none at hand.
    """
    record = _read_record(payload)
    assert isinstance(record, r.Finished), type(record)
    logs = _read_logs(record.logs) if record.logs else StoredLogs()
    result = _result_of(record.result)
    if record.reason in ("Success", "Error", "TimedOut"):
        # left out when they are as ever; upstream's peers read them unasked (WIRE 6.10)
        result.setdefault("isTimedOut", record.reason == "TimedOut")
        result.setdefault("outputs", {})
    printed = logs.told("run") or (logs.told("build") if record.reason == "Error" else [])
    if result.pop("logsComplete", False):  # its worker told the whole log (edge/upstream_results)
        printed = []
    result["logs"] = [*wire_lines(printed), *result.get("logs", [])]
    if record.carried:
        result["logsExpired"] = True
    finished: dict[str, Any] = {
        "type": "Finished",
        "reason": record.reason,
        "worker": record.worker,
        "time": record.time,
        "result": result,
    }
    if record.message:
        finished["message"] = record.message
    job: dict[str, Any] = msgspec.to_builtins(view, builtin_types=(msgspec.Raw,))
    for name, text in zip(("tags", "requirements"), shown_members(definition or b""), strict=True):
        if text:
            job[name] = msgspec.Raw(text)
    return msgspec.json.encode({**job, "finished": finished})


def _result_of(text: bytes) -> dict[str, Any]:
    """What the worker wrote. Half of a surrogate pair, which JavaScript writes and UTF-8 has no
    place for, becomes U+FFFD."""
    if not text:
        return {}
    try:
        result: dict[str, Any] = msgspec.json.decode(text)
    except msgspec.DecodeError:
        written_out = json.dumps(read_json(text), ensure_ascii=False)
        result = json.loads(without_surrogates(written_out))
    return result


def wire_lines(lines: Iterable[LogLine]) -> list[list[str | int | bool]]:
    """Each ``[text, time]``, or ``[text, time, true]`` for stderr (WIRE 1.7)."""
    return [
        [line.text, line.time, True] if line.stderr else [line.text, line.time] for line in lines
    ]
