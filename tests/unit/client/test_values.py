"""Definitions from Python values have the ids of the command line's."""

import pytest

from gridd.arguments import build_parser
from gridd.client.definition import plan
from gridd.client.errors import UsageError
from gridd.client.values import plan_values


class Output:
    def __init__(self):
        self.reference = {"type": "url", "value": "http://g/f/1", "hash": "1"}


def test_the_same_as_the_flags(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"x" * 201)
    line = ["run", "--image", "a", "--env", "A=1", "--input", "t=text", "--cpus", "2"]
    line += ["--input", f"d=@{tmp_path / 'd'}"]
    flags = plan(build_parser().parse_args(line), ["echo", "a b"], "http://g", tmp_path)
    values = plan_values(
        "http://g",
        image="a",
        command=("echo", "a b"),
        env={"A": "1"},
        inputs={"t": "text", "d": tmp_path / "d"},
        requirements={"cpus": 2},
        tags=None,
    )
    assert values.definition == flags.definition
    assert values.uploads == flags.uploads


def test_kinds_of_inputs(tmp_path):
    (tmp_path / "f").write_bytes(b"f")
    inputs = {"b": b"\x00", "p": tmp_path / "f", "o": Output(), "j": {"a": [1.5, None]}, "n": 7}
    made = plan_values("http://g", image="a", inputs=inputs)
    assert made.definition["inputs"] == {
        "b": {"type": "base64", "value": "AA=="},
        "p": {"type": "base64", "value": "Zg=="},
        "o": {"type": "url", "value": "http://g/f/1", "hash": "1"},
        "j": {"type": "json", "value": {"a": [1.5, None]}},
        "n": {"type": "json", "value": 7},
    }


def test_values_go_over_a_definition():
    before = {"image": "a", "env": {"A": "1"}, "mine": 1}
    made = plan_values("http://g", definition=before, image="b", env={"B": "2"}, requirements={})
    assert made.definition == {"image": "b", "env": {"A": "1", "B": "2"}, "mine": 1}
    assert before == {"image": "a", "env": {"A": "1"}, "mine": 1}


def test_nothing_is_nothing_to_run():
    with pytest.raises(UsageError, match="nothing to run"):
        plan_values("http://g", requirements={})
