"""Settings: where they come from, what they may be, and all complaints at once."""

from pathlib import Path

import pytest

from gridd_worker import cli, config, config_values
from gridd_worker.config import SETTINGS, Config, ConfigError, load


def complaints(*args: object, **kwargs: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)  # type: ignore[arg-type]
    return caught.value.complaints


def test_defaults(tmp_path: Path) -> None:
    settings = load(["q"], {}, {"XDG_CACHE_HOME": str(tmp_path)})
    assert settings == Config(
        queues=("q",),
        data_directory=tmp_path / "gridd-worker",
        cpus=config.machine_cpus(),
        memory=config.machine_memory(),
    )
    assert settings.runtime == "docker"
    assert settings.api_address == "http://127.0.0.1:8000"
    assert settings.credit == config.machine_cpus()


def test_option_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text('cpus = 2\nmax-job-duration = "1h"\ndrain = "3s"\ntags = ["b", "a"]\n')
    environment = {"GRIDD_WORKER_CPUS": "3", "GRIDD_WORKER_MAX_JOB_DURATION": "2h"}
    settings = load(["q"], {"cpus": "4"}, environment, file)
    assert settings.cpus == 4
    assert settings.max_job_duration_ms == 7_200_000
    assert settings.drain_ms == 3_000
    assert settings.tags == ("a", "b")


def test_queues_come_from_the_command_line_the_environment_or_the_file(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text('queues = ["x", "y"]\n')
    assert load([], {}, {}, file).queues == ("x", "y")
    assert load([], {}, {"GRIDD_WORKER_QUEUES": "a, b,a"}, file).queues == ("a", "b")
    assert load(["one,two", "three"], {}, {}, file).queues == ("one,two", "three")
    assert load([], {"mode": "local"}, {}).queues == ("local",)


def test_queues_have_weights() -> None:
    settings = load(["a=3", "b", "c=d", "=4"], {}, {})
    assert settings.queues == ("a", "b", "c=d", "=4")
    assert settings.weights_of_queues == (3, 1, 1, 1)
    assert load(["a", "b=1"], {}, {}).weights_of_queues == (1, 1)
    assert load([], {}, {"GRIDD_WORKER_QUEUES": "a=2,b"}).weights == (2, 1)
    for wrong in ("a=0", "a=1001", "a=99999999999"):
        assert complaints([wrong], {}, {}) == [
            f"QUEUE: {wrong!r}: a weight is a number from 1 to 1000"
        ]


def test_a_local_worker_has_a_queue_and_a_directory_of_its_own(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    local = load([], {"mode": "local"}, environment)
    assert (local.queues, local.api_address) == (("local",), "http://127.0.0.1:8000")
    assert local.data_directory == tmp_path / "gridd-worker-local"
    named = load(["q"], {"mode": "local", "data_directory": str(tmp_path)}, environment)
    assert (named.queues, named.data_directory) == (("q",), tmp_path)


def test_the_null_runtime_is_not_held_back_by_the_machine() -> None:
    settings = load(["q"], {"runtime": "null"}, {})
    assert (settings.cpus, settings.memory, settings.credit) == (256, 0, 256)
    assert load(["q"], {"runtime": "null", "cpus": "2"}, {}).credit == 2


def test_credit_is_one_job_for_each_whole_cpu_or_what_is_said() -> None:
    assert load(["q"], {"cpus": "3.5"}, {}).credit == 3
    assert load(["q"], {"cpus": "3.5", "jobs": "10"}, {}).credit == 10


def test_every_complaint_comes_at_once(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text('drain = "soon"\ncolour = "red"\nproxy = [1.5]\n')
    found = complaints(
        ["a/b"],
        {"cpus": "0", "gpus": "some", "api_address": "grid.example.org"},
        {"GRIDD_WORKER_MEMORY": "plenty", "GRIDD_WORKER_ID": "x" * 200},
        file,
    )
    starts = [
        *("colour in", "proxy in", "--cpus:", "--gpus:", "GRIDD_WORKER_MEMORY:"),
        *("--api-address:", "GRIDD_WORKER_ID:", "drain in", "QUEUE:"),
    ]
    assert len(found) == len(starts), found
    for complaint, start in zip(found, starts, strict=True):
        assert complaint.startswith(start), complaint


def test_a_worker_without_a_queue_is_refused() -> None:
    assert complaints([], {}, {}) == ["QUEUE: name at least one queue to serve"]


def test_a_bad_queue_is_complained_about_once() -> None:
    (complaint,) = complaints([], {}, {"GRIDD_WORKER_QUEUES": "a/b"})
    assert complaint.startswith("GRIDD_WORKER_QUEUES: queue 'a/b'")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (complaint,) = complaints(["q"], {}, {}, tmp_path / "none.toml")
    assert str(tmp_path / "none.toml") in complaint


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0", ()),
        ("2", ("0", "1")),
        ("device=1,3", ("1", "3")),
        ('"device=1"', ("1",)),
        ("device=GPU-5c-3", ("GPU-5c-3",)),
    ],
)
def test_gpus(text: str, devices: tuple[str, ...]) -> None:
    assert load(["q"], {"gpus": text}, {}).gpus == devices


@pytest.mark.parametrize("text", ["-1", "device=", "device=1,1", "device=a b", "1,3", "99999"])
def test_gpus_of_an_odd_form_are_refused(text: str) -> None:
    (complaint,) = complaints(["q"], {"gpus": text}, {})
    assert complaint.startswith("--gpus: ")


def test_all_gpus_are_those_that_the_machine_shows(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert config_values.gpus_of_machine(tmp_path) == ("0", "2", "10")
    with pytest.raises(ValueError, match="device=0,1"):
        config_values.gpus_of_machine(tmp_path / "nvidia0")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("cpus", text) for text in ("0.5", "nan", "inf", "two", "1e99")),
        *(("max_job_duration_ms", text) for text in ("0", "-5m", "later")),
        *(("jobs", text) for text in ("0", "-1", "10001", "1.5")),
        *(("api_address", text) for text in ("ftp://x", "http://", "http://x:99999", "http://x?a")),
        *(("mode", "both"), ("runtime", "podman"), ("debug", "perhaps"), ("proxy", "localhost")),
        *(("data_directory", "a\0b"), ("tags", "x" * 200)),
    ],
)
def test_what_does_not_fit_is_refused_with_the_value(field: str, text: str) -> None:
    (complaint,) = complaints(["q"], {field: text}, {})
    (setting,) = [setting for setting in SETTINGS if setting.field == field]
    assert complaint.startswith(f"--{setting.option}: ")
    assert repr(text)[:40] in complaint


