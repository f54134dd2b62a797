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
import time
from collections.abc import Callable
from typing import Final

from aiodocker import Docker, DockerError

from gridd_protocol.addresses import METADATA_V4, NOT_PUBLIC_V4
from gridd_worker.config import JobNetwork
from gridd_worker.docker.config import NETWORKS
from gridd_worker.programs import ask
from gridd_worker.runtime import RuntimeUnavailable

_log = logging.getLogger("gridd_worker")

_FORWARDED: Final = "DOCKER-USER"  # the engine leaves it to us; comes before its own
_TO_HOST: Final = "GRIDD-HOST"  # ours
_FILTER_S: Final = 10.0
_LEFT_OPEN: Final = "jobs can reach this machine's own services and link-local addresses: "
LOOK_S: Final = 60.0
"""Between two looks at the rules. A look is a dozen calls of the command, of a few ms each."""


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


class JobBridge:
    """The network of one worker's jobs, and what it must not lead to.

    Networks and rules get lost under a running worker: an owner prunes, a firewall is loaded anew,
    an engine starts over. ``ready`` sets right what is not as it should be."""

    def __init__(
        self,
        kind: JobNetwork,
        *,
        look_s: float = LOOK_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Looks at the rules at most every ``look_s`` seconds."""
        self._kind = kind
        self._look_s = look_s
        self._now = now
        self._looked = 0.0
        self._one_at_a_time = asyncio.Lock()
        self.problem: str | None = None
        """Why the packet filter can't be kept as it should be, as last seen."""

    async def open(self, docker: Docker) -> None:
        """Raises ``DockerError``, and ``RuntimeUnavailable`` when jobs can't be kept from where
        ``kind`` says that they must not get."""
        await ensure_network(docker, self._kind)
        await self._close_addresses(final=True)

    async def ready(self, docker: Docker) -> None:
        """Call before each job. Raises as ``open``."""
        await ensure_network(docker, self._kind)
        async with self._one_at_a_time:
            if self._now() - self._looked >= self._look_s:
                before = self.problem
                await self._close_addresses(final=False)
                if self.problem != before:
                    _log.warning("%s", self.problem or "the packet filter is in order again")

    async def _close_addresses(self, *, final: bool) -> None:
        found = await close_addresses(self._kind)
        if found is not None and self._kind != "lan":
            raise RuntimeUnavailable(
                f"--job-network {self._kind} can't be had: {found}", final=final
            )
        self.problem = found and _LEFT_OPEN + found
        self._looked = self._now()


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
        [*path, "-p", "tcp", "--dport", "53", "-j", "RETURN"],
        [*path, "-p", "udp", "--dport", "53", "-j", "RETURN"],
        [*path, "-j", "REJECT"],
    ]
    return await _have_first(_FORWARDED, rules) or await _close_host(bridge)


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
    problem = await _have_first(_TO_HOST, rules)
    return problem or await _have_first("INPUT", [["-i", bridge, "-j", _TO_HOST]])


async def _have_first(chain: str, rules: list[list[str]]) -> str | None:
    """Puts ``rules`` at the head of ``chain``, in this order, unless they are all in it. What went
    wrong, or None."""
    there = [await _iptables("-C", chain, *rule) is None for rule in rules]
    if all(there):
        return None
    for rule, found in zip(rules, there, strict=True):
        if found:  # where it is it may stand on the wrong side of one that is not
            await _iptables("-D", chain, *rule)
    for rule in reversed(rules):  # each is put in front of the one before
        if problem := await _iptables("-I", chain, *rule):
            return problem
    return None


async def _iptables(*arguments: str) -> str | None:
    """What went wrong, or None."""
    try:
        status, said = await ask("iptables", "-w", *arguments, limit_s=_FILTER_S, errors=True)
    except TimeoutError:
        return f"iptables did not end within {_FILTER_S:g} s"
    if status == 0:
        return None
    return said.decode("utf-8", "replace").strip() or f"iptables ended with {status}"
