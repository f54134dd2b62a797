"""Which waiting jobs are for us: order, room, definitions that come and those that do not."""

from typing import Any

import msgspec
import pytest

from gridd_protocol import job_id
from gridd_protocol.messages import Resources
from gridd_worker.upstream import offers as upstream_offers
from gridd_worker.upstream.offers import ASKED_AT_ONCE, REQUEST_MS, UNFIT_MS, Offers
from gridd_worker.upstream.shapes import Seen

NOW = 1_000_000


def definition(command: str, **more: Any) -> dict[str, Any]:
    return {"image": "a", "command": command, **more}


def raw(*definitions: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {job_id(one): msgspec.Raw(msgspec.json.encode(one)) for one in definitions}


def waiting(*definitions: dict[str, Any]) -> dict[str, Seen]:
    return {job_id(one): Seen("Queued", queued_time=at) for at, one in enumerate(definitions)}


@pytest.fixture
def offers() -> Offers:
    offers = Offers()
    offers.resources = Resources(cpus=2)
    return offers


A, B, BIG = definition("a"), definition("b"), definition("c", requirements={"cpus": 64})
JOB_A, JOB_B, JOB_BIG = map(job_id, (A, B, BIG))


def test_the_oldest_whose_definition_is_here_is_next(offers: Offers) -> None:
    seen = waiting(A, B)
    assert offers.next(seen, {}, 1, NOW) == ([], [JOB_A, JOB_B])
    offers.came(raw(B, A), NOW)
    assert offers.next(seen, {}, 1, NOW) == ([JOB_A], [])
    assert offers.next(seen, {JOB_A: 1}, 1, NOW) == ([JOB_B], [])
    offers.forget(JOB_A)
    assert offers.definition(JOB_A) is None
    assert offers.next(seen, {}, 2, NOW) == ([JOB_B], [JOB_A])


def test_what_runs_elsewhere_and_what_has_no_proper_id_is_left_out(offers: Offers) -> None:
    seen = {JOB_A: Seen("Running", "w9"), "../up": Seen("Queued"), JOB_B: Seen("Finished")}
    assert offers.next(seen, {}, 5, NOW) == ([], [])


def test_a_definition_is_asked_for_again_after_a_while_and_on_a_new_connection(
    offers: Offers,
) -> None:
    seen = waiting(A)
    assert offers.next(seen, {}, 1, NOW) == ([], [JOB_A])
    assert offers.next(seen, {}, 1, NOW + REQUEST_MS - 1) == ([], [])
    assert offers.next(seen, {}, 1, NOW + REQUEST_MS) == ([], [JOB_A])
    offers.ask_again()
    assert offers.next(seen, {}, 1, NOW + REQUEST_MS) == ([], [JOB_A])


def test_what_does_not_fit_is_left_alone_for_an_hour(offers: Offers) -> None:
    seen = waiting(BIG)
    offers.came(raw(BIG), NOW)
    assert offers.next(seen, {}, 1, NOW + UNFIT_MS - 1) == ([], [])
    assert offers.next(seen, {}, 1, NOW + UNFIT_MS) == ([], [JOB_BIG])


def test_what_is_kept_and_asked_for_has_a_bound(
    offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [definition(str(number)) for number in range(ASKED_AT_ONCE + 5)]
    _, wanted = offers.next(waiting(*many), {}, 100, NOW)
    assert wanted == [job_id(one) for one in many[:ASKED_AT_ONCE]]
    monkeypatch.setattr(upstream_offers, "DEFINITIONS_KEPT", 1)
    monkeypatch.setattr(upstream_offers, "UNFIT_KEPT", 1)
    offers.came(raw(A, B), NOW)
    assert (offers.definition(JOB_A), offers.definition(JOB_B) is None) == (None, False)
    offers.leave_alone(JOB_A, NOW + 1)
    offers.leave_alone(JOB_B, NOW + 1)
    assert offers.next(waiting(A, B), {}, 2, NOW) == ([], [JOB_A])
