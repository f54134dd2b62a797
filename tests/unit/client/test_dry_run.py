"""The id of a dry run is the one that upstream gives the same flags, files and links."""

import json
from pathlib import Path

import pytest

from gridd import cli
from gridd_protocol import job_id

ROOT = Path(__file__).parents[3]
VECTORS = json.loads((ROOT / "protocol" / "vectors" / "job-id.json").read_text(encoding="utf-8"))

# BROWSER 2.8: what was seen to come out of upstream's own function and client
ECHO = "bf84d4df36113589bd9f37391696f30f79f4ccf48a49232ce2b3c5b8b31b971d"
RECORDED = {
    ("--image", "alpine:3.19.1", "--command", "echo hi"): ECHO,
    ("--image=alpine:3.19.1", "--", "echo", "hi"): ECHO,
    (
        *("--image", "alpine:3.19.1", "--command", "echo hi", "--env", "B=2", "--env", "A=1"),
        *("--env", "mp-channel=x", "--env", "readonly=true"),
    ): "eae21ea8b71599c24c5715fe94642953928a7c350e7a33d3dc805921e8f8e2b1",
    (
        "--definition",
        "https://h/#?ignoreQueueOverride=true&job=JTdCJTIyY29tbWFuZCUyMiUzQSUyMmVjaG8lMjAlNUMlMjJo"
        "ZWxsbyUyMHdvcmxkJTVDJTIyJTIyJTJDJTIyaW1hZ2UlMjIlM0ElMjJhbHBpbmUlM0EzLjE5LjElMjIlN0Q%3D"
        "&queue=public1",
    ): "9a684c59f4270fa102f102d2aafe92d5e78ad285116f02d845e5dabbfb0ba873",
    (
        "--definition",
        "https://h/#?ALPHA=a%20b&BETA=1&autostart=true&inputs=JTdCJTIycnVuLnNoJTIyJTNBJTIyZWNobyUy"
        "MGhpJTIyJTdE&job=JTdCJTIyY29tbWFuZCUyMiUzQSUyMnJ1biUyMCUyNCU3QkFMUEhBJTdEJTIyJTJDJTIyaW1h"
        "Z2UlMjIlM0ElMjJhbHBpbmUlM0EzLjE5LjElMjIlMkMlMjJlbnYlMjIlM0ElN0IlMjJLJTIyJTNBJTIydiUyMiU3"
        "RCU3RA==&mp-channel=zz&queue=q1&readonly=true",
    ): "be8fc6a70bef22b0104b75f0c85e5f921bad7a528eb371ddd4447494d80c2fcb",
}

# the flags that have no recorded id, with the definition that BROWSER 4.2 says they make
STATED = {
    ("--max-duration", "30m"): {
        "maxDuration": "30m",
        "requirements": {"maxDuration": "30m"},
    },
    ("--cpus", "2", "--gpus", "1", "--memory", "8g"): {
        "requirements": {"cpus": 2, "gpus": 1, "memory": "8g"},
    },
    ("--nonce", "7"): {"env": {"CQ_NONCE": "7"}},
    ("--input", "a/b.txt=hi", "--config", "/etc/c=x=1"): {
        "inputs": {"a/b.txt": {"type": "base64", "value": "aGk="}},
        "configFiles": {"/etc/c": {"type": "base64", "value": "eD0x"}},
    },
    (
        *("--dockerfile-inline", "FROM x", "--context", "https://h/c.tar.gz"),
        *("--build-context", "s", "--filename", "D", "--target", "t", "--platform", "p"),
        *("--build-arg", "A=1", "--build-arg", "B=2"),
    ): {
        "build": {
            "dockerfile": "FROM x",
            "context": "https://h/c.tar.gz",
            "buildContext": "s",
            "filename": "D",
            "target": "t",
            "platform": "p",
            "buildArgs": ["A=1", "B=2"],
        }
    },
    ("--entrypoint", "sh", "--workdir", "/w", "--shm-size", "1g"): {
        "entrypoint": "sh",
        "workdir": "/w",
        "shmSize": "1g",
    },
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("GRIDD_API", "GRIDD_QUEUE", "CQ_API", "CQ_QUEUE"):
        monkeypatch.delenv(name, raising=False)


def dry_run(capsys, *line):
    words = ("submit", "--dry-run", *line)
    assert cli.main(words) == 0, capsys.readouterr().err
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(("line", "job"), RECORDED.items(), ids=lambda value: value[-1][-20:])
def test_recorded_ids(capsys, line, job):
    assert dry_run(capsys, *line) == job


@pytest.mark.parametrize(("line", "more"), STATED.items(), ids=lambda value: str(value)[:40])
def test_stated_definitions(capsys, line, more):
    assert dry_run(capsys, "--image", "a", *line) == job_id({"image": "a", **more})


def test_the_ids_of_all_vectors(capsys, tmp_path):
    file = tmp_path / "job.json"
    tried = 0
    for vector in VECTORS:
        if vector["definition"]:  # an empty one is nothing to run
            # Python writes the number that is too large for a double in its own way
            text = json.dumps(vector["definition"]).replace("Infinity", "1e999")
            file.write_text(text)
            assert dry_run(capsys, "--definition", str(file)) == vector["id"], vector["name"]
            tried += 1
    assert tried > 180


def test_what_would_be_sent(capsys, tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 201)
    line = ("--api", "http://g", "--queue", "q", "--input", f"f=@{tmp_path / 'f'}", "--image=a")
    found = json.loads(dry_run(capsys, "--json", *line))
    [upload] = found["uploads"]
    assert found["definition"]["inputs"]["f"]["value"] == upload["value"]
    assert upload["value"] == f"http://g/f/{upload['hash']}"
    assert (upload["name"], upload["size"]) == ("f", 201)
    assert found["view"] == f"http://g/j/{found['jobId']}#?queue=q"
    assert found["viewSelfContained"].startswith("http://g/#?job=")
    assert (found["queue"], found["api"]) == ("q", "http://g")


def test_a_dry_run_is_as_strict_as_the_grid(capsys, tmp_path):
    (tmp_path / "job.json").write_text('{"image": 7}')
    assert cli.main(("run", "--dry-run", "--definition", str(tmp_path / "job.json"))) == 2
    assert "definition.image" in capsys.readouterr().err
