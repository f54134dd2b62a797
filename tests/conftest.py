"""What holds for every test: where the Docker engine is, and that CI skips nothing."""

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.system.support.s3_server import OWNER, S3Server, weed

TEST_IMAGE = "gridd-test:busybox"
IN_CI = os.environ.get("CI") == "true"


@functools.cache
def why_no_docker() -> str | None:
    """A sentence when Docker tests can't run; ``make test`` brings up what it can."""
    try:
        found = subprocess.run(
            ["docker", "image", "inspect", TEST_IMAGE],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except FileNotFoundError:
        return "there is no docker command; `make test` installs one where it may"
    except subprocess.TimeoutExpired:
        return "the Docker engine did not answer within 20 s"
    if found.returncode == 0:
        return None
    return f"no Docker engine with the image {TEST_IMAGE}: {found.stderr.strip()[:200]}"


Serving = Callable[..., AbstractAsyncContextManager[tuple[str, asyncio.subprocess.Process]]]


@asynccontextmanager
async def _serving(
    data_dir: Path, *more: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gridd", "serve", "--port", "0", "--data-dir", str(data_dir), *more,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert "http://" in line, f"no address in {line!r}"
        yield line.split()[-1], process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def serving() -> Serving:
    """``async with serving(data_dir, *options) as (url, process)``: a real ``gridd serve``, killed
    without warning at the end."""
    return _serving


@pytest.fixture(scope="session")
def s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 service for all tests of this run; ``s3`` gives credentials with it."""
    program = weed()
    if program is None:
        reason = "there is no S3 service to test with: SeaweedFS (`weed`) is not installed"
        (pytest.fail if IN_CI else pytest.skip)(reason)
    server = S3Server(program, tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in OWNER.items():
                environment.setenv(name, value)
            asyncio.run(server.make_ready())
        yield server
    finally:
        server.kill()


@pytest.fixture
def s3(s3_service: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in OWNER.items():
        monkeypatch.setenv(name, value)
    return s3_service


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") is None:
        return
    reason = why_no_docker()
    if reason is not None:
        (pytest.fail if IN_CI else pytest.skip)(reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that CI skips is a test that nobody runs."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if IN_CI and skipped and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"\n{len(skipped)} skipped, and CI may skip none", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
