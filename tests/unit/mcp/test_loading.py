"""The SDK is loaded by the first call, and not before: its import takes about a second."""

import subprocess
import sys

import pytest

from gridd import cli
from gridd.client.errors import Exit, UsageError
from gridd.client.target import Target
from gridd.mcp import stdio


@pytest.mark.parametrize("module", ["gridd.server", "gridd.cli", "gridd.mcp.stdio"])
def test_it_is_not_imported_with(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "found = {'mcp', 'mcp_types', 'pydantic', 'starlette'} & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'gridd\[mcp\]'"):
        await stdio.serve(Target("http://127.0.0.1:9", "q"))


def test_the_command_needs_a_queue_for_a_grid_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GRIDD_QUEUE", "CQ_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["mcp", "--api", "https://grid.example.org"]) == Exit.USAGE
    assert "no queue named" in capsys.readouterr().err
