"""``gridd run --context-dir``: a folder here becomes an image on a worker, over the grid."""

import json
from pathlib import Path

import pytest

from gridd import cli
from tests.system.support.up import grid_up

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    (context / "sub").mkdir(parents=True)
    (context / ".dockerignore").write_text("secret\n*.log\n")
    (context / "secret").write_text("not for others")
    (context / "a.log").write_text("x" * 100_000)
    (context / "sub" / "data").write_text("from the folder\n")
    (context / "sub" / "Other").write_text(
        f"FROM {IMAGE} AS base\nARG WORD=none\nRUN echo $WORD > /word\n"
        "FROM base AS wanted\nCOPY . /built\nFROM base AS other\nRUN false\n"
    )
    return context


def test_a_folder_is_built_and_run(
    context: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with grid_up(tmp_path, "docker") as url:
        for name in ("GRIDD_QUEUE", "CQ_API", "CQ_QUEUE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GRIDD_API", url)
        line = ("--context-dir", str(context), "--filename", "sub/Other", "--target", "wanted")
        words = ("--build-arg", "WORD=hello", "--", "sh", "-c", "cat /word; cd /built; find .")
        code = cli.main(["run", "--timeout", "90s", *line, *words])
        out, err = capsys.readouterr()
        assert code == 0, (out, err, (tmp_path / "grid.log").read_text()[-3000:])
        word, *files = out.splitlines()
        assert word == "hello"
        assert sorted(files) == [".", "./.dockerignore", "./sub", "./sub/Other", "./sub/data"]
        # unchanged: the same id, answered at once
        assert cli.main(["run", "--json", "--quiet", *line, *words]) == 0
        assert json.loads(capsys.readouterr().out)["StatusCode"] == 0

        (context / "sub" / "Other").write_text(f"FROM {IMAGE}\nRUN exit 9\n")
        line = ("--context-dir", str(context), "--filename", "sub/Other")
        code = cli.main(["run", "--timeout", "90s", *line, "--", "true"])
        assert code == 1
        assert "9" in capsys.readouterr().err
