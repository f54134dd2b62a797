"""Unpacking: every form by its first bytes, and every attack that an archive can carry."""

import gzip
import io
import os
import shutil
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gridd_worker.images.unpack import UnpackError, UnpackLimits, only_folder, unpack

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **members: Any) -> Member:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in members.items():
        setattr(entry, key, value)
    return entry, data


def link(name: str, to: str) -> Member:
    return member(name, type=tarfile.SYMTYPE, linkname=to)


def hard(name: str, to: str) -> Member:
    return member(name, type=tarfile.LNKTYPE, linkname=to)


def tarred(*members: Member, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for entry, data in members:
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zipped(*entries: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in entries:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


@pytest.fixture
def out(tmp_path: Path) -> Callable[..., Path]:
    """Unpacks, and sees to it that nothing was put beside the target."""

    def run(data: bytes, **limits: int) -> Path:
        archive, target = tmp_path / "archive", tmp_path / "in" / "target"
        archive.write_bytes(data)
        target.mkdir(parents=True)
        try:
            unpack(archive, target, UnpackLimits(**limits))
        finally:
            assert sorted(os.listdir(tmp_path)) == ["archive", "in"]
            assert os.listdir(tmp_path / "in") == ["target"]
        return target

    return run


FORMS = {
    "gzip tar": tarred(member("top/a/b.txt", b"hello"), member("top/run", b"#!", mode=0o4755)),
    "tar": tarred(member("top/a/b.txt", b"hello"), member("top/run", b"#!", mode=0o755), mode="w"),
    "zip": zipped(("top/a/b.txt", b"hello", 0o100644), ("top/run", b"#!", 0o100755)),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_told_by_its_first_bytes(out, form):
    root = only_folder(out(FORMS[form]))
    assert root.name == "top"
    assert (root / "a" / "b.txt").read_bytes() == b"hello"
    assert stat.S_IMODE((root / "run").stat().st_mode) == 0o755


def test_of_two_folders_none_is_the_root(out):
    target = out(tarred(member("a/x"), member("b/y")))
    assert only_folder(target) == target


def test_links_that_stay_inside_are_kept(out):
    target = out(
        tarred(member("d/f", b"1"), link("d/l", "../d/f"), link("up", "d/.."), hard("h", "d/f"))
    )
    assert os.readlink(target / "d" / "l") == "../d/f"
    assert (target / "h").read_bytes() == b"1"
    assert (target / "h").stat().st_ino == (target / "d" / "f").stat().st_ino


def test_a_name_that_comes_twice_has_its_later_content(out):
    target = out(tarred(member("f", b"1"), member("f", b"2"), link("l", "f"), member("l", b"3")))
    assert ((target / "f").read_bytes(), (target / "l").read_bytes()) == (b"2", b"3")


ATTACKS = {
    "a name that climbs": (tarred(member("../../evil", b"x")), "leads out"),
    "a name that climbs in the middle": (tarred(member("a/../../evil", b"x")), "leads out"),
    "an absolute name": (tarred(member("/tmp/evil", b"x")), "not relative"),
    "a name with a backslash": (tarred(member("..\\evil", b"x")), "not relative"),
    "a link out": (tarred(link("l", "../../evil")), "out of the archive"),
    "an absolute link": (tarred(link("l", "/etc/passwd")), "out of the archive"),
    "a link that climbs in the middle": (tarred(link("a/l", "x/../../../e")), "out of the archive"),
    "a file through a link": (
        tarred(link("d", "."), member("d/f", b"x")),
        "both as a folder and as something else",
    ),
    "a folder over a link": (
        tarred(link("d", "e"), member("d", type=tarfile.DIRTYPE), member("d/f", b"x")),
        "both as a folder",
    ),
    "a hard link out": (tarred(hard("h", "../../archive")), "leads out"),
    "a hard link to what is elsewhere": (tarred(hard("h", "/etc/passwd")), "not relative"),
    "a hard link to a link": (tarred(link("l", "f"), hard("h", "l")), "no file before it"),
    "a hard link through a link": (
        tarred(member("a/f", b"1"), link("d", "a"), hard("h", "d/f")),
        "no file before it",
    ),
    "a device": (tarred(member("d", type=tarfile.CHRTYPE, devmajor=1, devminor=8)), "device"),
    "a pipe": (tarred(member("p", type=tarfile.FIFOTYPE)), "device or pipe"),
    "a sparse file": (tarred(member("s", type=tarfile.GNUTYPE_SPARSE), mode="w"), "sparse"),
    "folders without end": (tarred(member("a/" * 300 + "f")), "more than 200 folders"),
    "a name that is too long": (tarred(member("a" * 300, b"x")), "too long"),
    "zip: a name that climbs": (zipped(("../../evil", b"x", 0o100644)), "leads out"),
    "zip: an absolute name": (zipped(("/evil", b"x", 0o100644)), "not relative"),
    "zip: a link out": (zipped(("l", b"../../evil", 0o120777)), "out of the archive"),
    "zip: a file through a link": (
        zipped(("d", b".", 0o120777), ("d/f", b"x", 0o100644)),
        "both as a folder",
    ),
    "zip: a device": (zipped(("d", b"", 0o020666)), "device"),
    "zip: a name that is empty": (zipped(("", b"", 0o100644)), "can't be read"),
    "no archive": (b"hello" * 200, "neither"),
    "nothing": (b"", "neither"),
    "gzip of no tar": (gzip.compress(b"hello" * 200), "can't be read|damaged"),
    "a cut gzip": (tarred(member("f", os.urandom(9000)))[:2000], "damaged"),
    "a cut zip": (zipped(("f", os.urandom(9000), 0o100644))[:2000], "damaged|not a zip"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_an_archive_may_not_do(out, attack):
    data, said = ATTACKS[attack]
    with pytest.raises(UnpackError, match=said):
        out(data)


def test_too_many_entries(out):
    with pytest.raises(UnpackError, match="more than 3 entries"):
        out(tarred(*(member(f"f{n}") for n in range(4))), entries_max=3)


@pytest.mark.parametrize("pack", [lambda data: tarred(member("f", data)),
                                  lambda data: zipped(("f", data, 0o100644))])  # fmt: skip
def test_too_many_bytes(out, pack):
    with pytest.raises(UnpackError, match="more than 100000 bytes"):
        out(pack(os.urandom(200_000)), bytes_max=100_000)


@pytest.mark.parametrize("pack", [lambda data: tarred(member("f", data)),
                                  lambda data: zipped(("f", data, 0o100644))])  # fmt: skip
def test_a_bomb_is_told_by_its_ratio(out, pack, tmp_path):
    with pytest.raises(UnpackError, match="taken for a bomb"):
        out(pack(bytes(100 << 20)))
    written = (tmp_path / "in" / "target" / "f").stat().st_size
    assert written <= 65 << 20


def test_a_zip_that_lies_about_sizes_is_held_to_what_comes(out):
    data = bytearray(zipped(("f", bytes(1 << 20), 0o100644)))
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (10).to_bytes(4, "little")
    with pytest.raises(UnpackError):
        out(bytes(data), bytes_max=1000)


def test_a_header_that_claims_gigabytes_is_not_read(out):
    entry = tarfile.TarInfo("././@PaxHeader")
    entry.type, entry.size = tarfile.XHDTYPE, 3 << 30
    with pytest.raises(UnpackError, match="header of 3221225472 bytes"):
        out(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))


def test_a_zip_directory_that_claims_gigabytes_is_not_read(out):
    data = bytearray(zipped(("f", b"x", 0o100644)))
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (3 << 30).to_bytes(4, "little")
    with pytest.raises(UnpackError, match="directory has 3221225472 bytes"):
        out(bytes(data))


def test_it_stops_when_told(tmp_path):
    archive = tmp_path / "a"
    archive.write_bytes(FORMS["tar"])
    (tmp_path / "t").mkdir()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(UnpackError, match="stopped"):
        unpack(archive, tmp_path / "t", None, stopped)
    assert os.listdir(tmp_path / "t") == []


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_damage_of_any_kind_is_said_and_nothing_gets_out(tmp_path, form):
    random = Random(form)
    for _ in range(150):
        data = bytearray(FORMS[form])
        for _ in range(random.choice((1, 2, 8))):
            data[random.randrange(min(len(data), 1_600))] = random.choice(b"\x00\xff./x")
        if form == "tar":  # else nearly all would end at the sum
            data[148:156] = b" " * 8
            data[148:156] = b"%06o\x00 " % sum(data[:512])
        (tmp_path / "archive").write_bytes(data)
        target = tmp_path / "target"
        target.mkdir()
        with suppress(UnpackError, OSError):
            unpack(tmp_path / "archive", target)
        assert sorted(os.listdir(tmp_path)) == ["archive", "target"]
        shutil.rmtree(target)
