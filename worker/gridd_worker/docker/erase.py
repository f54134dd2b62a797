"""Removes trees that this process may not: those of a container's root, where the worker is not.

The engine is root, and what it unpacks into a container replaces what is in the way. So a file of
ours is put in the place of the tree, in a container that is never started; of images it needs an
empty one only.
"""

import contextlib
import io
import os
import secrets
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiodocker import Docker, DockerError

from gridd_worker.docker.logs import BROKEN
from gridd_worker.docker.run import remove

_INSIDE: Final = "/work"
_TAR: Final = {"Content-Type": "application/x-tar"}


async def erase(docker: Docker, tree: Path, labels: Mapping[str, str]) -> None:
    """``tree`` is gone, or ``OSError`` is raised. Its folder must be ours. The container has
    ``labels``, so that it is found if this process ends before it is removed."""
    image = f"gridd-empty:{secrets.token_hex(8)}"
    try:
        await _send(docker, "POST", "images/create", _tar(), fromSrc="-", repo=image)
        try:
            await _replace(docker, image, tree, labels)
        finally:
            with contextlib.suppress(*BROKEN):
                await docker._query_json(f"images/{image}", "DELETE")
    except BROKEN as error:
        raise OSError(f"the engine could not remove it: {error or type(error).__name__}") from None
    tree.unlink()  # noqa: ASYNC240 (an empty file)


async def _replace(docker: Docker, image: str, tree: Path, labels: Mapping[str, str]) -> None:
    config = {
        "Image": image,
        "Cmd": ["never"],
        "Labels": dict(labels),
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "bind", "Source": str(tree.parent), "Target": _INSIDE}],
        },
    }
    container = (await docker._query_json("containers/create", "POST", data=config))["Id"]
    try:
        put = f"containers/{container}/archive"
        await _send(docker, "PUT", put, _tar(tree.name), path=_INSIDE)
    finally:
        await remove(docker, container)


async def _send(docker: Docker, method: str, what: str, data: bytes, **params: str) -> None:
    request = docker._query(what, method, params=params, data=data, headers=_TAR)
    async with request as answer:
        said = await answer.text()
        if answer.status >= 300 or '"error"' in said:
            raise DockerError(answer.status, said)


def _tar(name: str | None = None) -> bytes:
    """An archive with one empty file of this process's user, or with nothing."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        if name is not None:
            file = tarfile.TarInfo(name)
            file.uid, file.gid, file.mode = os.geteuid(), os.getegid(), 0o600
            archive.addfile(file)
    return packed.getvalue()
