"""Directories that can't be served: each is one sentence that names the place and what to do."""

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gridd.journal.files import FileJournal

REFUSED_S = 30


def refused(data: Path, *words: str, wrapper: Sequence[str] = ()) -> None:
    """Exit 1, nothing on standard output, and one line with the place and all the words."""
    command = [sys.executable, "-m", "gridd", "serve", "--port", "0", "--data-dir", str(data)]
    ended = subprocess.run(
        [*wrapper, *command], capture_output=True, text=True, timeout=REFUSED_S, check=False
    )
    lines = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout, len(lines)) == (1, "", 1), ended
    for word in (str(data), *words):
        assert word in lines[0], lines[0]


def written(data: Path) -> Path:
    """A journal that was closed well, with a record in it. The path of its segment."""
    journal = FileJournal(data / "journal")
    journal.append([b"a record"], journal.end)
    journal.close()
    return data / "journal" / "00000001.seg"


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_where_the_directory_should_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "data").write_text("a file")
    refused(tmp_path / "data" / below, "a file is in the way", "--data-dir")


def test_a_file_where_the_blobs_should_be(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file")
    refused(tmp_path, "blobs", "a file is in the way")


def test_another_server_in_the_directory(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    refused(tmp_path, f"in use by another process (pid {os.getpid()})", "another data directory")
    journal.close()


def test_a_damaged_journal(tmp_path: Path) -> None:
    segment = written(tmp_path)
    data = bytearray(segment.read_bytes())
    data[-60] ^= 1  # in the record, with the mark of the closing behind it
    segment.write_bytes(data)
    refused(tmp_path, segment.name, "damaged at byte", "restore the directory from a backup")
    assert segment.read_bytes() == data, "damage is left as it is"


def test_a_journal_of_a_later_format(tmp_path: Path) -> None:
    segment = written(tmp_path)
    data = bytearray(segment.read_bytes())
    data[8:12] = (99).to_bytes(4, "big")
    data[60:64] = zlib.crc32(bytes(data[:60])).to_bytes(4, "big")
    segment.write_bytes(data)
    refused(tmp_path, segment.name, "format 99", "Use the version of gridd that wrote it")


def needs_root() -> None:
    if os.geteuid() != 0:
        reason = "it takes root to mount a file system"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def test_a_directory_without_the_right_to_write(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)
    powerless = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override"]  # for root
    wrapper = powerless if os.geteuid() == 0 else ()
    refused(
        tmp_path / "data", "Permission denied", "give the server's user access", wrapper=wrapper
    )


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    needs_root()
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        subprocess.run(command, check=True)
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_file_system(tmp_path: Path, mount: Callable[[str], Path]) -> None:
    place = mount("size=1m")
    refused_on = place / "data"
    written(refused_on)
    mount("remount,ro")
    refused(refused_on, "Read-only file system", "mount it writable")
    refused(place / "other", "Read-only file system", "mount it writable")


def test_a_full_file_system(tmp_path: Path, mount: Callable[[str], Path]) -> None:
    place = mount("size=64k")
    with pytest.raises(OSError, match="No space left"):
        shutil.copyfile("/dev/zero", place / "ballast")
    refused(place / "data", "No space left", "free some space")
