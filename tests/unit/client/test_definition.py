"""Definitions from flags."""

import base64
import gzip
import hashlib
import io
import tarfile

import pytest

from gridd.arguments import build_parser
from gridd.cli import _without_words
from gridd.client.definition import plan
from gridd.client.errors import UsageError
from gridd_protocol import limits

API = "http://grid.example"


@pytest.fixture
def build(tmp_path):
    def build(*line, nonce="now"):
        given, words = _without_words(["run", *line])
        return plan(build_parser().parse_args(given), words, API, tmp_path, nonce)

    return build


def test_words_after_the_dashes_are_the_command(build):
    made = build("--image", "alpine", "--", "sh", "-c", "echo --image $HOME; ls *", "--", "--json")
    assert made.definition == {
        "image": "alpine",
        "command": "sh -c 'echo --image $HOME; ls *' -- --json",
    }
    assert made.uploads == []


def test_the_command_stands_in_one_place(build):
    assert build("--command=ls *").definition == {"command": "ls *"}
    with pytest.raises(UsageError, match="keep one of them"):
        build("--command", "ls", "--", "ls")


def test_every_flag_has_its_member(build):
    made = build(
        *("--image=i", "--entrypoint", "sh", "--workdir", "/w", "--shm-size", "1g"),
        *("--env", "A=1", "--env=B=x=y", "--env", "C=", "--max-duration", "30m"),
        *("--cpus", "2", "--gpus=1", "--memory", "8g", "--tag", "a", "--tag", "b", "--nonce"),
        "--",
        "true",
    )
    assert made.definition == {
        "image": "i",
        "command": "true",
        "entrypoint": "sh",
        "workdir": "/w",
        "shmSize": "1g",
        "maxDuration": "30m",
        "requirements": {"cpus": 2, "gpus": 1, "memory": "8g", "maxDuration": "30m"},
        "env": {"A": "1", "B": "x=y", "C": "", "CQ_NONCE": "now"},
        "tags": ["a", "b"],
    }


def test_cpus_may_be_a_part(build):
    assert build("--cpus", "0.5").definition["requirements"] == {"cpus": 0.5}


def test_a_nonce_may_be_named(build):
    assert build("--nonce", "7").definition["env"] == {"CQ_NONCE": "7"}


def test_small_files_travel_inside_and_large_ones_are_uploaded(build, tmp_path):
    small, large = b"\x00" * limits.INLINE_BYTES_MAX, b"\x01" * (limits.INLINE_BYTES_MAX + 1)
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "large").write_bytes(large)
    made = build(
        *("--input", "text=hi é", "--input", f"s/t=@{tmp_path}/small"),
        *(
            "--input",
            f"l=@{tmp_path}/large",
            "--config",
            "/etc/c=x=1",
            "--config-file=d=@/dev/null",
        ),
    )
    sha256 = hashlib.sha256(large).hexdigest()
    assert made.definition["inputs"] == {
        "text": {"type": "base64", "value": base64.b64encode("hi é".encode()).decode()},
        "s/t": {"type": "base64", "value": base64.b64encode(small).decode()},
        "l": {"type": "url", "value": f"{API}/f/{sha256}", "hash": sha256},
    }
    assert made.definition["configFiles"] == {
        "/etc/c": {"type": "base64", "value": base64.b64encode(b"x=1").decode()},
        "d": {"type": "base64", "value": ""},
    }
    [upload] = made.uploads
    assert (upload.size, upload.sha256, upload.key) == (len(large), sha256, sha256)


def test_a_build(build, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    made = build(
        *("--dockerfile", str(tmp_path / "Dockerfile"), "--context", "https://h/c.tar.gz"),
        *("--build-context", "sub", "--filename", "D", "--target", "t", "--platform", "p"),
        *("--build-arg", "A=1", "--build-arg", "B=2"),
    )
    assert made.definition == {
        "build": {
            "dockerfile": "FROM x\n",
            "context": "https://h/c.tar.gz",
            "buildContext": "sub",
            "filename": "D",
            "target": "t",
            "platform": "p",
            "buildArgs": ["A=1", "B=2"],
        }
    }


def test_a_context_folder_is_packed_the_same_way_each_time(build, tmp_path):
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM x\n")
    (folder / "sub" / "a").write_text("a")
    first = build("--context-dir", str(folder)).uploads[0]
    (folder / "sub" / "a").touch()
    second = build("--context-dir", str(folder))
    [upload] = second.uploads
    assert upload.key == first.key == upload.sha256
    assert second.definition["build"] == {"context": f"{API}/f/{upload.key}"}
    packed = io.BytesIO(gzip.decompress(upload.source.read_bytes()))
    with tarfile.open(fileobj=packed) as tar:
        assert tar.getnames() == ["Dockerfile", "sub", "sub/a"]
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_flags_go_over_the_file(build, tmp_path):
    file = tmp_path / "job.json"
    file.write_text(
        '{"image": "a", "env": {"A": "1", "B": "2"}, "tags": ["t"], "mine": [1.0], "v": 1}'
    )
    made = build("--definition", str(file), "--image", "b", "--env", "B=3", "--tag", "u")
    assert made.definition == {
        "image": "b",
        "env": {"A": "1", "B": "3"},
        "tags": ["t", "u"],
        "mine": [1.0],
        "v": 1,
    }


def test_the_definition_may_come_in(build, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"image": "a"}')))
    assert build("--definition", "-").definition == {"image": "a"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ((), "nothing to run"),
        (("--env", "A"), "--env name=value"),
        (("--input", "=x"), "--input name=value"),
        (("--input", "a=@/no/such/file"), "can't be read"),
        (("--definition", "/no/such/file"), "can't be read"),
        (("--definition", "/dev/null"), "does not hold a JSON object"),
        (("--definition", "http://h/j/1#?queue=q"), "holds no definition"),
        (("--dockerfile", "/no/such"), "can't be read"),
        (("--dockerfile", "a", "--dockerfile-inline", "b"), "exclude each other"),
        (("--context", "a", "--context-dir", "b"), "exclude each other"),
        (("--context-dir", "/no/such"), "not a folder"),
        (("--cpus", "many"), "--cpus 'many'"),
        (("--cpus", "-1"), "--cpus '-1'"),
        (("--gpus", "nan"), "--gpus 'nan'"),
        (("--memory", "8 apples"), "--memory: '8 apples' is not a size"),
        (("--shm-size", "x"), "--shm-size"),
        (("--max-duration", "soon"), "--max-duration: 'soon' is not a duration"),
    ],
)
def test_what_makes_no_sense_is_said(build, line, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(*(f"{a}={b}" for a, b in zip(line[::2], line[1::2], strict=True)))


def test_a_definition_has_a_bound(build, tmp_path):
    file = tmp_path / "job.json"
    file.write_bytes(b'{"image": "' + b"x" * limits.DEFINITION_BYTES_MAX + b'"}')
    with pytest.raises(UsageError, match=str(limits.DEFINITION_BYTES_MAX)):
        build("--definition", str(file))
