"""The process runtime on this machine: in bubblewrap, and without."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gridd_worker.disk_watch import DiskWatch
from gridd_worker.process.cgroups import usable
from gridd_worker.process.runtime import ProcessRuntime
from gridd_worker.usage import Gauge
from tests.system.support.processes import processes_with

WAYS = ["sandbox", "direct"]


def shell(script: str, **members: Any) -> dict[str, Any]:
    quoted = script.replace("'", "'\\''")
    return {"command": f"sh -c '{quoted}'", **members}


async def _opened(way: str) -> ProcessRuntime:
    runtime = ProcessRuntime(sandbox=way == "sandbox")
    await runtime.open()
    if way == "sandbox" and "in bubblewrap" not in runtime.describe():
        await runtime.close()
        reason = f"no working sandbox here: {runtime.describe()}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return runtime


@pytest.fixture(params=WAYS)
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[ProcessRuntime]:
    runtime = await _opened(request.param)
    yield runtime
    await runtime.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[ProcessRuntime]:
    runtime = await _opened("sandbox")
    yield runtime
    await runtime.close()


@pytest.fixture
async def direct() -> AsyncIterator[ProcessRuntime]:
    runtime = await _opened("direct")
    yield runtime
    await runtime.close()


def found(folder: str, pattern: str) -> set[Path]:
    return set(Path(folder).glob(pattern))


async def test_what_a_program_uses_with_its_children(bench, runtime, until):
    hold = "x=$(head -c 30000000 /dev/zero | tr '\\0' x)"
    script = f"{hold}; echo up; while :; do :; done & while :; do :; done"
    task = bench.task(shell(script), cpus=0.75)
    run = await runtime.start(task, bench.recorder.log, bench.recorder.on_start)
    try:
        await until(lambda: bench.recorder.text() == "up\n", lambda: bench.recorder.lines)
        gauge = Gauge()
        await gauge.look(run.usage)
        await asyncio.sleep(0.5)
        await gauge.look(run.usage)
    finally:
        await run.stop()
    assert gauge.cpus is not None
    assert gauge.cpus > 0.2
    assert gauge.memory is not None
    assert 30_000_000 < gauge.memory < 300_000_000
    assert await run.usage() is None


async def test_who_writes_for_ever_is_ended(bench, runtime, monkeypatch):
    monkeypatch.setattr("gridd_worker.disk_watch.LOOK_S", 0.2)
    runtime._disk = DiskWatch(24 << 20)
    place = "${JOB_OUTPUTS:-/outputs}/big"
    write = "while :; do dd if=/dev/zero bs=1M count=1 2>/dev/null {}; sleep 0.02; done"
    task = bench.task(shell(write.format(f'>>"{place}"')))
    outcome, _ = await bench.run(runtime, task)
    assert (outcome.error or "").startswith("the job wrote ")
    assert "24 MiB are allowed (--job-disk): " in (outcome.error or "")
    assert (outcome.exit_code, outcome.timed_out) == (137, False)
    if os.geteuid() == 0:  # what others hold open is seen by root only
        hidden = f'exec 3>"{place}"; rm "{place}"; {write.format(">&3")}'
        outcome, _ = await bench.run(runtime, bench.task(shell(hidden)))
        assert "MiB in files that it removed and holds open" in (outcome.error or "")


async def test_streams_apart_and_in_order(bench, runtime):
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'last ä'"
    outcome, heard = await bench.run(runtime, bench.task(shell(script)))
    assert (outcome.exit_code, outcome.error, outcome.remarks) == (0, None, [])
    assert heard.text() == "out 1\nout 2\nout 3\nlast ä"
    assert heard.text(stderr=True) == "err 1\nerr 2\nerr 3\n"
    assert heard.started == 1


async def test_exit_codes_and_signals(bench, runtime):
    outcome, _ = await bench.run(runtime, bench.task(shell("exit 3")))
    assert outcome.exit_code == 3
    assert outcome.remarks[-1] == "💥 StatusCode: 3"
    outcome, _ = await bench.run(runtime, bench.task(shell("kill -SEGV $$")))
    assert outcome.exit_code == 139


async def test_200k_lines_arrive_once_and_in_order(bench, runtime):
    outcome, heard = await bench.run(runtime, bench.task({"command": "seq 1 200000"}))
    assert outcome.exit_code == 0
    assert heard.text() == "".join(f"{n}\n" for n in range(1, 200_001))


async def test_lines_reach_the_sink_while_the_program_runs(bench, runtime):
    script = "for i in 1 2 3 4 5 6; do date +%s%3N; sleep 0.05; done"
    _, heard = await bench.run(runtime, bench.task(shell(script)))
    delays = sorted(
        at - int(line.text) for at, (_, line) in zip(heard.heard_ms, heard.lines, strict=True)
    )
    assert delays[len(delays) // 2] <= 50, delays


async def test_inputs_outputs_and_the_python_of_this_machine(bench, runtime):
    directories = bench.directories()
    (directories.inputs / "deep").mkdir()
    (directories.inputs / "deep" / "script.py").write_text(
        "import os, sys, pathlib\n"
        "out = pathlib.Path(os.environ['JOB_OUTPUTS']) / 'a' / 'b.txt'\n"
        "out.parent.mkdir()\n"
        "out.write_text(sys.argv[1])\n"
        "print(sys.version_info[:2], os.environ['WORD'])\n"
    )
    definition = {"command": "python3 inputs/deep/script.py $WORD", "env": {"WORD": "grid"}}
    outcome, heard = await bench.run(runtime, bench.task(definition, directories=directories))
    assert heard.text(stderr=True) == ""
    assert outcome.exit_code == 0
    assert heard.text() == f"{sys.version_info[:2]} grid\n"
    assert (directories.outputs / "a" / "b.txt").read_text() == "grid"


async def test_the_workers_environment_stays_its_own(bench, runtime, monkeypatch):
    monkeypatch.setenv("GRIDD_TEST_SECRET", "secret")
    _, heard = await bench.run(runtime, bench.task({"command": "env"}))
    assert "PATH=" in heard.text()
    assert "SECRET" not in heard.text()


async def test_time_limit(bench, runtime):
    task = bench.task(shell("echo on; sleep 31.5"), run_ms_max=400)
    outcome, heard = await bench.run(runtime, task)
    assert outcome.timed_out
    assert outcome.exit_code == 137
    assert outcome.remarks[-2:] == ["💥 Timed out", "💥 StatusCode: 137"]
    assert outcome.duration_ms is not None
    assert 400 <= outcome.duration_ms < 2_500
    assert heard.text() == "on\n"
    assert processes_with("sleep 31.5") == []


async def test_stop_takes_every_descendant(bench, runtime, until):
    script = (
        "trap '' TERM HUP; nohup sleep 61.25 >/dev/null 2>&1 & setsid sh -c 'sleep 61.25; true' &"
        " (setsid setsid sleep 61.25 &) ; echo up; sleep 61.25"
    )
    recorder = bench.recorder
    run = await runtime.start(bench.task(shell(script)), recorder.log, recorder.on_start)
    await until(lambda: recorder.text() == "up\n", lambda: recorder.lines)
    await until(lambda: len(processes_with("sleep 61.25")) >= 4, lambda: processes_with("61.25"))
    began = time.monotonic()
    await run.stop()
    assert time.monotonic() - began < 2
    await until(lambda: not processes_with("sleep 61.25"), lambda: processes_with("61.25"), 1)
    outcome = await run.wait()
    assert outcome.exit_code == 137
    await run.stop()


async def test_what_is_left_behind_ends_with_the_program(bench, runtime, until):
    script = "setsid sleep 62.75 & (setsid sleep 62.75 &); sleep 0.1; echo done"
    began = time.monotonic()
    outcome, heard = await bench.run(runtime, bench.task(shell(script)))
    assert time.monotonic() - began < 5
    assert outcome.exit_code == 0
    assert heard.text() == "done\n"
    await until(lambda: not processes_with("sleep 62.75"), lambda: processes_with("62.75"), 1)


async def test_cancelled_wait_stops_the_run(bench, runtime, until):
    recorder = bench.recorder
    run = await runtime.start(
        bench.task(shell("echo up; sleep 63.25")), recorder.log, recorder.on_start
    )
    waiting = asyncio.create_task(run.wait())
    await until(lambda: recorder.lines, lambda: recorder.lines)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not processes_with("sleep 63.25"), lambda: processes_with("63.25"), 1)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"command": "no-such-program-here"}, "can't be started"),
        ({}, "no command to run"),
        ({"command": "echo ${A"}, "bad substitution"),
        ({"command": "true", "env": {"A=B": "1"}}, "'A=B'"),
        ({"command": "true", "env": {"A": "x\0--bind\0/\0/host"}}, "not plain text"),
        ({"command": "true", "workdir": "/tmp\0--bind\0/\0/host"}, "not plain text"),
        ({"command": "true", "workdir": "/\ud800"}, "not plain text"),
        ({"command": f"echo {'x' * 300_000}"}, "too large for a process"),
    ],
)
async def test_what_can_not_run_says_so(bench, runtime, definition, said):
    outcome, _ = await bench.run(runtime, bench.task(definition))
    assert outcome.exit_code is None
    assert outcome.error is not None
    assert said in outcome.error
    assert outcome.remarks[0] == "💥 Job Error"


async def test_config_files_whose_names_are_options_are_refused(bench, sandbox, tmp_path):
    (tmp_path / "0").write_text("x")
    task = bench.task({"command": "true"}, config_files={"/a\0--bind\0/\0/h": tmp_path / "0"})
    outcome, _ = await bench.run(sandbox, task)
    assert "not plain text" in (outcome.error or "")


async def test_more_variables_than_the_sandbox_takes_are_refused(bench, sandbox):
    env = {f"A{number}": "x" for number in range(9_000)}
    outcome, _ = await bench.run(sandbox, bench.task({"command": "true", "env": env}))
    assert "it takes fewer than 9000" in (outcome.error or "")


async def test_shared_memory_has_its_size_or_is_refused(bench, runtime):
    """What is asked and can't be enforced is refused."""
    task = bench.task(shell("df -k /dev/shm | tail -1"), shm_bytes=8 << 20)
    outcome, heard = await bench.run(runtime, task)
    if "in bubblewrap" in runtime.describe():
        assert heard.text().split()[1] == "8192"
    else:
        assert "shmSize can't be kept" in (outcome.error or "")


