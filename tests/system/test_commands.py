"""Commands that ask about jobs and change them, against a real grid."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gridd import cli
from gridd.client import deletion, following
from tests.system.support.up import grid_up

Run = Callable[..., tuple[int, str, str]]
NOBODYS = "a-queue-without-workers"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with grid_up(tmp_path_factory.mktemp("grid"), "null") as url:
        yield url


@pytest.fixture
def gridd(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("GRIDD_QUEUE", "CQ_API", "CQ_QUEUE", "GRIDD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRIDD_API", url)

    def run(*line: str) -> tuple[int, str, str]:
        code = cli.main(line)
        found = capsys.readouterr()
        assert "unexpected" not in found.err, found.err
        return code, found.out, found.err

    return run


@pytest.fixture
def waiting(gridd: Run, request: pytest.FixtureRequest) -> Iterator[str]:
    """A job that nobody takes."""
    line = ("--queue", NOBODYS, "--image", "a", "--command", request.node.name)
    _, out, _ = gridd("submit", *line, "--namespace", "n")
    yield out.strip()
    gridd("delete", "--queue", NOBODYS, out.strip())


def finished(gridd: Run, name: str) -> str:
    code, out, err = gridd("run", "--json", "--image", "a", "--command", name)
    assert code == 0, err
    job: str = json.loads(out)["jobId"]
    return job


def document(gridd: Run, *line: str) -> Any:
    code, out, err = gridd(*line)
    assert code == 0, err
    return json.loads(out)


# --- asking ----------------------------------------------------------------------------


def test_list(gridd: Run, waiting: str) -> None:
    where = ("--queue", NOBODYS)
    code, out, _ = gridd("list", *where)
    heading, row = out.splitlines()
    assert code == 0
    assert heading.split() == ["JOB", "STATE", "SUBMITTED", "WORKER", "HELD", "BY"]
    job, state, age, ago, holder = row.split()
    assert (job, state, ago, holder) == (waiting, "Queued", "ago", "n")
    assert age.endswith("s")
    assert document(gridd, "list", "--json", *where)[waiting]["state"] == "Queued"
    assert gridd("list", "--queue", "another") == (0, "", "no jobs\n")


def test_waiting_for_long_is_told_with_its_reason(
    gridd: Run, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_HINT_SECONDS", 0.0)
    code, _, err = gridd("wait", "--queue", NOBODYS, "--timeout", "1s", waiting)
    assert code == 4
    assert "still waiting. No worker is connected to this queue." in err


def test_worker_status(gridd: Run) -> None:
    finished(gridd, "somebody is there")
    _, out, _ = gridd("worker", "status")
    assert out.split()[:6] == ["WORKER", "CPUS", "GPUS", "JOBS", "VERSION", "STATE"]
    [worker] = document(gridd, "worker", "status", "--json").values()
    assert worker["connected"] is True
    code, out, err = gridd("worker", "status", "--queue", NOBODYS)
    assert (code, out) == (0, "")
    assert "gridd-worker run" in err


def test_worker_run_is_the_worker(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gridd", "worker", "run", "--cpus", "none", "q"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gridd-worker: --cpus")


def test_definition_of_a_job_a_link_and_a_file(gridd: Run, url: str, tmp_path: Path) -> None:
    _, out, _ = gridd("submit", "--json", "--image", "a", "--env", "A=é")
    told = json.loads(out)
    expected = {"image": "a", "env": {"A": "é"}}
    (tmp_path / "job.toml").write_text('image = "a"\nenv = { A = "é" }\n')
    file = str(tmp_path / "job.toml")
    for source in (told["jobId"], told["view"], told["viewSelfContained"], file):
        assert document(gridd, "definition", source) == expected
    code, _, err = gridd("definition", "0" * 64)
    assert code == 125
    assert "is not known" in err


def test_open(gridd: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    page = f"{url}/j/{'0' * 64}#?queue=local"
    monkeypatch.setattr("webbrowser.open", lambda page: opened.append(page) or True)
    assert gridd("open", "0" * 64) == (0, f"{page}\n", "")
    assert opened == [page]
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    code, out, err = gridd("open", "0" * 64)
    assert (code, out) == (2, f"{page}\n")
    assert "no browser" in err


def test_a_doctor_finds_the_grid(gridd: Run, url: str) -> None:
    finished(gridd, "somebody is there")
    _, out, _ = gridd("doctor", "--json")
    found = json.loads(out)
    assert set(found) == {"gridd", "port", "grid", "workers", "clock"}
    assert found["grid"] == {"ok": True, "about": f"{url} answers"}
    assert found["workers"]["about"] == "1 workers, 0 away, on queue local"
    assert found["clock"]["ok"] is True
    _, out, _ = gridd("doctor")
    assert f"ok    grid     {url} answers\n" in out


def test_a_doctor_misses_a_grid_and_a_clock(gridd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = gridd("doctor", "--json", "--api", "http://127.0.0.1:1")
    found = json.loads(out)
    assert code == 1
    assert found["grid"]["ok"] is False
    assert "gridd up" in found["grid"]["about"]
    code, out, _ = gridd("doctor", "--api", "nowhere")
    assert code == 1
    assert "FAIL  grid     'nowhere' is not a grid's URL" in out
    monkeypatch.setattr("gridd.client.doctor.time.time", lambda: 0.0)
    code, out, _ = gridd("doctor")
    assert code == 1
    assert "s behind the grid's; set one of them right" in out


# --- changing --------------------------------------------------------------------------


def test_delete_forgets_an_answer(gridd: Run) -> None:
    job = finished(gridd, "deleted")
    assert document(gridd, "result", job)["finishedReason"] == "Success"
    assert gridd("delete", job) == (0, "", "deleted\n")
    assert document(gridd, "status", "--json")["jobs"].get(job) is None
    assert gridd("delete", "0" * 64)[0] == 125


def test_delete_lets_one_holder_go(gridd: Run, waiting: str) -> None:
    where = ("--queue", NOBODYS)
    line = ("--image", "a", "--command", "test_delete_lets_one_holder_go", "--namespace", "m")
    assert gridd("submit", *where, *line)[1].strip() == waiting
    told = document(gridd, "delete", "--json", *where, "--namespace", "n", waiting)
    assert told == {"jobId": waiting, "message": "deleted"}
    assert document(gridd, "list", "--json", *where)[waiting]["namespaces"] == ["m"]


def test_a_grid_that_does_not_delete(gridd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    job = finished(gridd, "kept")

    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(deletion, "_is_gone", never)
    monkeypatch.setattr(deletion, "PATIENCE_SECONDS", 0.3)
    code, _, err = gridd("delete", job)
    assert code == 125
    assert f"did not delete job {job}" in err


def test_a_namespace_that_is_none_is_refused(gridd: Run) -> None:
    job = finished(gridd, "refused")
    code, _, err = gridd("delete", "--namespace", "n" * 300, job)
    assert code == 125
    assert "the grid refused" in err
    assert "namespace" in err


def test_rerun_runs_again(gridd: Run, waiting: str) -> None:
    job = finished(gridd, "again")
    before = document(gridd, "result", job)["time"]
    again = document(gridd, "rerun", "--json", job)
    assert (again["jobId"], again["StatusCode"]) == (job, 0)
    assert document(gridd, "result", job)["time"] > before
    code, _, err = gridd("rerun", "--queue", NOBODYS, waiting)
    assert code == 2
    assert "has not ended" in err


def test_copy(gridd: Run, url: str) -> None:
    job = finished(gridd, "copied")
    told = document(gridd, "copy", "--json", "--to", "other", "--namespace", "n", job)
    view = f"{url}/j/{job}#?queue=other"
    assert told == {"jobId": job, "queue": "other", "api": url, "view": view}
    assert document(gridd, "list", "--json", "--queue", "other")[job]["namespaces"] == ["n"]
    gridd("delete", "--queue", "other", job)


# --- waiting ---------------------------------------------------------------------------


def test_nobody_came_in_time(gridd: Run, waiting: str) -> None:
    line = ("wait", "--json", "--timeout", "200ms", "--queue", NOBODYS, waiting)
    code, out, err = gridd(*line)
    assert code == 4
    assert f"nobody works on queue {NOBODYS}" in err
    assert f"gridd cancel {waiting}" in err
    told = json.loads(out)
    assert (told["state"], told["finishedReason"]) == ("Queued", None)
    assert document(gridd, "list", "--json", "--queue", NOBODYS)[waiting]["state"] == "Queued"


def test_it_was_not_over_in_time(gridd: Run) -> None:
    # more than there is, so it waits although somebody works there
    line = ("--image", "a", "--command", "too large", "--cpus", "9999")
    code, _, err = gridd("run", "--timeout", "200ms", *line)
    assert code == 124
    assert "the job is queued; it is left as it is" in err
    gridd("delete", err.split()[1])


@pytest.mark.parametrize("text", ["soon", "5", "-1s"])
def test_a_timeout_has_a_unit(gridd: Run, text: str) -> None:
    code, out, err = gridd("run", f"--timeout={text}", "--image", "a")
    assert (code, out) == (2, "")
    assert err.startswith("gridd: --timeout: ")


def test_logs_are_followed_into_one_document_a_kind(gridd: Run) -> None:
    code, out, _ = gridd("logs", "-f", "--json", finished(gridd, "logged"))
    assert code == 0
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["build", "run"]


# --- other names -----------------------------------------------------------------------


def test_upstreams_first_command_line(
    gridd: Run, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRIDD_API")
    monkeypatch.setenv("API_SERVER_ADDRESS", url)
    code, out, err = gridd("job", "add", NOBODYS, "-c", "mtpg", "--debug")
    told = json.loads(out)
    assert (code, told["state"], told["debug"]) == (0, "Queued", True)
    assert told["jobId"] in err
    monkeypatch.setenv("GRIDD_API", url)
    assert document(gridd, "definition", "--queue", NOBODYS, told["jobId"]) == {
        "image": "alpine:latest",
        "command": "mtpg",
    }
    gridd("delete", "--queue", NOBODYS, told["jobId"])
    done = finished(gridd, "awaited")
    found = document(gridd, "job", "await", "local", done, "-o", str(tmp_path))
    assert (found["jobId"], found["finishedReason"]) == (done, "Success")
    assert gridd("job", "add", "q", "-m", "a", "-r", "https://h/r")[0] == 2


@pytest.mark.parametrize(("words", "shown"), [((), "gridd"), (("run",), "gridd run")])
def test_help(gridd: Run, words: tuple[str, ...], shown: str) -> None:
    code, out, err = gridd("help", *words)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {shown} [")
