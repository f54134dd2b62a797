"""``/llms.txt`` and ``/skill.md`` of a real grid, each command run as it stands there, in one shell
from top to bottom, and each answer compared with the one that is shown.

The jobs run in containers. There is no registry to pull from: ``IMAGES`` says what stands in."""

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridd.guide.examples import STAYS
from tests.system.support.up import grid_up

pytestmark = pytest.mark.docker

IMAGES = {"alpine:3.20": "gridd-test:busybox"}
BLOCK = re.compile(r"^```(sh|text|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATIENCE_S = 150  # a busy machine starts fifty programs
MARK = "@@@"

# Ends at the first failure, as -e says. Curl fails when it is refused, which by itself it does not.
PRELUDE = f"""\
set -eu
mark() {{ printf '\\n{MARK}%s\\n' $1; printf '\\n{MARK}%s\\n' $1 >&2; }}
stay() {{  # what runs until it is stopped: stopped as soon as it said that it is ready
    : >said
    "$@" </dev/null >>said 2>&1 &
    tries=600
    until grep -qE 'ready|serves' said; do
        tries=$((tries - 1))
        if [ $tries = 0 ] || ! kill -0 $! ; then echo "not ready: $*" >&2; cat said >&2; exit 1; fi
        sleep 0.05
    done
    kill -TERM $! || true
    wait $! || {{ echo "ended badly: $*" >&2; cat said >&2; exit 1; }}
}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with grid_up(tmp_path_factory.mktemp("grid"), "docker") as url:
        yield url


def blocks(text: str) -> list[tuple[str, str]]:
    for image, stand_in in IMAGES.items():
        text = text.replace(image, stand_in)
    return BLOCK.findall(text)


def script(found: list[tuple[str, str]]) -> str:
    """All blocks as one program, that says before each which it is."""
    parts = [PRELUDE]
    for number, (kind, text) in enumerate(found):
        if kind == "python":
            text = f"{sys.executable} - <<'PYTHON_ENDS'\n{text}PYTHON_ENDS\n"
        if kind != "text":
            parts += [f"mark {number}\n", *map(as_tested, text.splitlines(keepends=True))]
    return "".join(parts)


def as_tested(line: str) -> str:
    if line.rstrip().endswith(f"({STAYS})"):
        return f"stay {line}"
    if re.match(r"gridd (worker )?doctor\b", line):  # something may be wrong where tests run
        command, hash, remark = line.partition("  #")
        return f"{command.rstrip()} || [ $? = 1 ]{hash}{remark}"
    return line


def run(text: str, home: Path) -> dict[int, str]:
    """What each block printed, by its number."""
    (home / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GRIDD_", "CQ_"))}
    own = {"HOME": str(home), "CURL_HOME": str(home), "BROWSER": "true", "GRIDD_PORT": "0"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", script(blocks(text))],
        cwd=home,
        env=kept | own | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    last = done.stderr.rpartition(MARK)[2]
    assert done.returncode == 0, f"block {last}\n{done.stdout.rpartition(MARK)[2]}"
    parts = re.split(rf"^{MARK}(\d+)\n", done.stdout, flags=re.MULTILINE)[1:]
    return {int(number): printed for number, printed in zip(parts[::2], parts[1::2], strict=True)}


def matches(shown: str, printed: str) -> bool:
    """``…`` stands for anything, also in the middle of a line. Where lines end does not count:
    a document in JSON ends without."""
    parts = ("".join(part.split()) for part in shown.split("…"))
    pattern = ".*".join(map(re.escape, parts))
    return re.fullmatch(pattern, "".join(printed.split())) is not None


@pytest.mark.parametrize("address", ["/llms.txt", "/skill.md"])
def test_every_command_does_what_it_says(address: str, url: str, tmp_path: Path) -> None:
    with urllib.request.urlopen(f"{url}{address}", timeout=30) as answer:
        text = answer.read().decode()
    printed = run(text, tmp_path)
    found = blocks(text)
    assert len(printed) >= 5
    for number, (kind, shown) in enumerate(found):
        if kind == "text":
            assert matches(shown, printed[number - 1]), printed[number - 1]


def test_the_offline_text_is_the_served_one(url: str) -> None:
    for name, address in (("llms", "/llms.txt"), ("skill", "/skill.md")):
        line = [sys.executable, "-m", "gridd", "docs", name, "--api", url, "--queue", "local"]
        printed = subprocess.run(
            line, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        with urllib.request.urlopen(f"{url}{address}", timeout=30) as answer:
            assert answer.read().decode() == printed