async def test_less_memory_than_the_sandbox_needs_is_no_fault_of_the_machine(bench, sandbox):
    sandbox._grouped = False  # as for a user who is not root
    outcome, _ = await bench.run(sandbox, bench.task({"command": "true"}, memory_bytes=1_000))
    assert "needs 16777216 bytes" in (outcome.error or "")
    outcome, _ = await bench.run(sandbox, bench.task({"command": "true"}, memory_bytes=16 << 20))
    assert outcome.exit_code == 0


async def test_gpus_are_refused(bench, runtime):
    outcome, _ = await bench.run(runtime, bench.task({"command": "true"}, gpus=("0",)))
    assert "can't have GPUs" in (outcome.error or "")


# --- only in the sandbox -------------------------------------------------------------------


async def test_sandbox_sees_only_what_it_should(bench, sandbox, tmp_path):
    (tmp_path / "secret").write_text("s")
    script = (
        f"cat {tmp_path}/secret; echo x >/inputs/n; echo x >/usr/n; echo x >/n;"
        " ls /root /home 2>/dev/null; id -u; ls /"
    )
    directories = bench.directories()
    outcome, heard = await bench.run(sandbox, bench.task(shell(script), directories=directories))
    assert outcome.exit_code == 0
    assert heard.text(stderr=True).count("\n") >= 4
    assert "No such file" in heard.text(stderr=True)
    user, *entries = heard.text().split()[-20:]
    assert user != "0"
    assert {"inputs", "outputs", "usr"} <= set(entries)
    assert list(directories.inputs.iterdir()) == []


