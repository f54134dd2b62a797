"""Runs process jobs: a command on the worker's own machine, for definitions without an image.

In bubblewrap where that works (tried once, by ``open``), otherwise directly, which ``describe``
says. How a command is started stands in ``sandbox``; its life is ``run``.
"""

import asyncio
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from gridd_protocol.definitions import Definition
from gridd_protocol.errors import shown
from gridd_protocol.messages import Kind
from gridd_protocol.names import NO_NETWORK_TAG
from gridd_worker.commandline import CommandError, split_command, variables
from gridd_worker.disk_watch import DiskWatch
from gridd_worker.null import Ended
from gridd_worker.process.cgroups import Group, make_group, sweep, usable
from gridd_worker.process.run import ProcessRun
from gridd_worker.process.sandbox import Launch, Stage, directly, in_sandbox, missing_tools
from gridd_worker.remarks import not_run
from gridd_worker.runtime import (
    Allowance,
    LogSink,
    Runtime,
    RuntimeUnavailable,
    Task,
)

# Users that nobody else is: systemd's range for such, so no account is in it.
_USERS: Final = range(61_184, 65_519)


class NotRunnable(Exception):
    """The definition asks for what this runtime can't do. A sentence."""


_SANDBOX_ARGUMENTS_MAX: Final = 9_000  # bubblewrap's own bound
_MEMORY_BYTES_MIN: Final = 16 << 20  # chosen: the sandbox itself starts in 2 MiB


class ProcessRuntime(Runtime):
    """``sandbox`` False runs directly even where bubblewrap is there (for tests). A sandbox has no
    network; ``network_limited``: without one, don't start."""

    kinds: tuple[Kind, ...] = ("process",)

    def __init__(
        self,
        *,
        sandbox: bool = True,
        network_limited: bool = False,
        disk: DiskWatch | None = None,
    ) -> None:
        self._disk = disk
        self._network_limited = network_limited
        self._wants_sandbox = sandbox
        self._sandboxed = False
        self._grouped = False
        self._stage: Stage | None = None
        self._users = itertools.cycle(_USERS)
        self._names = itertools.count(1)
        self._about = "process: not open"

    def describe(self) -> str:
        """One line for the log: how jobs are kept apart from this machine, and how not."""
        return self._about

    async def open(self) -> None:
        if os.name != "posix":
            raise RuntimeUnavailable(
                "the process runtime needs Linux or another POSIX system", final=True
            )
        why_not = await self._try_sandbox()
        limits = "memory, cpu and process limits by control groups"
        if not self._grouped:
            limits = "memory limited for each process only, cpu not limited"
        if self._sandboxed:
            self.offers = (NO_NETWORK_TAG,)
            self._about = f"process: in bubblewrap, no network, {limits}"
        elif self._network_limited:
            raise RuntimeUnavailable(
                f"--job-network can't be kept without bubblewrap ({why_not})", final=True
            )
        else:
            who = "as root" if os.geteuid() == 0 else "as this user"
            self._about = f"process: NOT isolated ({why_not}), {who}, with network, {limits}"

    async def _try_sandbox(self) -> str | None:
        """Sets up the sandbox and runs ``true`` in it. Why it is not used, else None."""
        if not self._wants_sandbox:
            return "switched off"
        if missing := missing_tools():
            return f"missing: {', '.join(missing)}"
        self._sandboxed = True
        if os.geteuid() == 0:
            self._grouped = usable()
            if self._grouped:
                await sweep()
            self._stage = Stage()
        if (problem := await self._probe()) and self._grouped:
            self._grouped = False
            problem = await self._probe()
        if problem is not None:
            self._sandboxed = False
            await self.close()
        return problem

    async def _probe(self) -> str | None:
        said: list[str] = []
        with TemporaryDirectory(prefix="gridd-probe-") as folder:
            task = _probe_task(Path(folder))
            try:
                run = await self.start(
                    task, lambda _, lines: said.extend(line.text for line in lines), lambda: None
                )
                outcome = await run.wait()
            except RuntimeUnavailable as error:
                return str(error)
        if outcome.exit_code == 0:
            return None
        return (outcome.error or "".join(said) or f"exit code {outcome.exit_code}").strip()[:300]

    async def start(
        self, task: Task, log: LogSink, started: Callable[[], None]
    ) -> Ended | ProcessRun:
        try:
            argv = command_of(task)
            self._check(task, argv)
            return await self._launch(task, argv, log, started)
        except (CommandError, NotRunnable) as error:
            return Ended(not_run(str(error)))
        except OSError as error:
            if error.errno == errno.E2BIG:
                return Ended(not_run(f"command and env are too large for a process: {error}"))
            raise RuntimeUnavailable(f"this machine can't start a process: {error}") from None

    def _check(self, task: Task, argv: list[str]) -> None:
        """What the definition asks for and this runtime can't do. Raises ``NotRunnable``."""
        if not argv:
            raise NotRunnable("the definition has no command to run")
        if task.allowance.gpus:
            raise NotRunnable("a process job can't have GPUs on this worker")
        for name in task.environment:
            if not name or "=" in name:
                raise NotRunnable(f"env has the name {shown(name)}, which no process can have")
        workdir = task.definition.workdir or ""
        _check_plain(*argv, *task.environment, *task.environment.values(), workdir)
        if not self._sandboxed:
            self._check_direct(task)
        if not self._grouped and 0 < task.allowance.memory_bytes < _MEMORY_BYTES_MIN:
            # The limit holds for the programs that set up the sandbox, too.
            raise NotRunnable(f"a process needs {_MEMORY_BYTES_MIN} bytes of memory here, at least")

    def _check_direct(self, task: Task) -> None:
        if task.config_files:
            names = shown(", ".join(task.config_files), 200)
            raise NotRunnable(
                f"config files at absolute paths need a sandbox or container: {names}"
            )
        if task.allowance.shm_bytes:
            raise NotRunnable("shmSize can't be kept without a sandbox or container")
        workdir = task.definition.workdir
        if workdir and not (task.outputs.parent / workdir).is_dir():
            raise NotRunnable(f"workdir {shown(workdir)} is no directory of this machine")

    async def close(self) -> None:
        if self._stage is not None:
            self._stage.remove()
            self._stage = None

    async def _launch(
        self, task: Task, argv: list[str], log: LogSink, started: Callable[[], None]
    ) -> ProcessRun:
        group = None
        if self._grouped:
            name = f"{os.getpid()}-{next(self._names)}-{task.job[:16]}"
            group = make_group(name, task.allowance)
        try:
            read_status, status = os.pipe()
            os.set_blocking(read_status, False)
            try:
                with _memory_file() as arguments:
                    launch = self._plan(task, argv, status, arguments, group)
                    _write_arguments(arguments, launch)
                    process = await _spawn(launch, (status, arguments))
            except BaseException:
                os.close(read_status)
                raise
            finally:
                os.close(status)
        except BaseException:
            if group is not None:
                await group.remove()
            raise
        started()
        return ProcessRun(
            process,
            read_status,
            group,
            task.allowance,
            log,
            sandboxed=self._sandboxed,
            outputs=task.outputs,
            disk=self._disk,
        )

    def _plan(
        self, task: Task, argv: list[str], status: int, arguments: int, group: Group | None
    ) -> Launch:
        if not self._sandboxed:
            return directly(task, argv, status=status)
        user = None
        if self._stage is not None:
            user = next(self._users)
            os.chown(task.outputs, user, user)
        return in_sandbox(
            task,
            argv,
            status=status,
            arguments=arguments,
            user=user,
            stage=self._stage,
            group=group,
        )


