"""Docker engines that a test may take away: a line to the machine's that can be cut, and one of its
own that can be stopped."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

SOCKET = "/var/run/docker.sock"
READY_S = 30.0


class Line:
    """A socket in front of the engine's that can be cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pairs: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, str(self.path))

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_unix_connection(SOCKET)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in (back, writer):
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()


class Engine:
    """A second dockerd below ``folder``, in network and mount namespaces of its own: two in one
    network namespace would share their packet filter's chains. ``options`` are dockerd's, and
    ``programs`` a folder that it finds programs in before others."""

    def __init__(self, folder: Path, *options: str, programs: Path | None = None) -> None:
        self._options = options
        self._path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
        # Addresses of sockets are at most 107 bytes long, so they are not below ``folder``.
        self._sockets = Path(tempfile.mkdtemp(prefix="gridd-engine-"))
        self.host = f"unix://{self._sockets}/sock"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        folder = self._folder
        (folder / "engine.pid").unlink(missing_ok=True)  # a killed one leaves it behind
        with (folder / "engine.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("unshare", "--net", "--mount", "dockerd", "--shutdown-timeout", "1"),
                *("--host", self.host, "--pidfile", f"{folder}/engine.pid"),
                *("--data-root", f"{folder}/engine-data", "--exec-root", f"{self._sockets}/exec"),
                *self._options,
                env={**os.environ, "PATH": self._path},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(READY_S):
            while await self._client("version"):
                assert self._process.returncode is None, self.said()
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """As its service manager would: it ends its containers."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), READY_S)

    def forget(self) -> None:
        shutil.rmtree(self._sockets, ignore_errors=True)

    async def give(self, image: str) -> None:
        """Copy an image from the machine's engine."""
        file = self._folder / "image.tar"
        saved = await asyncio.create_subprocess_exec("docker", "save", "-o", str(file), image)
        assert await saved.wait() == 0
        assert await self._client("load", "-q", "-i", str(file)) == 0, self.said()

    def said(self) -> str:
        return (self._folder / "engine.log").read_text(errors="replace")[-2_000:]

    async def _client(self, *words: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *("docker", "--host", self.host, *words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DOCKER_HOST": ""},
        )
        return await process.wait()


@contextlib.asynccontextmanager
async def second_engine(
    folder: Path, *options: str, programs: Path | None = None
) -> AsyncIterator[Engine]:
    engine = Engine(folder, *options, programs=programs)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()
        engine.forget()