async def test_sandbox_has_no_network(bench, sandbox):
    assert sandbox.offers == ("no-network",), "the server gives it jobs that ask for none"
    script = (
        "import socket\n"
        "for host in ('127.0.0.1', '169.254.169.254', '192.0.2.1'):\n"
        "    try: socket.create_connection((host, PORT), 1); print('reached')\n"
        "    except OSError as error: print('closed')\n"
    )
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    directories = bench.directories()
    port = server.sockets[0].getsockname()[1]
    (directories.inputs / "try.py").write_text(script.replace("PORT", str(port)))
    task = bench.task({"command": "python3 /inputs/try.py"}, directories=directories)
    _, heard = await bench.run(sandbox, task)
    server.close()
    assert heard.text() == "closed\n" * 3


async def test_sandbox_has_no_privileges(bench, sandbox):
    script = "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; unshare -U true && echo bad"
    _, heard = await bench.run(sandbox, bench.task(shell(script)))
    assert "CapEff:\t0000000000000000" in heard.text()
    assert "NoNewPrivs:\t1" in heard.text()
    assert "bad" not in heard.text()


async def test_sandbox_mounts_config_files(bench, sandbox):
    directories = bench.directories()
    (directories.config / "0").write_text("setting=1\n")
    task = bench.task(
        shell("cat /etc/app/app.conf; echo no >/etc/app/app.conf"),
        directories=directories,
        config_files={"/etc/app/app.conf": directories.config / "0"},
    )
    outcome, heard = await bench.run(sandbox, task)
    assert heard.text() == "setting=1\n"
    assert outcome.exit_code != 0
    assert (directories.config / "0").read_text() == "setting=1\n"


