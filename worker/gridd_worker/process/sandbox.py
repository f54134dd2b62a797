"""The ways to run a command on this machine, as argument lists: in bubblewrap, or directly.

The chain of the sandbox, and why in this order: as root, join the control groups and bind the
job's directories where another user can reach them (in a mount namespace of our own); set
rlimits; become a user that nobody else is; and only then make the sandbox, since one made by root
would map its user to the real root. Without root the chain is rlimits and sandbox.
"""

import json
import os
import posixpath
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gridd_worker.files import FileLimits
from gridd_worker.process.cgroups import Group, lives
from gridd_worker.runtime import Task

CHAIN_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS: Final = ("bwrap", "prlimit")
_ROOT_TOOLS: Final = ("unshare", "mount", "setpriv")
_TMPFS_BYTES: Final = 1 << 30
_FILE_BYTES_MAX: Final = FileLimits().output_bytes_max
_NOFILE_MAX: Final = 16_384
_MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_STAGED: Final = ("inputs", "outputs", "config", "python")
_ETC: Final = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "ssl")
# Runs as root before anything of the job: joins groups, binds directories, goes on.
_PREPARE: Final = """
set -e
while [ "$1" != -- ]; do
  case $1 in
    join) echo $$ >"$2"; shift 2 ;;
    bind) mount --bind "$2" "$3"; shift 3 ;;
  esac
done
shift
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. ``sandbox_arguments`` go through a file, where no other user can read them."""

    command: list[str]
    environment: dict[str, str]
    folder: Path | None = None
    sandbox_arguments: list[str] = field(default_factory=list)


def python_prefix() -> Path | None:
    """Where this Python is installed when that is outside /usr (pyenv, say), else None."""
    prefix = Path(sys.base_prefix).resolve()
    if prefix in (Path("/"), Path("/usr")) or prefix.is_relative_to("/usr"):
        return None
    return prefix


def missing_tools() -> list[str]:
    """The programs that the sandbox needs and this machine has not."""
    wanted = _TOOLS + (_ROOT_TOOLS if os.geteuid() == 0 else ())
    return [tool for tool in wanted if shutil.which(tool, path=CHAIN_PATH) is None]


class Stage:
    """Empty directories that an unprivileged user can reach, to bind a job's directories on.

    They stay empty: the binds are seen only in the mount namespace of each run.
    """

    def __init__(self) -> None:
        parent = "/run" if os.access("/run", os.W_OK) else tempfile.gettempdir()
        self._sweep(Path(parent))
        prefix = f"gridd-worker-{os.getpid()}-"
        self.root = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self.root.chmod(0o711)
        for name in _STAGED:
            (self.root / name).mkdir()

    def remove(self) -> None:
        _remove_stage(self.root)

    def _sweep(self, parent: Path) -> None:
        """Remove the stages of workers that were killed."""
        for left in parent.glob("gridd-worker-*-*"):
            if not lives(left.name.split("-")[2]):
                _remove_stage(left)


def _remove_stage(root: Path) -> None:
    """Only what is empty: a stage never holds more, and no bind may ever be followed."""
    for folder in (*(root / name for name in _STAGED), root):
        with suppress(OSError):
            folder.rmdir()


def rlimits(task: Task, *, grouped: bool, own_user: bool) -> dict[str, int]:
    """Limits by their name in ``prlimit``. Without groups, memory is bounded per process."""
    limits = {"core": 0, "fsize": _FILE_BYTES_MAX, "nofile": _NOFILE_MAX}
    if task.allowance.memory_bytes and not grouped:
        limits["data"] = task.allowance.memory_bytes
    if own_user:
        limits["nproc"] = task.allowance.pids_max
    return limits


