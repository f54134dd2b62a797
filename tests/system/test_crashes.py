"""What was acknowledged survives ``kill -9`` of everything, under load (``crashes.py``).

``GRIDD_CRASHES=100`` is the long form; 30 kills is what CI runs.
"""

import os
from pathlib import Path

import pytest

from tests.system.crashes import crash_and_account

KILLS = int(os.environ.get("GRIDD_CRASHES", "30"))


@pytest.mark.timeout(120 + 5 * KILLS)
async def test_every_acknowledged_job_is_accounted_for_after_kills(tmp_path: Path) -> None:
    grid = await crash_and_account(tmp_path, KILLS, seed=20)
    ledger, kills = grid.ledger, grid.kills
    assert ledger.faults == []
    assert kills.total() >= KILLS
    assert min(kills["of workers"], kills["of the server"]) > KILLS // 10, kills
    assert len(ledger.acknowledged) >= 2 * KILLS
    assert ledger.views.count >= len(ledger.acknowledged)
    for what in (
        "acknowledged over HTTP",
        "acknowledged over WebSocket",
        "inputs uploaded",
        "outputs from blobs",
        "jobs run more than once",
        "stops in order",
    ):
        assert ledger.counts[what] > 0, ledger.counts
