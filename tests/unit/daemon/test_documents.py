"""What becomes of an outcome when the time of its log is over."""

import json

import msgspec
import pytest

from gridd import documents
from gridd.core import records as r
from gridd.core.effects import JobView

LOGS = b'{"run":[["said\\n",5]]}'


def outcome(result: bytes, **members: object) -> r.Finished:
    return r.Finished("q", "j", 5, "Success", 1, "w", "", result, LOGS, **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (b'{"StatusCode":0,"duration":1.50}', b'{"StatusCode":0,"duration":1.50}'),
        (b'{"a":1e2,"logs":[["x",1]],"b":{"logs":2}}', b'{"a":1e2,"b":{"logs":2}}'),
        (b'{"logs":[["whole",1]],"logsComplete":true,"StatusCode":3}', b'{"StatusCode":3}'),
        (b'{"logs":[["\\ud800",1]],"StatusCode":3}', b'{"StatusCode":3}'),
        (b"", b""),
    ],
)
def test_all_but_the_log_stays_as_it_was_written(result: bytes, kept: bytes) -> None:
    assert documents.without_logs(outcome(result)) == msgspec.structs.replace(
        outcome(kept), logs=b""
    )


def test_an_outcome_without_its_log_says_so() -> None:
    payload = msgspec.msgpack.encode(outcome(b'{"StatusCode":0}', carried=True))
    view = JobView(state="Finished", queued_time=1, time=5, worker="w", namespaces=("_",))
    told = json.loads(documents.finished_of(payload, view, b"{}"))["finished"]["result"]
    assert told["logsExpired"] is True
    assert told["StatusCode"] == 0
    assert documents.logs_of(payload).expired
    whole = msgspec.msgpack.encode(outcome(b'{"StatusCode":0}'))
    assert not documents.logs_of(whole).expired
    assert "logsExpired" not in json.loads(documents.finished_of(whole, view, b"{}"))["finished"]