def test_every_field_has_a_setting_and_every_setting_a_field() -> None:
    fields = {setting.field for setting in SETTINGS} | {"queues", "weights"}
    assert fields == set(Config.__dataclass_fields__)


def test_help_names_every_option_and_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for setting in SETTINGS:
        assert f"--{setting.option}" in text
        assert setting.environment in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("gridd-worker 0.")


def test_complaints_go_to_stderr_and_the_exit_code_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRIDD_WORKER_QUEUES", raising=False)
    assert cli.main(["run", "--cpus", "none", "--runtime", "x"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["--cpus", "--runtime", "QUEUE"]


def test_a_local_worker_may_fetch_from_private_addresses_others_only_if_told() -> None:
    assert load(["q"], {}, {}).private_addresses == "refuse"
    assert load([], {"mode": "local"}, {}).private_addresses == "allow"
    environment = {"GRIDD_WORKER_PRIVATE_ADDRESSES": "allow"}
    assert load(["q"], {}, environment).private_addresses == "allow"
    refuse = {"mode": "local", "private_addresses": "refuse"}
    assert load([], refuse, environment).private_addresses == "refuse"
    assert complaints(["q"], {"private_addresses": "some"}, {}) == [
        "--private-addresses: 'some' is not one of refuse, allow"
    ]


def test_what_containers_may_and_who_they_are() -> None:
    given = {"job_network": "none", "docker_runtime": "runsc", "user": "1000:50"}
    settings = load(["q"], given, {})
    assert (settings.job_network, settings.docker_runtime) == ("none", "runsc")
    assert settings.user == "1000:50"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("user", text) for text in ("root", "-1", "1:2:3", "9999999999")),
        ("docker_runtime", "--x"),
        ("job_network", "host"),
    ],
)
def test_what_containers_can_not_be(field: str, wrong: str) -> None:
    assert len(complaints(["q"], {field: wrong}, {})) == 1


def test_the_builder_that_keeps_the_limits_unless_the_owner_says_otherwise() -> None:
    assert load(["q"], {}, {}).builder == "classic"
    assert load([], {"mode": "local"}, {}).builder == "auto"
    assert load([], {"mode": "local", "job_network": "public"}, {}).builder == "classic"
    assert load(["q"], {"builder": "buildkit", "job_network": "none"}, {}).builder == "buildkit"
    assert complaints(["q"], {"builder": "auto", "job_network": "public"}, {}) == [
        "--builder auto: BuildKit's steps can reach private addresses, which --job-network public"
        " does not allow"
    ]


@pytest.mark.parametrize("runtime", ["process", "null"])
def test_what_a_runtime_can_not_do_is_refused(runtime: str) -> None:
    given = {"runtime": runtime, "docker_runtime": "runsc", "user": "1"}
    assert complaints(["q"], given, {}) == [
        f"--docker-runtime: the runtime {runtime} has no such",
        f"--user: the runtime {runtime} has no such",
    ]
