from gridd.core.lines import Lines
from gridd.core.records import Needs

SMALL, BIG = Needs(), Needs(cpus_milli=8_000)


def heads(lines: Lines) -> dict[Needs, str]:
    return {needs: job for needs, _, job in lines.heads()}


def test_the_head_is_the_oldest_whatever_the_order_of_arrival() -> None:
    lines = Lines()
    for sequence in (5, 3, 9, 4):
        lines.add(SMALL, sequence, f"j{sequence}")
    order = []
    while lines.waiting:
        ((_, sequence, job),) = lines.heads()
        order.append(job)
        lines.remove(SMALL, sequence)
    assert order == ["j3", "j4", "j5", "j9"]


def test_each_set_of_needs_has_a_line_of_its_own() -> None:
    lines = Lines()
    lines.add(BIG, 1, "big")
    lines.add(SMALL, 2, "small")
    lines.add(Needs(cpus_milli=8_000), 3, "equal to big")
    assert heads(lines) == {BIG: "big", SMALL: "small"}
    lines.remove(BIG, 1)
    assert heads(lines) == {BIG: "equal to big", SMALL: "small"}
    assert lines.waiting == 2


def test_a_job_that_comes_back_takes_its_old_place() -> None:
    lines = Lines()
    for sequence in (1, 2, 3):
        lines.add(SMALL, sequence, f"j{sequence}")
    lines.remove(SMALL, 1)
    assert heads(lines) == {SMALL: "j2"}
    lines.add(SMALL, 1, "j1")
    assert heads(lines) == {SMALL: "j1"}
    lines.remove(SMALL, 1)
    lines.remove(SMALL, 2)
    assert heads(lines) == {SMALL: "j3"}


def test_ahead_of_counts_over_all_lines() -> None:
    lines = Lines()
    for sequence, needs in ((1, SMALL), (2, BIG), (4, SMALL)):
        lines.add(needs, sequence, f"j{sequence}")
    assert [lines.ahead_of(n) for n in (1, 2, 3, 4, 9)] == [0, 1, 2, 2, 3]


def test_an_empty_line_is_forgotten() -> None:
    lines = Lines()
    lines.add(SMALL, 1, "j1")
    lines.remove(SMALL, 1)
    assert list(lines.heads()) == []
    assert lines._lines == {}


def test_jobs_that_leave_out_of_turn_do_not_pile_up() -> None:
    """A client that submits and cancels behind one old job: the heap stays small."""
    lines = Lines()
    lines.add(SMALL, 0, "old")
    for sequence in range(1, 10_000):
        lines.add(SMALL, sequence, "young")
        lines.remove(SMALL, sequence)
        assert len(lines._lines[SMALL].heap) <= 2 * 1 + 64 + 1
    assert heads(lines) == {SMALL: "old"}


def test_a_job_that_is_requeued_for_ever_does_not_pile_up() -> None:
    lines = Lines()
    lines.add(SMALL, 0, "old")
    lines.add(SMALL, 1, "again and again")
    for _ in range(1_000):
        lines.remove(SMALL, 1)
        lines.add(SMALL, 1, "again and again")
    assert len(lines._lines[SMALL].heap) <= 2 * 2 + 64 + 1
    assert [job for _, _, job in lines] == ["old", "again and again"]
