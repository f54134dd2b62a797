"""The built page as files, and its modules under Node's own test runner."""

import gzip
import json
import re
from pathlib import Path

from tests.browser.conftest import WEB, run_npm

FIRST_LOAD_BYTES_MAX = 52_000


def test_the_first_load_is_small(built_page: Path) -> None:
    html = (built_page / "index.html").read_text()
    loaded = re.findall(r'(?:src|href)="(/assets/[^"]+)"', html)
    assert any(path.endswith(".js") for path in loaded)
    files = [built_page / "index.html", *(built_page / path.lstrip("/") for path in loaded)]
    size = sum(len(gzip.compress(file.read_bytes())) for file in files)
    assert size <= FIRST_LOAD_BYTES_MAX


def test_nothing_of_it_comes_from_elsewhere(built_page: Path) -> None:
    html = (built_page / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(address.startswith("/") for address in addresses), addresses
    style = next(built_page.glob("assets/*.css")).read_text()
    assert "http" not in style
    assert "@import" not in style


def test_the_lock_file_holds_hashes_and_no_addresses() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    installed = {name: entry for name, entry in packages.items() if name}
    assert installed
    for name, entry in installed.items():
        assert entry.get("integrity", "").startswith("sha512-"), name
        assert "resolved" not in entry, name


def test_its_modules() -> None:
    ran = run_npm("test")
    assert ran.returncode == 0, ran.stdout[-3_000:] + ran.stderr[-2_000:]
    passed = re.search(r"^# pass (\d+)$", ran.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 40
