"""Which image goes next: by age and size, least recently used first, and only what is on record."""

from pathlib import Path
from typing import Any

import pytest

from gridd_worker.images.records import ImageRecords, OnEngine, Record
from gridd_worker.images.store import listed_name

HOUR = 3_600_000
NOW = 1_000 * HOUR


def image(name: str, size: int, *layers: str) -> OnEngine:
    return OnEngine(name, size, layers or (name,))


def engine(*images: OnEngine) -> dict[str, OnEngine]:
    return {one.id: one for one in images}


def next_name(records: ImageRecords, on: dict[str, OnEngine], **members: Any) -> str | None:
    options = {"age_ms_max": 100 * HOUR, "bytes_max": 1_000, "kept": set(), **members}
    found = records.next_to_go(on, NOW, **options)
    return found.name if found else None


@pytest.fixture
def records(tmp_path: Path) -> ImageRecords:
    return ImageRecords(tmp_path / "images.json")


def test_too_old(records):
    records.add(Record("old", "1", "pulled", NOW - 101 * HOUR))
    records.add(Record("new", "2", "pulled", NOW - 99 * HOUR))
    on = engine(image("1", 10), image("2", 10))
    assert next_name(records, on) == "old"
    assert next_name(records, on, kept={"old"}) is None
    records.touch("old", NOW)
    assert next_name(records, on) is None


def test_too_much_goes_by_use_and_spares_what_was_just_wanted(records):
    records.add(Record("a", "1", "pulled", NOW - 2 * HOUR))
    records.add(Record("b", "2", "built", NOW - 3 * HOUR))
    records.add(Record("c", "3", "pulled", NOW - 1_000))
    on = engine(image("1", 400), image("2", 400), image("3", 400), image("theirs", 9_000))
    assert next_name(records, on) == "b"
    assert next_name(records, on, bytes_max=1_200) is None
    records.forget("b")
    records.forget("a")
    assert next_name(records, on, bytes_max=1) is None


def test_layers_that_are_shared_count_once_and_those_of_others_not(records):
    records.add(Record("base", "1", "pulled", 0))
    records.add(Record("app", "2", "built", 0))
    records.add(Record("again", "2", "built", 0))
    records.add(Record("on-theirs", "3", "built", 0))
    on = engine(
        image("1", 500, "x"), image("2", 510, "x", "y"),
        image("theirs", 8_000, "o"), image("3", 8_007, "o", "p", "q"),
    )  # fmt: skip
    assert records.held_bytes(on) == 500 + 10 + 7


def test_steps_of_a_build_stay_with_it_and_go_last_made_first(records):
    records.add(Record("built", "9", "built", NOW - 200 * HOUR))
    for name in ("s1", "s2"):
        records.add(Record(name, name, "layer", NOW - 200 * HOUR, "built"))
    on = engine(image("9", 1), image("s1", 1), image("s2", 1))
    assert next_name(records, on) == "built"
    records.forget("built")
    assert next_name(records, on) == "s2"
    records.forget("s2")
    assert next_name(records, on) == "s1"


def test_records_outlive_the_process_and_a_clock_that_was_set_back(records, tmp_path):
    records.add(Record("a", "1", "pulled", NOW + HOUR))
    again = ImageRecords(tmp_path / "images.json")
    again.load(NOW)
    assert list(again) == [Record("a", "1", "pulled", NOW)]


@pytest.mark.parametrize("text", ["", "{", '{"version": 9, "images": []}', '{"version": 1}', "[]",
                                  '{"version": 1, "images": [{"name": 1}]}'])  # fmt: skip
def test_a_record_that_can_not_be_read_removes_nothing(tmp_path, caplog, text):
    (tmp_path / "images.json").write_text(text)
    records = ImageRecords(tmp_path / "images.json")
    records.load(NOW)
    assert list(records) == []
    assert "can't be read" in caplog.text


def test_a_use_is_written_down_once_an_hour(records, tmp_path):
    file = tmp_path / "images.json"
    records.add(Record("a", "1", "pulled", NOW))
    before = file.read_text()
    records.touch("a", NOW + HOUR - 1)
    assert file.read_text() == before
    records.touch("a", NOW + 2 * HOUR)
    assert str(NOW + 2 * HOUR) in file.read_text()


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("busybox:1", "busybox:1"), ("docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/a/b:1", "a/b:1"), ("h.test:5/a:1", "h.test:5/a:1"),
        ("h.test:5/a:1@sha256:0", "h.test:5/a@sha256:0"), ("h.test:5/a@sha256:0",) * 2,
    ],
)  # fmt: skip
def test_names_as_the_engine_lists_them(name, listed):
    assert listed_name(name) == listed
