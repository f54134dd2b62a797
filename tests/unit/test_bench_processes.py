"""Starting a bench's process: a child that never says that it is ready is not waited for."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "bench" / "processes.py"
NO_LOG = Path(os.devnull)


@pytest.fixture(scope="module")
def processes() -> Any:
    spec = importlib.util.spec_from_file_location("bench_processes", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


@contextmanager
def child(script: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = ["sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("script", ["read gone", "printf half; read gone", "echo other; read gone"])
def test_a_child_that_is_never_ready_is_given_up(processes: Any, script: str) -> None:
    with child(script) as process:
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="was not ready"):
            processes._await_line(process, "half|ready", NO_LOG, 0.2)
        assert time.monotonic() - began < 10


def test_one_that_ends_is_not_waited_for(processes: Any) -> None:
    with child("echo other") as process, pytest.raises(RuntimeError, match="other"):
        processes._await_line(process, "ready", NO_LOG)


def test_the_whole_line_is_read(processes: Any) -> None:
    with child("echo x; printf http://127.0.0.1:80; sleep 0.2; echo 00") as process:
        match = processes._await_line(process, r"(http://[\d.]+:\d+)", NO_LOG)
        assert match.group(1) == "http://127.0.0.1:8000"
