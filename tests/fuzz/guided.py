"""A coverage-guided fuzzer: inputs that reach a new branch are kept and bent further.

    python -m tests.fuzz.guided --seconds 120 [--seed N] [TARGET ...]

What it keeps goes into ``corpus/``, which the tests replay. It stops at the first input that
breaks a target, and prints it.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
KEPT_BYTES_MAX = 4_096
"""Larger ones are bent further, but do not go into the corpus."""

Edge = tuple[str, int, int]


def corpus(name: str) -> list[bytes]:
    path = CORPUS / f"{name}.json"
    return [bytes.fromhex(text) for text in json.loads(path.read_text("utf-8"))]


class Coverage:
    """Steps from line to line in our own packages, while ``watch`` runs."""

    def __init__(self) -> None:
        self.edges: set[Edge] = set()
        self._last: dict[int, int] = {}

    def watch(self, target: Target, data: bytes) -> None:
        sys.settrace(self._call)
        try:
            target(data)
        finally:
            sys.settrace(None)
            self._last.clear()

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        module = frame.f_globals.get("__name__", "")
        return self._line if module.startswith("gridd") else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        before = self._last.get(id(frame), 0)
        self._last[id(frame)] = frame.f_lineno
        self.edges.add((frame.f_code.co_filename, before, frame.f_lineno))
        return self._line


def run(name: str, seconds: float, chance: random.Random) -> tuple[int, int, int]:
    """Inputs tried, kept, and steps reached. Raises what the target raises, after printing it."""
    target, seeds, tokens = TARGETS[name]
    coverage = Coverage()
    found: list[bytes] = []
    pool = [*seeds, *(corpus(name) if (CORPUS / f"{name}.json").exists() else [])]
    for data in pool:
        coverage.watch(target, data)
    deadline, tried = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        data = mutated(pool, tokens, chance)
        before, tried = len(coverage.edges), tried + 1
        try:
            coverage.watch(target, data)
        except BaseException:
            sys.stderr.write(f"{name}: this broke it: {data[:1000].hex()}\n")
            raise
        if len(coverage.edges) > before:
            pool.append(data)
            found.append(data)
    _keep(name, found)
    return tried, len(found), len(coverage.edges)


def _keep(name: str, found: list[bytes]) -> None:
    """Of all that is known, small ones first, those that add a step to what the seeds reach."""
    target, seeds, _ = TARGETS[name]
    path = CORPUS / f"{name}.json"
    known = corpus(name) if path.exists() else []
    coverage = Coverage()
    for data in seeds:
        coverage.watch(target, data)
    kept: list[str] = []
    for data in sorted({*known, *found}, key=lambda data: (len(data), data)):
        before = len(coverage.edges)
        coverage.watch(target, data)
        if len(coverage.edges) > before and len(data) <= KEPT_BYTES_MAX:
            kept.append(data.hex())
    CORPUS.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=0) + "\n", "utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("targets", nargs="*", default=list(TARGETS))
    chosen = options.parse_args()
    chance = random.Random(chosen.seed)
    for name in chosen.targets:
        tried, kept, steps = run(name, chosen.seconds, chance)
        sys.stdout.write(f"{name}: {tried} inputs, {kept} kept, {steps} steps reached\n")


if __name__ == "__main__":
    main()
