"""The text format: what is written reads back, whatever stands in a label."""

import pytest

from gridd.metrics.histogram import Histogram
from gridd.metrics.text import Family, Sample, each, number, one, written
from tests.unit.metrics.exposition import read, value

NASTY = 'a"b\\c\nd}{,=é\\n'


def test_samples_of_a_family_stand_together_however_many_subjects() -> None:
    families = [
        Family("apples", "gauge", "Of a tree", one(lambda its: its["apples"])),
        Family("picked_total", "counter", "A\\b\nc", lambda its: each("by", its["picked"])),
    ]
    trees = [{"apples": 3, "picked": {NASTY: 1}}, {"apples": 0.5, "picked": {"me": 2}}]
    text = written(families, [((("tree", NASTY),), trees[0]), ((("tree", "2"),), trees[1])])
    found = read(text)
    assert list(found) == ["apples", "picked_total"]
    assert value(found, "apples", tree=NASTY) == 3
    assert value(found, "picked_total", tree=NASTY, by=NASTY) == 1
    assert value(found, "picked_total", tree="2", by="me") == 2
    assert found["picked_total"].help == "A\\\\b\\nc"


@pytest.mark.parametrize(
    ("given", "text"),
    [(0, "0"), (True, "1"), (2.0, "2"), (0.25, "0.25"), (1e-05, "1e-05"), (float("inf"), "+Inf"),
     (10**15, "1000000000000000")],
)  # fmt: skip
def test_numbers(given: float, text: str) -> None:
    assert number(given) == text


def test_a_histogram_counts_upwards() -> None:
    histogram = Histogram((0.1, 1, 10))
    for seen in (0.1, 0.100001, 5, 50, 0):
        histogram.observe(seen)
    family: Family[Histogram] = Family("t_seconds", "histogram", "T", Histogram.samples)
    found = read(written([family], [((), histogram)]))["t_seconds"].samples
    assert [found["t_seconds_bucket", (("le", at),)] for at in ("0.1", "1", "10", "+Inf")] == [
        2,
        3,
        4,
        5,
    ]
    assert found["t_seconds_count", ()] == histogram.count == 5
    assert found["t_seconds_sum", ()] == pytest.approx(55.200001)


def test_the_reader_takes_nothing_else() -> None:
    good = "# HELP a A\n# TYPE a gauge\na 1\n"
    assert value(read(good), "a") == 1
    sample = Sample(1, (("b", "c"),))
    assert sample.suffix == ""
    for bad in (
        good[:-1],
        "a 1\n",
        good + good,
        good + "a 2\n",
        good + "b 2\n",
        good + 'a{b="c} 2\n',
        good + 'a{b="c\\d"} 2\n',
        good + "a two\n",
        good.replace("gauge", "counter"),
        good.replace("gauge", "histogram"),
    ):
        with pytest.raises(AssertionError):
            read(bad)