def in_sandbox(
    task: Task,
    argv: list[str],
    *,
    status: int,
    arguments: int,
    user: int | None = None,
    stage: Stage | None = None,
    group: Group | None = None,
) -> Launch:
    """``status`` and ``arguments`` are file descriptors for bwrap. ``user`` and ``stage`` are
    given when, and only when, the worker is root."""
    command: list[str] = []
    python = python_prefix()
    places = {"inputs": task.inputs, "outputs": task.outputs}
    if user is not None and stage is not None:
        places["config"] = next(iter(task.config_files.values()), task.inputs).parent
        places |= {"python": python} if python else {}
        steps = [str(part) for join in (group.joins if group else ()) for part in ("join", join)]
        for name, path in places.items():
            steps += ["bind", str(path), str(stage.root / name)]
            places[name] = stage.root / name
        command += ["unshare", "--mount", "--propagation", "private", "--"]
        command += ["sh", "-c", _PREPARE, "sh", *steps, "--"]
    limits = rlimits(task, grouped=group is not None, own_user=user is not None)
    command += ["prlimit", *(f"--{name}={value}:{value}" for name, value in limits.items()), "--"]
    if user is not None:
        command += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        command += ["--inh-caps=-all", "--no-new-privs", "--"]
    command += ["bwrap", "--args", str(arguments), "--", *argv]
    options = [*_isolation(status), *_system(), *_job(task, places, python)]
    return Launch(command, {"PATH": CHAIN_PATH}, sandbox_arguments=options)


def _isolation(status: int) -> Iterator[str]:
    for name in ("user", "pid", "net", "ipc", "uts"):
        yield f"--unshare-{name}"
    yield from ("--unshare-cgroup-try", "--disable-userns", "--new-session", "--die-with-parent")
    yield from ("--hostname", "job", "--clearenv", "--json-status-fd", str(status))


def _system() -> Iterator[str]:
    """The host's programs, read-only; of /etc only what finding libraries and names needs."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _MERGED:
        path = Path("/") / name
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in _ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev")


def _job(task: Task, places: dict[str, Path], python: Path | None) -> Iterator[str]:
    if python is not None:
        yield from ("--ro-bind", str(places.get("python", python)), str(python))
    yield from ("--size", str(task.allowance.shm_bytes or _TMPFS_BYTES), "--tmpfs", "/dev/shm")
    for folder in ("/tmp", "/job", "/job-cache"):
        yield from ("--size", str(_TMPFS_BYTES), "--tmpfs", folder)
    yield from ("--ro-bind", str(places["inputs"]), "/inputs")
    yield from ("--bind", str(places["outputs"]), "/outputs")
    yield from ("--symlink", "/inputs", "/job/inputs", "--symlink", "/outputs", "/job/outputs")
    for inside, path in task.config_files.items():
        source = places["config"] / path.name if "config" in places else path
        yield from ("--ro-bind", str(source), inside)
    folder = posixpath.normpath(posixpath.join("/job", task.definition.workdir or ""))
    yield from ("--dir", folder, "--remount-ro", "/", "--chdir", folder)
    for name, value in {**_base_environment(python, "/job"), **task.environment}.items():
        yield from ("--setenv", name, value)


def directly(task: Task, argv: list[str], *, status: int) -> Launch:
    """No isolation but a session of its own and rlimits; ``reaper`` ends what it leaves behind."""
    home = task.outputs.parent
    limits = {
        f"RLIMIT_{name.upper()}": value
        for name, value in rlimits(task, grouped=False, own_user=False).items()
    }
    reaper = Path(__file__).with_name("reaper.py")
    command = [sys.executable, "-I", "-S", str(reaper), str(status), json.dumps(limits), *argv]
    cache = home / "cache"
    cache.mkdir(exist_ok=True)
    environment = {
        **_base_environment(python_prefix(), str(home)),
        **task.environment,
        "JOB_INPUTS": str(task.inputs),
        "JOB_OUTPUTS": str(task.outputs),
        "JOB_CACHE": str(cache),
    }
    folder = home / task.definition.workdir if task.definition.workdir else home
    return Launch(command, environment, folder=folder)


def _base_environment(python: Path | None, home: str) -> dict[str, str]:
    """Never the worker's own: it may hold secrets."""
    path = "/usr/local/bin:/usr/bin:/bin"
    if python is not None:
        path = f"{python / 'bin'}:{path}"
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
