"""What the documents claim is so: version, settings, commands, files that they name."""

import re
import subprocess
import sys
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest

from gridd import __version__
from gridd.config import Config, environment_name, option_name, settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("protocol/*.md")])
PROSE = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_changelog_starts_with_what_is_unreleased_then_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


@pytest.fixture(scope="module")
def serve_help() -> str:
    script = Path(sys.executable).parent / "gridd"
    done = subprocess.run(
        [str(script), "serve", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize("setting", list(settings()), ids=lambda setting: setting.name)
def test_each_setting_is_documented(setting: "Field[Any]", serve_help: str) -> None:
    option = f"--{option_name(setting)}"
    hidden = setting.metadata["hidden"]
    where = PROSE if hidden else serve_help
    assert re.search(rf"(?<![\w-]){option}(?![\w-])", where), f"{option} is not documented"
    assert setting.metadata["help"]


def test_each_environment_variable_that_the_documents_name_is_read() -> None:
    read = {environment_name(setting) for setting in settings()} | {"GRIDD_CONFIG"}
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("gridd", "worker", "protocol")
        for path in (ROOT / folder).rglob("*.py")
    )
    for name in set(re.findall(r"GRIDD_[A-Z0-9_]+", PROSE)):
        assert name in read or name in sources, f"{name} is documented and read by nothing"


def test_no_field_of_the_configuration_is_unexplained() -> None:
    explained = {setting.name for setting in settings()} | {"open_to_all"}
    assert set(Config.__dataclass_fields__) == explained


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", MAKEFILE + PROSE))))
def test_each_make_target_that_is_named_exists_with_help(target: str) -> None:
    words_after_make = {"it", "sure", "the", "a", "did", "made"}
    if target not in words_after_make:
        assert re.search(rf"^{target}:.* ## \S", MAKEFILE, re.MULTILINE), f"make {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_pictures_are_small_and_shown() -> None:
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert len(pictures) == 3
    shown = re.findall(
        r"!\[[^\]]{20,}\]\((\S+)\)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert sorted(shown) == sorted(str(path.relative_to(ROOT)) for path in pictures)
    for path in pictures:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) <= 120_000, "make pictures"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160
