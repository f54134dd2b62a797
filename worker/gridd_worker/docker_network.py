"""The bridges that job containers are on: no traffic among them, no way to this machine's own
services and to metadata addresses, and on one of them none to private addresses either.

Bridges alone don't keep that, so it is closed in the host's packet filter, which needs root. Names
must still resolve: the name server may be at any of those addresses, so port 53 stays open. The
bridges have no IPv6.
"""

import asyncio
import logging
import os
import shutil
from typing import Final

from aiodocker import Docker, DockerError

from gridd_protocol.addresses import METADATA_V4, NOT_PUBLIC_V4
from gridd_worker.config import JobNetwork
from gridd_worker.docker_config import NETWORKS

_log = logging.getLogger("gridd_worker")

_FORWARDED: Final = "DOCKER-USER"  # the engine leaves it to us; comes before its own
_TO_HOST: Final = "GRIDD-HOST"  # ours
_FILTER_S: Final = 10.0


async def ensure_network(docker: Docker, network: JobNetwork = "lan") -> None:
    """Makes the network unless it is there. Raises ``DockerError``."""
    name = NETWORKS[network]
    if network == "none":
        return
    try:
        await docker._query_json(f"networks/{name}")
        return
    except DockerError as error:
        if error.status != 404:
            raise
    config = {
        "Name": name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Options": {
            "com.docker.network.bridge.name": name,  # on the host; at most 15 characters
            "com.docker.network.bridge.enable_icc": "false",
        },
    }
    try:
        await docker._query_json("networks/create", "POST", data=config)
    except DockerError as error:
        if error.status != 409:  # another worker was faster
            raise


async def close_addresses(network: JobNetwork) -> str | None:
    """Closes to jobs what ``network`` does not lead to. None when it is done, else why it could
    not be."""
    if network == "none":
        return None
    if os.geteuid() != 0:
        return "only root may change the packet filter"
    if shutil.which("iptables") is None:
        return "there is no iptables command"
    bridge = NETWORKS[network]
    closed = METADATA_V4 + (NOT_PUBLIC_V4 if network == "public" else ())
    # The filter makes a rule for each address of the list.
    path = ["-i", bridge, "-d", ",".join(map(str, closed))]
    rules = [
        [*path, "-j", "REJECT"],
        [*path, "-p", "udp", "--dport", "53", "-j", "RETURN"],
        [*path, "-p", "tcp", "--dport", "53", "-j", "RETURN"],
    ]
    for rule in rules:  # each is put in front of the one before
        if problem := await _ensure_rule("-I", _FORWARDED, rule):
            return problem
    return await _close_host(bridge)


async def _close_host(bridge: str) -> str | None:
    """What goes to the host itself is not forwarded. In a chain of our own, since what we let pass
    is still the owner's rules' to judge."""
    await _iptables("-N", _TO_HOST)  # it may be there
    rules = [
        ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "RETURN"],
        ["-p", "udp", "--dport", "53", "-j", "RETURN"],
        ["-p", "tcp", "--dport", "53", "-j", "RETURN"],
        ["-j", "REJECT"],
    ]
    for rule in rules:
        if problem := await _ensure_rule("-A", _TO_HOST, rule):
            return problem
    return await _ensure_rule("-I", "INPUT", ["-i", bridge, "-j", _TO_HOST])


async def _ensure_rule(how: str, chain: str, rule: list[str]) -> str | None:
    """What went wrong, or None."""
    if await _iptables("-C", chain, *rule) is None:
        return None
    return await _iptables(how, chain, *rule)


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
