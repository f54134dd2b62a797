import pytest

from gridd.core.records import Needs
from gridd.core.sessions import RETURN_PAUSE_MS_MAX, Session, Sessions
from gridd_protocol.messages import Resources

GIB = 1 << 30


def session(**resources: object) -> Session:
    made = Session("w", 0)
    made.resources = Resources(**resources)  # type: ignore[arg-type]
    made.credit = 2
    made.peer = 1
    return made


@pytest.mark.parametrize(
    ("resources", "needs", "could"),
    [
        ({}, Needs(), True),
        ({}, Needs(kind="process"), False),
        ({"runs": ("process",)}, Needs(kind="process"), True),
        ({"runs": ("process",)}, Needs(), False),
        ({"cpus": 2.0}, Needs(cpus_milli=2_000), True),
        ({"cpus": 2.0}, Needs(cpus_milli=2_001), False),
        ({"cpus": 0.5}, Needs(cpus_milli=500), True),
        ({"gpus": 1}, Needs(gpus=1), True),
        ({"gpus": 1}, Needs(gpus=2), False),
        ({"memory": GIB}, Needs(memory=GIB), True),
        ({"memory": GIB}, Needs(memory=GIB + 1), False),
        ({"memory": 0}, Needs(memory=99 * GIB), True),  # it does not count memory
        ({"max_duration": 1_000}, Needs(max_duration=1_000), True),
        ({"max_duration": 1_000}, Needs(max_duration=1_001), False),
        ({"tags": ("a", "b")}, Needs(tags=("b",)), True),
        ({"tags": ("a",)}, Needs(tags=("a", "b")), False),
        ({"tags": ("a",)}, Needs(), True),
    ],
)
def test_could(resources: dict[str, object], needs: Needs, could: bool) -> None:
    assert session(**resources).could(needs) is could


def test_a_worker_of_1_001_cpus_could_never_take_a_job_of_1001_thousandths() -> None:
    """1.001 * 1000 is a little less than 1001 in binary fractions."""
    for milli in range(1, 256_001, 7):
        one = session(cpus=milli / 1_000)
        assert one.could(Needs(cpus_milli=milli)), milli
        assert one.fits(Needs(cpus_milli=milli)), milli
        assert not one.could(Needs(cpus_milli=milli + 1)), milli


def test_odd_numbers_of_cpus_do_not_raise() -> None:
    assert not session(cpus=float("nan")).could(Needs())
    assert session(cpus=float("inf")).could(Needs())


def test_what_is_held_is_not_free_and_comes_back() -> None:
    one = session(cpus=4.0, gpus=2, memory=4 * GIB)
    needs = Needs(cpus_milli=3_000, gpus=1, memory=3 * GIB)
    one.take("j", 1, needs)
    assert not one.fits(Needs(cpus_milli=1_001))
    assert one.fits(Needs(cpus_milli=1_000, gpus=1, memory=GIB))
    assert not one.fits(Needs(cpus_milli=0, gpus=2))
    assert not one.fits(Needs(cpus_milli=0, memory=GIB + 1))
    assert one.could(needs)
    one.give_back("j")
    assert one.fits(Needs(cpus_milli=4_000, gpus=2, memory=4 * GIB))
    assert (one.used_cpus_milli, one.used_gpus, one.used_memory) == (0, 0, 0)


def test_holds_asks_for_job_and_attempt() -> None:
    one = session()
    one.take("j", 2, Needs())
    assert one.holds("j", 2)
    assert not one.holds("j", 1)
    assert not one.holds("j", 3)
    assert not one.holds("k", 2)


def test_ready_and_willing() -> None:
    one = session()
    assert one.ready
    one.take("j", 1, Needs())
    one.take("k", 1, Needs())
    assert not one.ready
    assert one.willing  # when it has finished something
    one.credit = 0
    assert not one.willing
    one.credit = 3
    one.draining = True
    assert not one.ready
    assert not one.willing
    one.draining = False
    one.peer = None
    assert not one.ready
    assert not one.willing


def test_a_new_connection_takes_the_place_of_the_former() -> None:
    sessions = Sessions()
    one = sessions.expect("w", 0)
    assert sessions.bind(one, 1) is None
    assert sessions.bind(one, 1) is None  # hello again on the same connection
    assert sessions.bind(one, 2) == 1
    assert sessions.by_peer == {2: one}
    assert sessions.unbind(1) is None
    assert sessions.unbind(2) is one
    assert one.peer is None


def test_the_ready_ones_come_in_turn() -> None:
    sessions = Sessions()
    for n, name in enumerate("abc"):
        one = sessions.expect(name, 0)
        one.credit = 5
        sessions.bind(one, n)
        sessions.refresh(one)
    order = []
    for _ in range(6):
        one = next(iter(sessions.ready.values()))
        order.append(one.worker)
        sessions.served(one)
    assert "".join(order) == "abcabc"


def test_a_dropped_session_leaves_nothing_behind() -> None:
    sessions = Sessions()
    one = sessions.expect("w", 0)
    one.credit = 1
    sessions.bind(one, 1)
    sessions.refresh(one)
    sessions.drop(one)
    sessions.drop(one)  # twice is fine
    assert not sessions.by_worker
    assert not sessions.by_peer
    assert not sessions.ready


def test_views_show_the_connected_ones() -> None:
    sessions = Sessions()
    sessions.bind(sessions.expect("here", 5), 1)
    sessions.expect("gone", 5)
    (view,) = sessions.views()
    assert (view.id, view.joined_time, view.connected) == ("here", 5, True)


def test_the_pause_after_giving_back_doubles_up_to_its_bound_however_often_that_was() -> None:
    one = session()
    pauses = [one.gave_back("j", 0)[1] for _ in range(9)]
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
    one.returned["j"] = (10**15, 0)  # twice as long each time would not fit into any memory
    assert one.gave_back("j", 5) == (10**15 + 1, 5 + RETURN_PAUSE_MS_MAX)
