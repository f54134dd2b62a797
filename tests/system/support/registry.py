"""Debian's registry server on a free loopback port, which the engine takes without TLS."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LOGIN = ("owner", "s3cret")
_HASHED = "owner:$2b$04$itLfuCJtCvkmmNzTrHt32u.jClN2SrarJbYgwnrX.gPVyVbLNNysa"


@contextlib.contextmanager
def registry(root: Path, *, private: bool = False) -> Iterator[str]:
    """Its address. ``private``: nothing is pulled or pushed without ``LOGIN``."""
    program = shutil.which("docker-registry")
    if program is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "no docker-registry; install the package of that name"
        )
    address = f"127.0.0.1:{_free_port()}"
    config = (
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root / 'data'}}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    if private:
        (root / "logins").write_text(f"{_HASHED}\n")
        config += f"auth: {{htpasswd: {{realm: tests, path: {root / 'logins'}}}}}\n"
    (root / "config.yml").write_text(config)
    process = subprocess.Popen(
        [program, "serve", str(root / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_port(address)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def push(local: str, remote: str, settings: Path | None = None) -> None:
    """``local`` as ``remote``, which is gone from the engine afterwards. ``settings``: a directory
    with a ``config.json`` that holds the login."""
    docker = ["docker", *(["--config", str(settings)] if settings else [])]
    subprocess.run([*docker, "tag", local, remote], check=True)
    subprocess.run([*docker, "push", "-q", remote], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*docker, "rmi", remote], check=True, stdout=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await_port(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                pytest.fail(f"no registry on {address}: {error}")
            time.sleep(0.05)
