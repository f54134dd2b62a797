"""What upstream's small functions answered (transcript 30), held against ours."""

from typing import Any

import pytest

from gridd.core.effects import JobView
from gridd_protocol.units import parse_bytes, parse_duration
from gridd_worker.commandline import CommandError, split_command
from gridd_worker.config_values import gpus
from gridd_worker.images.progress import event_text
from gridd_worker.preference import preferred
from tests.upstream.player import transcript

TABLES = transcript("30-function-tables")


def rows(table: str, without: dict[Any, str]) -> list[Any]:
    """``without``: rows that ours answers otherwise, and why."""
    found = TABLES[table]
    assert set(without) <= {str(row[0]) for row in found}
    return [pytest.param(row, id=str(row[0])) for row in found if str(row[0]) not in without]


@pytest.mark.parametrize("row", TABLES["command_to_arguments"])
def test_commands(row: dict[str, Any]) -> None:
    if isinstance(row["arguments"], dict):  # it raised, and that ended the worker (D53)
        with pytest.raises(CommandError):
            split_command(row["command"], row.get("env"))
    else:
        assert split_command(row["command"], row.get("env")) == row["arguments"]


NO_DURATION = {
    "": "refused at submission (D52)",
    "abc": "refused at submission (D52)",
    "½h": "refused at submission (D52)",
    "1h abc": "refused at submission (D52)",
    "-5m": "refused at submission (D52)",
}


@pytest.mark.parametrize("row", rows("duration_to_ms", NO_DURATION))
def test_durations(row: Any) -> None:
    assert parse_duration(row[0]) == row[1]


@pytest.mark.parametrize("text", NO_DURATION)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


DOCKER_SIZES = {"64m": 64 << 20, "1g": 1 << 30, "512k": 512 << 10, "1gib": 1 << 30}
"""Units that upstream takes for bytes (D47)."""

NO_SIZES = ("abc", "", "-1mb")


@pytest.mark.parametrize(
    "row", rows("size_to_bytes", {**DOCKER_SIZES, **dict.fromkeys(NO_SIZES, "no size")})
)
def test_sizes(row: Any) -> None:
    assert parse_bytes(row[0]) == row[1]


@pytest.mark.parametrize(("text", "size"), DOCKER_SIZES.items())
def test_sizes_with_other_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", NO_SIZES)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)


NO_GPUS = {"all": "those of this machine, not always 8 (D51)", "none": "a plain 0 says it",
           "device=a": "refused"}  # fmt: skip


@pytest.mark.parametrize("row", rows("gpu_option", NO_GPUS))
def test_gpus(row: Any) -> None:
    devices = gpus(str(row[0]))
    assert len(devices) == row[1]["totalGpus"]
    named = [str(index) for index in row[1]["deviceIndices"]]
    assert list(devices) == (named or [str(index) for index in range(len(devices))])


NO_EVENTS = {"text": "an event is an object", "None": "an event is an object",
             "5": "an event is an object"}  # fmt: skip


@pytest.mark.parametrize("row", rows("engine_progress_to_log_line", NO_EVENTS))
def test_progress(row: Any) -> None:
    text = event_text(row[0])
    assert text is not None
    assert text.replace('": ', '":') == row[1]


@pytest.mark.parametrize(
    "row", [row for row in TABLES["preferred_worker_order"] if "".join(row).isascii()]
)
def test_which_worker_keeps_a_job(row: Any) -> None:
    """Of ASCII ids: those that upstream's workers make for themselves are hex."""
    one, other, kept = row
    assert preferred(one, other) == (kept == one)
    assert preferred(other, one) == (kept == other)


@pytest.mark.parametrize("row", TABLES["sent_to_clients"])
def test_what_clients_are_shown(row: Any) -> None:
    state, _, more = row[0].partition(" ")
    reason = more if state == "Finished" else None
    view = JobView(state, 1, 1, "w", ("_",), finished_reason=reason)
    assert view.visible == row[1]
