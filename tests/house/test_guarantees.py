"""docs/guarantees.md: each promise names tests, and each test that it names exists."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISED = TEXT.partition("\n## What is promised\n")[2].partition("\n## ")[0]
PROMISES = {
    part.partition("\n")[0]: part.partition("\n")[2] for part in PROMISED.split("\n### ")[1:]
}
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", TEXT)))


@functools.cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def test_there_are_promises() -> None:
    assert len(PROMISES) >= 10


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_names_the_tests_that_hold_it(promise: str) -> None:
    assert re.search(r"^- `tests/\S+\.py::test_\w+`$", PROMISES[promise], re.MULTILINE)


@pytest.mark.parametrize("named", NAMED)
def test_each_test_that_is_named_exists(named: str) -> None:
    path, _, name = named.partition("::")
    assert (ROOT / path).is_file(), f"there is no {path}"
    assert name.startswith("test_"), f"{named} names no test"
    assert name in functions_of(path), f"{path} has no {name}"
