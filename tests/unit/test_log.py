"""Log lines for people and for machines."""

import io
import json
import logging

import pytest

from gridd import log


@pytest.fixture(autouse=True)
def _as_before():
    """Leave the process's logging as it was."""
    names = ("", "gridd", "gridd_protocol")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def written(format, level="info"):
    stream = io.StringIO()
    log.setup(level, format, stream)
    return stream


def test_text_has_the_fields_behind_the_sentence():
    stream = written("text")
    logging.getLogger("gridd.x").info(
        "lease %s", "expired", extra={"job": "3f2a", "why": "went away", "empty": ""}
    )
    moment, rest = stream.getvalue().rstrip("\n").split(" info ")
    assert rest == 'gridd.x: lease expired job=3f2a why="went away" empty=""'
    assert len(moment) == len("2026-01-31 12:00:00.123")


def test_json_has_the_fields_as_members():
    stream = written("json")
    logging.getLogger("gridd").warning(
        "worker joined", extra={"worker": "w1", "count": 2, "level": "mine", "odd": {1}}
    )
    [line] = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "warning",
        "logger": "gridd",
        "event": "worker joined",
        "worker": "w1",
        "count": 2,
        "level_": "mine",
        "odd": "{1}",
    }


def test_a_peer_can_not_forge_a_line():
    stream = written("text")
    logging.getLogger("gridd").info("job \n2026 critical", extra={"name_": "a\x1b[2Jb\nc"})
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert "\\n2026 critical" in stream.getvalue()


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_is_told(format):
    stream = written(format)
    try:
        raise ValueError("the reason")
    except ValueError:
        logging.getLogger("gridd").exception("failed")
    assert "ValueError: the reason" in stream.getvalue()


def test_set_up_twice_writes_once_and_in_the_newer_form():
    first, second = written("text"), written("json")
    logging.getLogger("gridd").info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_levels():
    stream = written("text", "warning")
    logging.getLogger("gridd.edge").info("quiet")
    logging.getLogger("aiohttp.server").info("theirs, quiet")
    logging.getLogger("aiohttp.server").warning("theirs, loud")
    assert "quiet" not in stream.getvalue()
    assert "theirs, loud" in stream.getvalue()
    stream = written("text", "debug")
    logging.getLogger("gridd.edge").debug("seen")
    assert "seen" in stream.getvalue()
