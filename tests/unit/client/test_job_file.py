"""Job files: JSON, TOML, whole submissions, and the files beside them."""

import base64
import io

import pytest

from gridd.arguments import build_parser
from gridd.client.definition import plan
from gridd.client.errors import UsageError
from gridd.client.job_file import read_job_file
from gridd_protocol import limits

TOML = """\
image = "alpine:3.20"
command = "cat /inputs/data/a"
env = { A = "1" }

[requirements]
cpus = 0.5

[inputs]
note = { type = "utf8", value = "hello" }
data = { path = "data" }
"""


@pytest.fixture
def planned(tmp_path):
    def planned(text, *line, name="job.json"):
        (tmp_path / name).write_text(text)
        given = ["run", "--definition", str(tmp_path / name), *line]
        return plan(build_parser().parse_args(given), [], "http://g", tmp_path)

    return planned


def test_toml_with_files_beside_it(planned, tmp_path):
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "a").write_bytes(b"a")
    (tmp_path / "data" / "sub" / "b").write_bytes(b"b" * 201)
    made = planned(TOML, "--env", "B=2", name="job.toml")
    inputs = made.definition["inputs"]
    assert inputs["note"] == {"type": "utf8", "value": "hello"}
    assert inputs["data/a"] == {"type": "base64", "value": base64.b64encode(b"a").decode()}
    assert inputs["data/sub/b"]["type"] == "url"
    assert list(inputs) == ["note", "data/a", "data/sub/b"]
    assert made.definition["env"] == {"A": "1", "B": "2"}
    assert [upload.size for upload in made.uploads] == [201]


def test_a_whole_submission(planned):
    text = '{"definition": {"image": "a"}, "control": {"namespace": "n", "x": 1}, "debug": true}'
    made = planned(text)
    assert (made.definition, made.debug) == ({"image": "a"}, True)
    assert made.control == {"namespace": "n", "x": 1}
    assert planned(text, "--namespace", "m").control == {"namespace": "m", "x": 1}


def test_half_of_a_surrogate_pair_stays(planned):
    assert planned('{"command": "\\ud800"}').definition == {"command": "\ud800"}


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "", 7, None])
def test_a_job_file_names_nothing_outside_its_folder(planned, path):
    import json

    with pytest.raises(UsageError, match=r"leaves the job file's folder|not a path"):
        planned(json.dumps({"inputs": {"x": {"path": path}}}))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("j.json", "[1]", "does not hold a JSON object"),
        ("j.json", "{", "does not hold a JSON object"),
        ("j.json", '{"a": NaN}', "does not hold a JSON object"),
        ("j.toml", "a = ", "not a job in TOML"),
        ("j.toml", "a = 2020-01-01", "not a job in TOML"),
        ("j.toml", "a = inf", "not a job in TOML"),
        ("j.json", '{"definition": {}, "control": 7}', "control is not an object"),
        ("j.json", '{"inputs": {"x": {"path": "none"}}}', "can't be read"),
        ("j.json", " " * (limits.DEFINITION_BYTES_MAX + 1), str(limits.DEFINITION_BYTES_MAX)),
    ],
)
def test_what_is_no_job(planned, name, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        planned(text, name=name)


def test_standard_input(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"image": "a"}')))
    file = read_job_file("-")
    assert (file.definition, file.folder.resolve()) == ({"image": "a"}, tmp_path)
