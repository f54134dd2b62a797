"""The files under ``worker/deploy``: what they call exists, and they say what they should."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gridd_worker import cli
from gridd_worker.config import QUEUES, SETTINGS, load

DEPLOY = Path(__file__).parents[3] / "worker" / "deploy"
SLURM = DEPLOY / "gridd-worker.slurm"


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_options_and_variables_exist_and_what_was_tried_is_said(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {setting.environment for setting in (*SETTINGS, QUEUES)} | {"GRIDD_WORKER_CONFIG"}
    assert set(re.findall(r"GRIDD_WORKER_[A-Z_]+", text)) <= known
    assert "# Tried: " in text


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(DEPLOY / "gridd-worker.service", encoding="utf-8")
    return parser


def test_the_unit_runs_a_command_that_can_be_parsed() -> None:
    service = unit()["Service"]
    program, *words = service["ExecStart"].split()
    assert Path(program).name == "gridd-worker"
    parsed = cli._parser().parse_args(words)
    assert parsed.config == "/etc/gridd-worker/worker.toml"
    assert parsed.plain
    drain_s = load(["q"], {}, {}).drain_ms / 1000
    assert float(service["TimeoutStopSec"]) > drain_s + 25 + 3, "or jobs are not given back in time"
    assert service["KillMode"] == "mixed"


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    """With systemd's own check where it is installed; its sections and their order else."""
    assert unit().sections() == ["Unit", "Service", "Install"]
    if (analyze := shutil.which("systemd-analyze")) is None:
        return
    copy = tmp_path / "gridd-worker.service"
    text = (DEPLOY / copy.name).read_text(encoding="utf-8")
    copy.write_text(text.replace("/usr/local/bin/gridd-worker", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--recursive-errors=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "gridd-worker.service:" not in done.stderr, done.stderr


def slurm(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script with an ``srun`` that runs its command once, and a worker that tells how it was
    started."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "srun": 'shift; SLURM_PROCID=3 exec "$@"',
        "gridd-worker": 'echo "args: $*"; env | grep ^GRIDD_WORKER_ | sort',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    return subprocess.run(
        ["bash", str(SLURM), *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": "/scratch", **environment},
    )


def test_slurm_gives_the_worker_what_the_job_has(tmp_path: Path) -> None:
    given = {"SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_CPU": "2048"}
    done = slurm(tmp_path, "https://grid.example.org", "q one", "r=2", **given)
    assert done.returncode == 0, done.stderr
    first, *variables = done.stdout.splitlines()
    assert first == "args: run --plain q one r=2"
    environment = dict(line.split("=", 1) for line in variables)
    assert environment == {
        "GRIDD_WORKER_API_ADDRESS": "https://grid.example.org",
        "GRIDD_WORKER_CPUS": "4",
        "GRIDD_WORKER_DATA_DIRECTORY": "/scratch/slurm-77-3",
        "GRIDD_WORKER_DRAIN": "2m",
        "GRIDD_WORKER_ID": "slurm-77-3",
        "GRIDD_WORKER_MEMORY": "8192m",
        "GRIDD_WORKER_RUNTIME": "process",
    }
    config = load(["q one", "r=2"], {}, environment)
    assert (config.cpus, config.memory, config.weights) == (4, 8 << 30, (1, 2))


def test_slurm_names_the_devices_for_containers_only(tmp_path: Path) -> None:
    given = {"SLURM_JOB_GPUS": "0,2", "SLURM_MEM_PER_NODE": "100"}
    assert "GPUS" not in slurm(tmp_path, "http://g", "q", **given).stdout
    done = slurm(tmp_path, "http://g", "q", GRIDD_WORKER_RUNTIME="docker", **given)
    assert "GRIDD_WORKER_GPUS=device=0,2" in done.stdout
    assert "GRIDD_WORKER_MEMORY=100m" in done.stdout


def test_slurm_without_a_queue_says_how_it_is_used(tmp_path: Path) -> None:
    done = slurm(tmp_path, "http://g")
    assert done.returncode == 2
    assert "ADDRESS QUEUE" in done.stderr


def test_the_image_is_told_to_stop_as_the_worker_expects() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "STOPSIGNAL SIGTERM" in text
    assert 'ENTRYPOINT ["gridd-worker"]' in text