def command_of(task: Task) -> list[str]:
    """Entrypoint and command as one list. Raises ``CommandError``."""
    env = variables(task)
    definition = task.definition
    return [
        *(split_command(definition.entrypoint, env) or ()),
        *(split_command(definition.command, env) or ()),
    ]


async def _spawn(launch: Launch, descriptors: tuple[int, ...]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *launch.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=launch.folder or "/",
        env=launch.environment,
        pass_fds=descriptors,
        start_new_session=True,
    )


@contextmanager
def _memory_file() -> Iterator[int]:
    """An unnamed file: arguments in it are seen by no other user, unlike a command line."""
    file = os.memfd_create("arguments") if hasattr(os, "memfd_create") else _unnamed()
    try:
        yield file
    finally:
        os.close(file)


def _unnamed() -> int:
    from tempfile import TemporaryFile

    with TemporaryFile() as file:
        return os.dup(file.fileno())


def _write_arguments(file: int, launch: Launch) -> None:
    """Raises ``NotRunnable`` for what would be read as something else, or not at all."""
    options = launch.sandbox_arguments
    _check_plain(*options)
    count = len(options) + len(launch.command)
    if count >= _SANDBOX_ARGUMENTS_MAX:
        raise NotRunnable(
            f"env, config files and command make {count} arguments of the sandbox;"
            f" it takes fewer than {_SANDBOX_ARGUMENTS_MAX}"
        )
    with os.fdopen(os.dup(file), "wb") as stream:
        stream.write(b"".join(option.encode() + b"\0" for option in options))
    os.lseek(file, 0, os.SEEK_SET)


def _check_plain(*texts: str) -> None:
    """A NUL ends an argument: what follows it would be an option of the sandbox, whose files and
    network would be the machine's then."""
    for text in texts:
        if "\0" in text or not _encodes(text):
            raise NotRunnable(f"{shown(text)} can't be given to a process: it is not plain text")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _probe_task(folder: Path) -> Task:
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir()
    outputs.mkdir()
    return Task(
        job="probe",
        attempt=1,
        queue="",
        worker="",
        definition=Definition(command="true"),
        inputs=inputs,
        outputs=outputs,
        config_files={},
        environment={},
        allowance=Allowance(run_ms_max=10_000),
    )
