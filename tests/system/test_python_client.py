"""``gridd.client`` in programs: with a loop and without, against a real grid and a real worker."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

import gridd.client
from gridd.client import AsyncQueue, GridError, Queue, Result, UsageError
from tests.system.support.up import grid_up

SCRIPT = """
import os, pathlib, sys
inputs, outputs = (pathlib.Path(os.environ[name]) for name in ("JOB_INPUTS", "JOB_OUTPUTS"))
print(sorted(path.name for path in inputs.rglob("*") if path.is_file()))
print("to stderr", file=sys.stderr)
(outputs / "sub").mkdir()
(outputs / "sub" / "copy").write_bytes((inputs / "large").read_bytes())
(outputs / "answer.json").write_text('{"answer": 42}')
sys.exit(int(os.environ.get("CODE", "0")))
"""
PYTHON = ("python3", "-c", SCRIPT)
SLEEP = ("sh", "-c", "echo up; exec sleep 60")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with grid_up(tmp_path_factory.mktemp("grid"), "process") as url:
        yield url


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    with Queue(f"{url}/q/local") as queue:
        yield queue


def test_a_job_from_beginning_to_end(queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "small").write_bytes(b"s")
    inputs = {"large": b"x" * 300_000, "d": tmp_path / "d", "j": {"a": 1}, "t": "é"}
    job = queue.submit(command=PYTHON, inputs=inputs, env={"CODE": "3"})
    lines = list(job.logs())
    assert [line.text for line in lines if not line.stderr] == ["['j', 'large', 'small', 't']\n"]
    assert [line.text for line in lines if line.stderr] == ["to stderr\n"]
    result = job.wait(timeout=30)
    assert (result.reason, result.exit_code, result.ok, result.error) == ("Success", 3, False, None)
    assert result.duration_s is not None
    assert result.duration_s > 0
    outputs = job.outputs
    assert sorted(outputs) == ["answer.json", "sub/copy"]
    assert outputs["answer.json"].json() == {"answer": 42}
    assert outputs["answer.json"].text() == '{"answer": 42}'
    assert outputs["sub/copy"].read() == b"x" * 300_000
    saved = outputs["sub/copy"].save(tmp_path / "out")
    assert saved == tmp_path / "out" / "sub" / "copy"
    assert saved.read_bytes() == b"x" * 300_000
    with pytest.raises(GridError, match="more than 10 bytes"):
        outputs["sub/copy"].read(bytes_max=10)
    assert queue.job(job.id).definition()["command"].startswith("python3 -c ")
    assert job.url == f"{queue.url}/j/{job.id}#?queue=local"


def test_an_output_is_an_input_of_the_next(queue: Queue) -> None:
    first = queue.submit(command=PYTHON, inputs={"large": b"y" * 1000})
    assert first.wait(30).ok
    copy = "cat $JOB_INPUTS/x | wc -c"
    second = queue.submit(command=("sh", "-c", copy), inputs={"x": first.outputs["sub/copy"]})
    assert [line.text.strip() for line in second.logs()] == ["1000"]


def test_cancel_and_a_wait_that_is_over_too_soon(queue: Queue) -> None:
    job = queue.submit(command=SLEEP, namespace="mine")
    lines = job.logs()
    assert next(lines).text == "up\n"
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.05)
    with pytest.raises(GridError, match="wait for it first") as caught:
        _ = job.outputs
    assert caught.value.status == 409
    assert job.cancel("enough") == "cancelled"  # by the holder that submitted it
    assert list(lines) == []
    assert job.wait(30) == Result("Cancelled")


def test_trouble_is_told_as_it_is(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GridError, match="is not known on queue local"):
        queue.job("0" * 64).wait()
    with pytest.raises(UsageError, match="nothing to run"):
        queue.submit()
    with pytest.raises(TypeError):
        queue.submit(imag="a")
    with pytest.raises(UsageError, match="is not a grid's URL"):
        Queue("nowhere")
    assert "local" in repr(queue)
    monkeypatch.setenv("GRIDD_API", "http://127.0.0.1:1")
    with Queue() as nobody, pytest.raises(GridError, match="can't be reached"):
        nobody.status()


async def test_a_running_loop_does_not_disturb_it(url: str) -> None:
    """As in a notebook, where the cell itself runs inside a loop."""
    with Queue(url) as queue:
        job = queue.submit(command=("echo", "hello"))
        assert [line.text for line in job.logs()] == ["hello\n"]
        assert job.wait().ok


def test_several_threads_may_share_a_queue(queue: Queue) -> None:
    found: list[str] = []

    def work(word: str) -> None:
        found.extend(line.text for line in queue.submit(command=("echo", word)).logs())

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]


def test_closing_ends_a_call_that_waits(url: str) -> None:
    queue = Queue(url)
    job = queue.submit(command=SLEEP)
    assert next(job.logs()).text == "up\n"
    ends: list[str] = []

    def wait() -> None:
        try:
            job.wait()
        except RuntimeError as error:
            ends.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    walk = job.logs()
    assert next(walk).text == "up\n"  # and one that is in the middle of a log
    queue.close()
    thread.join(10)
    assert ends == ["the queue is closed"]
    with Queue(url) as again:
        assert again.job(job.id).cancel() == "cancelled"


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gridd client"]


def test_nothing_stays_of_a_queue_that_nobody_refers_to(url: str) -> None:
    before = our_threads()
    queue = Queue(url)
    lines = queue.submit(command=("echo", "a")).logs()
    assert next(lines).text == "a\n"
    assert len(our_threads()) == len(before) + 1
    queue.close()
    queue.close()
    lines.close()
    with pytest.raises(RuntimeError, match="closed"):
        queue.status()
    job = Queue(url).submit(command=("echo", "a"))
    assert job.wait().ok  # the job keeps its queue
    del job
    gc.collect()
    assert our_threads() == before


def test_an_interpreter_that_just_ends_says_nothing(url: str) -> None:
    program = (
        "from gridd.client import Queue\n"
        f"job = Queue({url!r}).submit(command=['sh', '-c', 'echo up; sleep 5'])\n"
        "lines = job.logs()\nprint(next(lines).text, end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "up\n", "")


async def test_with_a_loop(url: str, tmp_path: Path) -> None:
    async with AsyncQueue(url, "local") as queue:
        inputs = {"large": "z" * 500}
        job = await queue.submit(command=PYTHON, inputs=inputs)
        texts = [line.text async for line in job.logs() if not line.stderr]
        assert texts == ["['large']\n"]
        result, again = await asyncio.gather(job.wait(), queue.job(job.id).wait())
        assert result == again
        assert result.ok
        outputs = await job.outputs()
        assert json.loads(await outputs["answer.json"].read()) == {"answer": 42}
        path = await outputs["sub/copy"].save(tmp_path)
        assert path == tmp_path / "sub" / "copy"
        waiting = await queue.submit(command=SLEEP)
        async with aclosing(waiting.logs()) as lines:
            assert (await anext(lines)).text == "up\n"
        assert await waiting.cancel() == "cancelled"
        assert (await waiting.wait()).reason == "Cancelled"
        assert (await queue.status())["localWorkers"]


def test_what_is_exported_is_there() -> None:
    for name in gridd.client.__all__:
        assert getattr(gridd.client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gridd.client.nothing
