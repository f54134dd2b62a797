"""Both console scripts, as installed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    script = Path(sys.executable).parent / words[0]
    return subprocess.run(
        [str(script), *words[1:]], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in PROJECT["scripts"]),
        ["gridd", "serve"],
        ["gridd", "up"],
        ["gridd", "run"],
        ["gridd-worker", "run"],
    ],
    ids=" ".join,
)
def test_help_is_printed(words: list[str]) -> None:
    done = run(*words, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["gridd", "serve"], ["gridd-worker", "run"]], ids=" ".join)
def test_an_unknown_option_is_named_and_ends_with_2(words: list[str]) -> None:
    done = run(*words, "--no-such-option")
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr
    assert "Traceback" not in done.stderr
