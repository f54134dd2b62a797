"""The tree itself: what lies at the top, and what may stand in no file."""

import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
TOP = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "bench",
    "docs",
    "gridd",
    "protocol",
    "pyproject.toml",
    "requirements.lock",
    "tests",
    "worker",
}
# In pieces, so that this file does not hold what it looks for.
FORBIDDEN = [
    "python" + "hosted",
    "pypi" + r"\.org/simple",
    "npm" + r"js\.org",
    "/home/" + r"[a-z]+/",
    "/Users/" + r"\w+/",
    "/root/" + r"\.?\w",
]


def tracked() -> list[Path]:
    """Files under version control; in an unpacked archive, all that lies where those would."""
    if not (ROOT / ".git").exists():
        places = [ROOT / name for name in TOP]
        return [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    # CI may run as another user than the one that made the checkout; git wants to be told.
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_the_top_holds_what_was_decided() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found <= TOP, f"not decided: {sorted(found - TOP)}"


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    pattern = re.compile("|".join(FORBIDDEN))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:120]}"
        for path in tracked()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def pinned() -> dict[str, str]:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))


def test_the_lock_fits_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(line for extra in project["project"]["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, wanted):
        version = pinned().get(requirement.name)
        assert version is not None, f"{requirement.name} is not locked; run: make lock"
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_the_lock_carries_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*-(-index-url|-extra-index-url|-find-links|i|f)\b", lock, re.M)
    entries = re.split(r"\n(?=\S)", lock.strip())
    without = [entry.split(" ")[0] for entry in entries if "--hash=sha256:" not in entry]
    assert not without, f"no hash: {without}"
