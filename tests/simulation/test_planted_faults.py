"""It bites: each planted fault is found within the number of worlds that stands beside it.

A simulation that finds nothing when something is wrong proves nothing when it finds nothing.
"""

from __future__ import annotations

import pytest

from tests.simulation import planted
from tests.simulation.planted import Plant
from tests.simulation.world import World

FOUND_WITHIN: list[tuple[Plant, int]] = [
    (planted.ignore_the_attempt, 40),
    (planted.lose_a_requeue, 10),
    (planted.forget_first_in_first_out, 20),
    (planted.requeue_at_the_end, 30),
    (planted.lease_an_attempt_twice, 10),
    (planted.believe_any_worker, 20),
    (planted.run_an_answered_job_again, 10),
    (planted.keep_two_jobs_in_a_namespace, 10),
    (planted.count_log_lines_anew_each_attempt, 60),
    (planted.forget_to_match_after_a_result, 20),
    (planted.never_look_at_leases, 20),
    (planted.answer_before_the_sync, 10),
    (planted.replay_in_the_wrong_order, 10),
    (planted.forget_that_the_clock_was_set_back, 30),
    (planted.snapshot_at_a_later_place_than_its_state, 60),
    (planted.let_a_walk_see_later_changes, 250),
    (planted.forget_a_segment_too_many, 30),
    (planted.carry_nothing_on, 20),
    (planted.carry_an_outcome_without_its_result, 20),
    (planted.apply_nothing_after_the_snapshot, 10),
    (planted.skip_the_sync, 10),
    (planted.skip_the_sync_of_a_snapshot, 20),
    (planted.skip_the_sync_of_the_directory, 20),
    (planted.cut_the_tail_when_it_is_damage, 200),
    (planted.keep_a_torn_tail, 10),
    (planted.go_on_after_a_failed_sync, 40),
    (planted.leave_the_bytes_of_a_failed_sync, 80),
    (planted.believe_every_checksum, 20),
    (planted.take_no_lock, 20),
    (planted.rely_on_the_lock_alone, 20),
]


@pytest.mark.parametrize(
    ("plant", "worlds"), FOUND_WITHIN, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_planted_fault_is_found(
    plant: Plant, worlds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(worlds):
        try:
            World(seed).run()
        except Exception:  # a Violation, the engine's own check, or what the fault broke
            return
    pytest.fail(f"{plant.__name__} went unnoticed through {worlds} worlds")
