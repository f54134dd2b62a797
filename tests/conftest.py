"""What holds for every test: where the Docker engine is, and that CI skips nothing."""

import functools
import os
import subprocess

import pytest

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