async def test_sandbox_limits_by_control_groups(bench, sandbox):
    if "by control groups" not in sandbox.describe():
        await _limits_without_groups(bench, sandbox)
        return
    task = bench.task(shell("tail /dev/zero"), memory_bytes=64 << 20)
    outcome, _ = await bench.run(sandbox, task)
    assert outcome.exit_code == 137
    assert outcome.out_of_memory
    forks = "i=0; while [ $i -lt 40 ]; do sleep 3 & i=$((i+1)); done"
    outcome, heard = await bench.run(sandbox, bench.task(shell(forks), pids_max=12))
    assert "fork" in heard.text(stderr=True).lower()
    assert not found("/sys/fs/cgroup/pids/gridd", f"{os.getpid()}-*")


async def _limits_without_groups(bench: Any, sandbox: ProcessRuntime) -> None:
    """Where there are no groups (no root, or version 2), each process is bounded by itself."""
    script = "python3 -c 'x = bytearray(1 << 30)'"
    outcome, heard = await bench.run(sandbox, bench.task(shell(script), memory_bytes=64 << 20))
    assert outcome.exit_code != 0
    assert "MemoryError" in heard.text(stderr=True)


async def test_sandbox_leaves_nothing_on_the_machine(bench):
    before = found("/run", "gridd-worker-*")
    runtime = await _opened("sandbox")
    await bench.run(runtime, bench.task({"command": "true"}))
    await runtime.close()
    assert found("/run", "gridd-worker-*") - before == set()


# --- without ------------------------------------------------------------------------------


async def test_direct_says_that_nothing_is_isolated(bench, direct):
    assert "NOT isolated" in direct.describe()
    directories = bench.directories()
    (directories.config / "0").write_text("x")
    task = bench.task(
        {"command": "true"},
        directories=directories,
        config_files={"/etc/app.conf": directories.config / "0"},
    )
    outcome, _ = await bench.run(direct, task)
    assert "need a sandbox" in (outcome.error or "")


async def test_direct_names_the_real_directories(bench, direct):
    directories = bench.directories()
    task = bench.task(shell("echo $JOB_INPUTS; echo x >outputs/y; pwd"), directories=directories)
    _, heard = await bench.run(direct, task)
    assert heard.text().split() == [str(directories.inputs), str(directories.root)]
    assert (directories.outputs / "y").read_text() == "x\n"


def leave_behind(worker: int, process: int) -> list[Path]:
    """What ``worker`` made: a stage and, where groups are used, one with ``process`` in it."""
    stage = Path("/run", f"gridd-worker-{worker}-xyz")
    (stage / "inputs").mkdir(parents=True)
    if not usable():
        return [stage]
    group = Path("/sys/fs/cgroup/pids/gridd", f"{worker}-1-abc")
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(str(process))
    return [stage, group]


async def test_what_a_killed_worker_left_behind_is_removed_by_the_next(sandbox):
    """Among it a sandbox that was never set up and waits for ever."""
    if os.geteuid() != 0:
        return  # groups and stages are only made by root
    killed = await asyncio.create_subprocess_exec("true")
    await killed.wait()
    stuck = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        left = leave_behind(killed.pid, stuck.pid)
        before = found("/run", f"gridd-worker-{os.getpid()}-*")
        after = await _opened("sandbox")
        assert [path for path in left if path in found(str(path.parent), "*")] == []
        assert before <= found("/run", f"gridd-worker-{os.getpid()}-*"), "a living one's stage"
        await after.close()
        if len(left) > 1:
            assert await asyncio.wait_for(stuck.wait(), 10) == -signal.SIGKILL
    finally:
        if stuck.returncode is None:
            stuck.kill()
            await stuck.wait()
