"""A real ``gridd serve`` for strangers to send things to, and a job that they must not disturb."""

import json
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DEFINITION = {"image": "a", "command": "untouched", "mine": {"é": [1.5, None]}}
QUEUE = "fuzz-bystander"


@dataclass
class Watched:
    """``port`` on 127.0.0.1. ``check`` says whether all is as it was."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    job: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.url + path, body, timeout=10) as answer:
            return json.loads(answer.read())

    def check(self) -> None:
        """It lives, answers, still has the job as it was sent, and wrote no trace."""
        assert self.process.poll() is None, f"it ended: {self.log.read_text('utf-8')[-3000:]}"
        view = self.ask(f"/q/{QUEUE}/j/{self.job}/result")["data"]
        assert (view["state"], view["namespaces"]) == ("Queued", ["_"])
        found = self.ask(f"/q/{QUEUE}/j/{self.job}/definition.json")
        assert found == {"data": DEFINITION}
        written = self.log.read_text("utf-8")
        complaint = re.search(r"^Traceback|^\S+ \S+ (error|critical) ", written, re.MULTILINE)
        assert complaint is None, written[max(complaint.start() - 500, 0) :][:3000]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    place = tmp_path_factory.mktemp("watched")
    log = place / "log"
    command = [sys.executable, "-X", "dev", "-m", "gridd", "serve", "--port", "0"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [*command, "--data-dir", str(place / "data")], stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 30)[0], "no address within 30 s"
            line = process.stdout.readline().decode()
            assert "http://" in line, f"no address in {line!r}: {log.read_text('utf-8')}"
            found = Watched(int(line.strip().rpartition(":")[2]), process, log)
            body = json.dumps({"definition": DEFINITION}).encode()
            found.job = found.ask(f"/q/{QUEUE}", body)["jobId"]
            yield found
            found.check()
            process.terminate()
            assert process.wait(15) == 0, log.read_text("utf-8")[-3000:]
        finally:
            process.kill()
