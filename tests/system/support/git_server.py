"""A git server on loopback: git's own ``http-backend`` behind aiohttp, with or without a login."""

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web


def git(folder: Path, *arguments: str) -> str:
    """Runs git for a test's own repositories, without the settings of whoever runs the tests."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@test",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@test",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@dataclass
class GitServer:
    """``repository`` is served as ``/r.git``; ``/private.git`` is the same behind a login."""

    root: Path
    address: str = ""
    requests: list[str] = field(default_factory=list)
    hang: bool = False

    @property
    def repository(self) -> Path:
        return self.root / "r.git"

    def commit(self, branch: str = "main", **files: str) -> str:
        """A new commit with just these files; ``__`` in a name stands for a folder, ``_`` for a
        dot. The commit's hash."""
        if not self.repository.exists():
            self.repository.mkdir(parents=True)
            git(self.repository, "init", "-q", "-b", "main")
        git(self.repository, "checkout", "-q", "-B", branch)
        git(self.repository, "rm", "-rq", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = self.repository / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.repository, "add", "-A")
        git(self.repository, "commit", "-q", "--allow-empty", "-m", "x")
        return git(self.repository, "rev-parse", "HEAD")

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        if self.hang:
            await asyncio.sleep(60)
        if request.path.startswith("/moved.git"):
            raise web.HTTPFound("http://169.254.169.254/r.git/info/refs")
        wanted = "Basic " + base64.b64encode(b"owner:s3cret").decode()
        private = request.path.startswith("/private.git")
        if private and request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="t"'})
        return await self._backend(request)

    async def _backend(self, request: web.Request) -> web.Response:
        path = request.path.replace("/private.git", "/r.git").replace("/r.git", "/r.git/.git", 1)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate(await request.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=body)


@asynccontextmanager
async def git_server(root: Path) -> AsyncIterator[GitServer]:
    if shutil.which("git") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no git")
    server = GitServer(root)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
