"""What becomes of files that this process may not remove."""

from pathlib import Path

import pytest

from gridd_protocol.definitions import Definition
from gridd_worker import workspace
from gridd_worker.files import make_job_directories, remove_tree
from gridd_worker.workspace import DiskWorkspaces


async def test_what_another_user_left_is_removed_by_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what was left from before a start, with the first job; what nobody can remove is told
    and tried no more."""
    old = make_job_directories(tmp_path / "work" / "room", "old", 1)
    asked: list[Path] = []

    def refuse(tree: Path) -> None:
        if (tree / "outputs").exists():
            raise PermissionError
        remove_tree(tree)

    async def erase(tree: Path) -> None:
        asked.append(tree)
        if len(asked) == 3:
            raise OSError("the engine is gone")
        remove_tree(tree)

    monkeypatch.setattr(workspace, "remove_tree", refuse)
    spaces = DiskWorkspaces(tmp_path, "http://127.0.0.1:9", erase=erase)
    await spaces.open()
    try:
        assert old.root.exists()
        for job in ("new", "last"):
            await spaces.prepare("room", job, 1, Definition(image="i"))
            await spaces.remove("room", job, 1)
        assert [tree.name for tree in asked] == ["new-1", "old-1", "last-1"]
        assert [tree.name for tree in old.root.parent.iterdir()] == ["last-1"]
        assert "files of job last-1 remain" in caplog.text
    finally:
        await spaces.close()
