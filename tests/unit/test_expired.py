"""What is remembered of expired jobs, and how much of it."""

from gridd.expired import ExpiredJobs

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def test_it_says_when_in_one_queue_and_in_all() -> None:
    expired = ExpiredJobs()
    expired.add("q1", A, 10)
    expired.add("q2", A, 20)
    assert (expired.when("q1", A), expired.when("q2", A), expired.when("q3", A)) == (10, 20, None)
    assert expired.when(None, A) == 20
    assert expired.when(None, B) is None


def test_beyond_its_bound_the_oldest_is_forgotten() -> None:
    expired = ExpiredJobs(kept_max=2)
    expired.add("q1", A, 1)
    expired.add("q2", B, 2)
    expired.add("q2", C, 3)
    assert [expired.when(None, job) for job in (A, B, C)] == [None, 2, 3]
    assert len(expired) == 2


def test_a_job_that_expires_again_counts_once() -> None:
    expired = ExpiredJobs(kept_max=2)
    for time in range(5):
        expired.add("q1", A, time)
    expired.add("q1", B, 9)
    assert (len(expired), expired.when("q1", A), expired.when("q1", B)) == (2, 4, 9)
