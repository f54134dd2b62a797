"""How ``gridd up`` starts its worker. The worker itself is a stand-in: a line of Python."""

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from gridd import local
from gridd.config import Config
from gridd.errors import ConfigError
from gridd.local import LocalOptions, LocalWorker, worker_command

CONFIG = Config(data_dir=Path("/d"), open_to_all=False)
URL = "http://127.0.0.1:1"


def test_the_worker_is_a_command():
    line = worker_command(CONFIG, LocalOptions(None, "2"), "process", URL)
    assert line[:5] == (sys.executable, "-m", "gridd_worker.cli", "run", "--mode")
    assert line[-2:] == ("--plain", "local")
    given = dict(zip(line[4:-2:2], line[5:-2:2], strict=True))
    assert given == {
        "--mode": "local",
        "--api-address": URL,
        "--data-directory": "/d/worker",
        "--runtime": "process",
        "--drain": local.DRAIN,
        "--log-format": "text",
        "--cpus": "2",
    }


@pytest.mark.parametrize(
    ("runtime", "cpus", "environ", "expected"),
    [
        (None, None, {}, LocalOptions()),
        (None, None, {"GRIDD_RUNTIME": "null", "GRIDD_CPUS": "2"}, LocalOptions("null", "2")),
        ("docker", "1.5", {"GRIDD_RUNTIME": "x", "GRIDD_CPUS": "y"}, LocalOptions("docker", "1.5")),
    ],
)
def test_options_go_over_the_environment(runtime, cpus, environ, expected):
    assert LocalOptions.load(runtime, cpus, environ) == expected


@pytest.mark.parametrize("cpus", ["0", "0.5", "many", "nan", "inf", "-1"])
def test_options_that_do_not_fit(cpus):
    with pytest.raises(ConfigError) as caught:
        LocalOptions.load("lxc", cpus, {})
    assert len(caught.value.complaints) == 2


def test_a_public_url_is_not_the_way_to_the_worker_s_own_machine():
    config = Config(host="::1", port=81, public_url="https://grid.example")
    assert local._worker_address(config, "https://grid.example") == "http://[::1]:81"
    assert local._worker_address(CONFIG, URL) == URL


@pytest.fixture
async def engine(tmp_path):
    """A socket that answers as it is told to."""
    answer, tasks = [b"HTTP/1.0 200 OK\r\n\r\nOK"], set()

    async def talk(reader, writer):
        tasks.add(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer[0])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(talk, tmp_path / "socket")
    yield tmp_path / "socket", answer
    server.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_containers_where_an_engine_answers(engine, monkeypatch, caplog):
    path, answer = engine
    caplog.set_level(logging.INFO, "gridd.local")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    assert await local._choose_runtime() == "docker"
    answer[0] = b"HTTP/1.0 500 no\r\n\r\n"
    assert await local._choose_runtime() == "process"
    answer[0] = b""
    assert await local._choose_runtime() == "process"
    assert [str(path) in line for line in caplog.messages] == [True] * 3


async def test_processes_where_there_is_no_socket(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    assert await local._choose_runtime() == "process"


async def test_an_engine_elsewhere_is_believed(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert await local._choose_runtime() == "docker"


@pytest.fixture
def stand_in(monkeypatch, tmp_path, capfd):
    """A worker that is a line of Python; how often it was started."""

    def use(code):
        starts = tmp_path / "starts"
        text = f"import os, time, sys\nopen({str(starts)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        line = (sys.executable, "-c", text + code)
        monkeypatch.setattr(local, "worker_command", lambda *_: line)

        def pids():
            return [int(pid) for pid in starts.read_text().split()] if starts.exists() else []

        return pids

    with capfd.disabled():  # the worker writes to our standard error, which must be a real one
        yield use


async def eventually(look, seconds=20):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (seen := look()):
        assert loop.time() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        await asyncio.sleep(0.02)
    return seen


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_worker_that_ends_is_started_again_later_and_later(stand_in, monkeypatch, caplog):
    monkeypatch.setattr(local, "RESTART_SECONDS_MIN", 0.01)
    pids = stand_in("sys.exit(7)")
    worker = LocalWorker(CONFIG, LocalOptions("null"), URL)
    await eventually(lambda: len(pids()) >= 3)
    await worker.stop()
    assert "ended with 7" in caplog.text


async def test_settings_that_the_worker_refuses_are_not_tried_again(stand_in, caplog):
    pids = stand_in("sys.exit(2)")
    worker = LocalWorker(CONFIG, LocalOptions("null"), URL)
    await eventually(lambda: "refuses its settings" in caplog.text)
    await worker.stop()
    assert len(pids()) == 1


async def test_a_worker_stops_with_us(stand_in):
    pids = stand_in("time.sleep(60)")
    worker = LocalWorker(CONFIG, LocalOptions("null"), URL)
    [pid] = await eventually(pids)
    await worker.stop()
    await worker.stop()
    assert gone(pid)


async def test_a_worker_that_does_not_stop_is_killed_with_its_children(
    stand_in, monkeypatch, tmp_path
):
    monkeypatch.setattr(local, "STOP_SECONDS", 0.2)
    child = tmp_path / "child"
    pids = stand_in(
        "import signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "run = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(child)!r}, 'w').write(str(run.pid) + ' ')\ntime.sleep(60)"
    )
    worker = LocalWorker(CONFIG, LocalOptions("null"), URL)
    pid = int((await eventually(lambda: child.exists() and child.read_text())).strip())
    await worker.stop()
    assert gone(pids()[0])
    await eventually(lambda: gone(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
