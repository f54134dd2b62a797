"""The blob folder when the disk fails, an upload is cancelled, or the daemon died in one."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gridd.blobs.folder import PIECE_BYTES, FolderBlobs
from gridd.errors import BlobError

KEY = hashlib.sha256(b"data").hexdigest()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files_in(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def failing(number: int) -> Callable[..., Any]:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FolderBlobs]:
    store = FolderBlobs(tmp_path / "b")
    yield store
    await store.close()


async def test_where_blobs_lie(blobs: FolderBlobs, tmp_path: Path) -> None:
    await blobs.put(KEY, stream(b"data"), 4)
    await blobs.put("../../etc", stream(b"x"), 1)  # never passes the edge; harmless here too
    place = hashlib.sha256(b"../../etc").hexdigest()
    assert files_in(tmp_path) == [
        Path("b/named", place[:2], place),
        Path("b/sha256", KEY[:2], KEY),
    ]


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_failing_disk_is_a_blob_error_and_leaves_nothing(
    blobs: FolderBlobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(BlobError) as failed:
        await blobs.put(KEY, stream(b"data"), 4)
    assert os.strerror(number) in str(failed.value)
    monkeypatch.undo()
    assert files_in(tmp_path) == []
    assert not await blobs.exists(KEY)
    await blobs.put(KEY, stream(b"data"), 4)
    assert await blobs.exists(KEY), "the store goes on once the disk does"


async def test_a_full_disk_says_what_to_do(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    with pytest.raises(BlobError, match="free some space"):
        await blobs.put("name", stream(b"data"), None)


async def test_a_failing_rename_leaves_nothing(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "rename", failing(errno.EIO))
    with pytest.raises(BlobError):
        await blobs.put(KEY, stream(b"data"), 4)
    assert files_in(tmp_path) == []


async def test_short_writes_are_gone_on_with(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:3]))
    await blobs.put("name", stream(b"a long enough body"), None)
    blob = await blobs.open("name")
    assert blob is not None
    with blob:
        assert blob.file is not None
        assert blob.file.read() == b"a long enough body"


async def test_the_file_is_synced_before_the_rename_and_its_folder_after(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(file: int) -> None:
        steps.append("sync " + Path(os.readlink(f"/proc/self/fd/{file}")).name)
        fsync(file)

    def noted_rename(source: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    await blobs.put(KEY, stream(b"data"), 4)
    assert steps == ["sync 0", "sync sha256", "rename", f"sync {KEY[:2]}"]


async def test_a_cancelled_upload_leaves_nothing(blobs: FolderBlobs, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"x" * PIECE_BYTES
        reached.set()
        await asyncio.Event().wait()

    upload = asyncio.ensure_future(blobs.put("name", stuck(), None))
    await asyncio.wait_for(reached.wait(), 10)
    assert len(files_in(tmp_path / "b/incoming")) == 1, "the upload has begun"
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert files_in(tmp_path) == []


async def test_cancelled_during_a_write_the_file_is_not_closed_under_it(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    writing, go_on, written = asyncio.Event(), threading.Event(), threading.Event()
    write, errors = os.write, []

    def slow_write(file: int, data: memoryview) -> int:
        loop.call_soon_threadsafe(writing.set)
        go_on.wait(10)
        try:
            return write(file, data)
        except OSError as error:
            errors.append(error)
            raise
        finally:
            written.set()

    monkeypatch.setattr(os, "write", slow_write)
    upload = asyncio.ensure_future(blobs.put("name", stream(b"data"), None))
    await asyncio.wait_for(writing.wait(), 10)
    upload.cancel()
    loop.call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await asyncio.to_thread(written.wait, 10)
    assert errors == []
    assert files_in(tmp_path) == []


async def test_leftovers_are_removed_at_start_and_blobs_are_not(tmp_path: Path) -> None:
    first = FolderBlobs(tmp_path)
    await first.put(KEY, stream(b"data"), 4)
    await first.close()
    (tmp_path / "incoming/7").write_bytes(b"half an upl")
    second = FolderBlobs(tmp_path)
    assert files_in(tmp_path / "incoming") == []
    assert await second.exists(KEY)
    await second.close()


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BlobError, match="file/blobs"):
        FolderBlobs(tmp_path / "file/blobs")
