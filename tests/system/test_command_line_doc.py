"""Every command of docs/command-line.md, run as it stands there."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridd import cli
from gridd.client.errors import Exit
from tests.system.support.up import grid_up

DOCUMENT = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    text = "".join(text for kind, text in BLOCKS if kind == "sh")
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [line for line in words if line]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the document names."""
    home = tmp_path_factory.mktemp("home")
    (home / "folder").mkdir()
    (home / "folder" / "Dockerfile").write_text("FROM scratch\n")
    (home / "stars.csv").write_text("a star\n" * 100)
    [toml] = [text for kind, text in BLOCKS if kind == "toml"]
    (home / "job.toml").write_text(toml)
    return home


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with grid_up(tmp_path_factory.mktemp("grid"), "null") as url:
        yield url


def test_every_command_does_what_it_says(
    url: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("GRIDD_QUEUE", "CQ_API", "CQ_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRIDD_API", url)
    monkeypatch.chdir(home)
    lines = commands()
    assert len(lines) > 20
    job = ""
    for words in lines:
        assert words[0] == "gridd", words
        code = cli.main([job if word == "JOB" else word for word in words[1:]])
        out, err = capsys.readouterr()
        # a doctor may find something wrong on the machine that tests, and says so with 1
        assert code in ((0, 1) if words[1] == "doctor" else (0,)), (words, out, err)
        if words[1] == "submit" and not job:
            job = out.strip()
            assert len(job) == 64
        elif words[1:3] == ["submit", "--dry-run"]:
            assert out.strip() == job, "a dry run has another id"


def test_the_job_file_is_one(home: Path) -> None:
    found = tomllib.loads((home / "job.toml").read_text())
    assert found["inputs"]["stars.csv"] == {"path": "stars.csv"}


@pytest.mark.parametrize("code", [code for code in Exit if code not in (0, Exit.PIPE_CLOSED)])
def test_each_exit_code_has_its_row(code: Exit) -> None:
    assert re.search(rf"^\| {int(code)} \|", DOCUMENT, re.MULTILINE), f"{code!r} is not explained"


def test_each_command_of_cq_has_its_row() -> None:
    table = DOCUMENT.partition("## Coming from `cq`")[2]
    for command in [
        "run",
        "submit",
        "logs",
        "wait",
        "result",
        "outputs",
        "upload",
        "status",
        "url",
        "help",
    ]:
        assert f"`{command}`" in table, command
