"""Who may import whom: a pure core, and three packages with one direction between them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "gridd": ROOT / "gridd",
    "gridd_protocol": ROOT / "protocol" / "gridd_protocol",
    "gridd_worker": ROOT / "worker" / "gridd_worker",
}
# The standard library's data tools: nothing here talks, waits, guesses or looks at a clock.
PURE = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "collections.abc",
    "copy",
    "dataclasses",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "msgspec",
    "operator",
    "re",
    "reprlib",
    "string",
    "struct",
    "types",
    "typing",
    "urllib.parse",
}
# Builtins by which a pure module could still reach out, or depend on the run: addresses and
# string hashes differ from one process to the next.
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "id", "hash"}


def modules(package: str) -> Iterator[Path]:
    return FOLDERS[package].rglob("*.py")


def file_of(module: str) -> Path | None:
    """The file of one of our own modules, else ``None``."""
    package, *rest = module.split(".")
    if package not in FOLDERS:
        return None
    place = FOLDERS[package].joinpath(*rest)
    found = [path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()]
    return found[0] if found else None


def imports(path: Path) -> Iterator[str]:
    """Every module that the file names; ``from a.b import c`` gives ``a.b`` or ``a.b.c``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            base = node.module or ""
            inner = [f"{base}.{alias.name}" for alias in node.names]
            yield base
            yield from (name for name in inner if file_of(name))


def reached_from(start: Path) -> dict[Path, str]:
    """Files of ours that importing ``start`` runs, and who asked; packages on the way included."""
    reached: dict[Path, str] = {start: "itself"}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        for module in imports(path):
            parts = module.split(".")
            for length in range(1, len(parts) + 1):
                file = file_of(".".join(parts[:length]))
                if file is not None and file not in reached:
                    reached[file] = str(path.relative_to(ROOT))
                    waiting.append(file)
    return reached


CORE = sorted((ROOT / "gridd" / "core").glob("*.py"))


def test_there_is_a_core() -> None:
    assert ROOT / "gridd" / "core" / "engine.py" in CORE


@pytest.mark.parametrize("module", CORE, ids=lambda path: path.stem)
def test_core_reaches_nothing_impure(module: Path) -> None:
    for file, asked_by in reached_from(module).items():
        name = file.relative_to(ROOT)
        own = [imported for imported in imports(file) if imported.split(".")[0] in FOLDERS]
        foreign = set(imports(file)) - set(own) - PURE
        assert not foreign, f"{name} (imported by {asked_by}) imports {sorted(foreign)}"


@pytest.mark.parametrize("module", CORE, ids=lambda path: path.stem)
def test_core_neither_waits_nor_reaches_out(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{module.name} awaits"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, (
                f"{module.name}:{node.lineno} calls {node.func.id}"
            )


@pytest.mark.parametrize("module", CORE, ids=lambda path: path.stem)
def test_core_imports_only_itself_and_the_protocol(module: Path) -> None:
    for imported in imports(module):
        if imported.split(".")[0] == "gridd":
            assert imported.startswith("gridd.core"), f"{module.name} imports {imported}"


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("gridd_protocol", {"gridd", "gridd_worker"}),
        ("gridd", {"gridd_worker"}),
        ("gridd_worker", {"gridd"}),
    ],
)
def test_packages_import_in_one_direction(package: str, never: set[str]) -> None:
    for path in modules(package):
        broken = {name for name in imports(path) if name.split(".")[0] in never}
        assert not broken, f"{path.relative_to(ROOT)} imports {sorted(broken)}"
