"""When to speak, and when a server that says nothing is gone."""

import pytest

from gridd_protocol.limits import HEARTBEAT_MS, LEASE_MS
from gridd_worker.pulse import Pulse


def test_a_heartbeat_is_due_when_either_side_was_silent() -> None:
    pulse = Pulse()
    pulse.begin(100)
    assert pulse.beat_due_ms == 100 + HEARTBEAT_MS
    pulse.spoke(2_000)
    assert pulse.beat_due_ms == 100 + HEARTBEAT_MS, "the server was not heard"
    pulse.heard(3_000)
    assert pulse.beat_due_ms == 2_000 + HEARTBEAT_MS
    pulse.beat(4_000)
    assert pulse.beat_due_ms == 4_000 + HEARTBEAT_MS, "one question at a time"


@pytest.mark.parametrize(
    ("heartbeat_ms", "lease_ms", "allowed_ms"),
    [
        (5_000, 30_000, 15_000),
        (5_000, 10_000, 10_000),  # never longer than the lease
        (100, 30_000, 1_000),  # nor so short that a pause of ours looks like its end
        (0, -1, min(3 * HEARTBEAT_MS, LEASE_MS)),
    ],
)
def test_silence_has_an_end(heartbeat_ms: int, lease_ms: int, allowed_ms: int) -> None:
    pulse = Pulse()
    pulse.agree(heartbeat_ms, lease_ms)
    pulse.begin(7)
    pulse.spoke(500)
    assert pulse.silence_end_ms == 7 + allowed_ms
    pulse.heard(300)
    assert pulse.silence_end_ms == 300 + allowed_ms
