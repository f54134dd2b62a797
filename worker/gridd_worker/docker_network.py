"""The bridge that job containers are on: no traffic among them, no way to metadata addresses.

On a cloud machine 169.254.169.254 hands out the machine's credentials, so it is closed in the
host's packet filter, which needs root. Names must still resolve: some clouds have their name
server at that address, so port 53 stays open.
"""

import asyncio
import logging
import os
import shutil
from typing import Final

from aiodocker import Docker, DockerError

from gridd_worker.docker_config import NETWORK

_log = logging.getLogger("gridd_worker")

_BRIDGE: Final = NETWORK  # the interface on the host; at most 15 characters
_METADATA: Final = "169.254.0.0/16"
_FILTER_S: Final = 10.0


async def ensure_network(docker: Docker) -> None:
    """Makes the network unless it is there. Raises ``DockerError``."""
    try:
        await docker._query_json(f"networks/{NETWORK}")
        return
    except DockerError as error:
        if error.status != 404:
            raise
    config = {
        "Name": NETWORK,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Options": {
            "com.docker.network.bridge.name": _BRIDGE,
            "com.docker.network.bridge.enable_icc": "false",
        },
    }
    try:
        await docker._query_json("networks/create", "POST", data=config)
    except DockerError as error:
        if error.status != 409:  # another worker was faster
            raise


async def close_metadata() -> str | None:
    """Closes the link-local addresses to jobs. None when it is done, else why it could not be."""
    if os.geteuid() != 0:
        return "only root may change the packet filter"
    if shutil.which("iptables") is None:
        return "there is no iptables command"
    path = ["-i", _BRIDGE, "-d", _METADATA]
    rules = [
        [*path, "-j", "REJECT"],
        [*path, "-p", "udp", "--dport", "53", "-j", "RETURN"],
        [*path, "-p", "tcp", "--dport", "53", "-j", "RETURN"],
    ]
    for rule in rules:  # each is put in front of the one before
        if await _iptables("-C", "DOCKER-USER", *rule) is None:
            continue
        if problem := await _iptables("-I", "DOCKER-USER", *rule):
            return problem
    return None


async def _iptables(*arguments: str) -> str | None:
    """What went wrong, or None."""
    process = await asyncio.create_subprocess_exec(
        "iptables",
        "-w",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_FILTER_S):
            _, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"iptables did not end within {_FILTER_S:g} s"
    if process.returncode == 0:
        return None
    return errors.decode("utf-8", "replace").strip() or f"iptables ended with {process.returncode}"
