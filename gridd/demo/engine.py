"""Where can the demo's job run: in a container, or else as a process on this machine?

A container needs an engine that answers and an image with Python that is there or can be had.
Each look has a deadline of seconds: a demo that waits for a silent registry demonstrates nothing.
"""

import os
from dataclasses import dataclass
from typing import Literal

import aiohttp

IMAGE = "python:3.11-slim"
DEFAULT_SOCKET = "/var/run/docker.sock"
PING_SECONDS = 2.0
REGISTRY_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Choice:
    runtime: Literal["docker", "process"]
    image: str
    sentence: str


async def choose() -> Choice:
    """Never raises for what Docker does: the sentence then says why it is not used."""
    image = os.environ.get("GRIDD_DEMO_IMAGE") or IMAGE
    reason = await _why_not(image)
    if reason is None:
        return Choice("docker", image, f"Jobs run in Docker containers (image {image}).")
    return Choice("process", image, f"Jobs run as processes on this machine: {reason}.")


async def _why_not(image: str) -> str | None:
    address = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
    if not address.startswith("unix://"):
        return f"DOCKER_HOST is {address}, and the demo only looks at sockets of this machine"
    path = address.removeprefix("unix://")
    # A session makes its connector close; the host in the URLs is not used on a socket.
    connector = aiohttp.UnixConnector(path)
    async with aiohttp.ClientSession("http://docker", connector=connector) as session:
        if not await _answers(session, "/_ping", PING_SECONDS):
            return f"no Docker engine answers at {path}"
        if await _answers(session, f"/images/{image}/json", PING_SECONDS):
            return None
        # Asks the registry for the image's manifest, and downloads nothing.
        if await _answers(session, f"/distribution/{image}/json", REGISTRY_SECONDS):
            return None
    return f"Docker is here, but the image {image} is not, and its registry can't be reached"


async def _answers(session: aiohttp.ClientSession, path: str, seconds: float) -> bool:
    """True for a 200 within ``seconds``."""
    try:
        async with session.get(path, timeout=aiohttp.ClientTimeout(total=seconds)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
