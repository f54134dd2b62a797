"""Settings of the daemon: where they come from, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from gridd.arguments import build_parser
from gridd.blobs.bucket import Bucket, S3Options
from gridd.config import Config, environment_name, option_name, settings
from gridd.config_values import duration_ms, is_loopback
from gridd.errors import ConfigError
from gridd_protocol import limits

EXAMPLES = {
    "host": ("::1", "::1"),
    "port": ("9000", 9000),
    "data_dir": ("/srv/grid", Path("/srv/grid")),
    "public_url": ("https://grid.example.org/", "https://grid.example.org"),
    "blobs": ("/srv/blobs", Path("/srv/blobs")),
    "s3_endpoint": ("https://s3.example.org/", "https://s3.example.org"),
    "s3_public_endpoint": ("http://files.example.org:9000", "http://files.example.org:9000"),
    "s3_region": ("eu-central-1", "eu-central-1"),
    "s3_addressing": ("Virtual", "virtual"),
    "s3_link_ms": ("5m", 300_000),
    "journal": ("/srv/journal", Path("/srv/journal")),
    "retention_ms": ("1h30m", 5_400_000),
    "log_retention_ms": ("3d", 259_200_000),
    "connections_per_address": ("0", 0),
    "log_level": ("DEBUG", "debug"),
    "log_format": ("json", "json"),
    "webhooks": ("ANY", "any"),
    "metrics": ("ALL", "all"),
    "metrics_queues": ("on", True),
    "allow_origin": (
        "https://A.example, http://b.example:81",
        ("https://a.example", "http://b.example:81"),
    ),
    "lease_ms": ("15s", 15_000),
}


def complaints(args=None, environ=None, **more):
    with pytest.raises(ConfigError) as caught:
        Config.load(args or {}, environ or {}, **more)
    return caught.value.complaints


def test_defaults_are_safe_to_run():
    config = Config.load({}, {})
    assert config.host == "127.0.0.1"
    assert (config.port, config.retention_ms, config.lease_ms) == (
        8000,
        limits.RETENTION_MS,
        limits.LEASE_MS,
    )
    assert config.data_dir == Path("gridd-data")
    assert config.blobs == Path("gridd-data/blobs")
    assert config.journal == Path("gridd-data/journal")
    assert (config.log_level, config.log_format, config.allow_origin) == ("info", "text", ())
    assert config.public_url is None
    assert config.open_to_all
    assert config.heartbeat_ms == limits.HEARTBEAT_MS


def test_strangers_webhooks_go_to_public_addresses_unless_the_operator_says_otherwise():
    assert Config.load({}, {}).webhook_policy == "public"
    assert Config.load({}, {}, open_to_all=False).webhook_policy == "any"
    assert Config.load({"webhooks": "off"}, {}, open_to_all=False).webhook_policy == "off"


def test_a_short_lease_asks_workers_to_speak_more_often():
    assert Config.load({"lease_ms": "3s"}, {}).heartbeat_ms == 500
    assert Config.load({"lease_ms": "1h"}, {}).heartbeat_ms == limits.HEARTBEAT_MS


@pytest.mark.parametrize("name", [setting.name for setting in settings()])
def test_option_goes_over_environment_over_file_over_default(name, tmp_path):
    setting = next(setting for setting in settings() if setting.name == name)
    text, value = EXAMPLES[name]
    file = tmp_path / "gridd.toml"
    file.write_text(f"{option_name(setting)} = '{text}'\n")
    variable = environment_name(setting)

    assert getattr(Config.load({"config": str(file)}, {}), name) == value
    assert getattr(Config.load({}, {"GRIDD_CONFIG": str(file)}), name) == value
    assert getattr(Config.load({}, {variable: text}), name) == value
    assert getattr(Config.load({name: text}, {}), name) == value

    wrong = {"config": str(file)}
    file.write_text(f"{option_name(setting)} = 'no such:// thing'\n")
    assert getattr(Config.load(wrong, {variable: text}), name) == value
    assert getattr(Config.load({name: text}, {variable: "no such:// thing"}), name) == value


@pytest.mark.parametrize(
    ("line", "value"),
    [((), False), (("--metrics-queues",), True), (("--metrics-queues", "off"), False),
     (("--metrics-queues=on",), True)],
)  # fmt: skip
def test_a_switch_may_stand_alone(line, value):
    args = vars(build_parser().parse_args(["serve", *line, "--port", "1"]))
    assert Config.load(args, {}).metrics_queues is value


def test_a_file_may_say_true_and_false(tmp_path):
    file = tmp_path / "gridd.toml"
    file.write_text("metrics-queues = true\n")
    assert Config.load({"config": str(file)}, {}).metrics_queues is True
    assert (
        Config.load({"config": str(file)}, {"GRIDD_METRICS_QUEUES": "false"}).metrics_queues
        is False
    )


def test_an_empty_variable_is_not_given():
    assert Config.load({}, {"GRIDD_PORT": ""}).port == 8000


def test_a_file_may_use_toml_types_and_either_dash(tmp_path):
    file = tmp_path / "gridd.toml"
    file.write_text('port = 81\nallow_origin = ["https://a.example"]\nlog-format = "json"\n')
    config = Config.load({"config": str(file)}, {})
    assert (config.port, config.allow_origin) == (81, ("https://a.example",))
    assert config.log_format == "json"


def test_folders_follow_the_data_directory_unless_named():
    config = Config.load({"data_dir": "/d", "blobs": "."}, {})
    assert config.blobs == Path()
    assert config.journal == Path("/d/journal")


def test_every_complaint_comes_at_once(tmp_path):
    file = tmp_path / "gridd.toml"
    file.write_text('prot = 1\nlog_level = "loud"\n')
    args = {
        "config": str(file),
        "port": "70000",
        "blobs": "s3://Bucket",
        "journal": "nats://host:4222",
        "retention_ms": "28",
        "allow_origin": ["https://ok.example", "example.org"],
    }
    found = complaints(args, {"GRIDD_PUBLIC_URL": "grid", "GRIDD_LEASE": "1s"})
    for part in (
        "'prot' is not a setting",
        "log_level: 'loud' is not one of debug, info, warning, error",
        "--port: '70000' is not a port; write a number from 0 to 65535",
        "--blobs: 's3://Bucket' is not a bucket; write it as s3://BUCKET",
        "--journal: 'nats://host:4222': journals can't be kept on NATS yet",
        "--retention: '28' has no unit",
        "--allow-origin: 'example.org' is not an origin",
        "GRIDD_PUBLIC_URL: 'grid' is not a URL",
        "GRIDD_LEASE: '1s' is too short; the least is 2000 ms",
    ):
        assert any(part in complaint for complaint in found), (part, found)
    assert len(found) == 9


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "can't be read"), ("port = = 1", "not TOML"), (b"\xff\xfe", "not TOML")],
)
def test_a_file_that_is_no_settings_file(tmp_path, content, sentence):
    file = tmp_path / "gridd.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    [complaint] = complaints({"config": str(file)})
    assert sentence in complaint
    assert str(file) in complaint


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "::"])
def test_up_listens_on_this_machine_only(host):
    [complaint] = complaints({"host": host}, open_to_all=False)
    assert "gridd serve" in complaint
    assert Config.load({"host": host}, {}).host == host


def test_up_is_closed_to_other_sites():
    assert not Config.load({"host": "localhost"}, {}, open_to_all=False).open_to_all


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "-1"),
        ("port", "²"),
        ("port", "8000.0"),
        ("host", "a b"),
        ("host", "http://x"),
        ("data_dir", " "),
        ("data_dir", "a\0b"),
        ("public_url", "ftp://x"),
        ("public_url", "https://x?y=1"),
        ("blobs", "gs://bucket"),
        ("blobs", "s3://"),
        ("blobs", "s3://ab"),
        ("blobs", "s3:bucket"),
        ("blobs", "s3://bucket/a//b"),
        ("blobs", "s3://bucket/../b"),
        ("blobs", "s3://bucket/ü"),
        ("s3_endpoint", "s3.example.org"),
        ("s3_endpoint", "https://key:secret@s3.example.org"),
        ("s3_endpoint", "https://s3.example.org/path"),
        ("s3_endpoint", "https://s3.example.org:0"),
        ("s3_public_endpoint", "ftp://x"),
        ("s3_region", "Europe"),
        ("s3_addressing", "dns"),
        ("s3_link_ms", "8d"),
        ("s3_link_ms", "999ms"),
        ("retention_ms", "59s"),
        ("retention_ms", "-1d"),
        ("allow_origin", "https://x/page"),
        ("allow_origin", "https://x:99999"),
        ("allow_origin", "null"),
        ("log_format", "xml"),
        ("metrics", "some"),
        ("metrics_queues", "maybe"),
        ("webhooks", "some"),
        ("lease_ms", "1999ms"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(name, text):
    [complaint] = complaints({name: text})
    assert repr(text) in complaint


@pytest.mark.parametrize(
    ("text", "bucket", "shown"),
    [
        ("s3://grid", Bucket("grid"), "s3://grid"),
        ("S3://grid/", Bucket("grid"), "s3://grid"),
        ("s3://grid.files/a/b/", Bucket("grid.files", "a/b/"), "s3://grid.files/a/b"),
    ],
)
def test_blobs_may_be_in_a_bucket(text, bucket, shown):
    config = Config.load({"blobs": text, "s3_endpoint": "http://localhost:9000"}, {})
    assert config.blobs == bucket
    assert str(config.blobs) == shown
    assert config.s3 == S3Options(endpoint="http://localhost:9000")


@pytest.mark.parametrize(
    ("text", "ms"),
    [("28d", 2_419_200_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("2W", 1209600000)],
)
def test_durations(text, ms):
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "28", "d", "1x", "9" * 30 + "d", "101y", "-5m"])
def test_not_durations(text):
    with pytest.raises(ValueError, match=r"\w"):
        duration_ms(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "128.0.0.1", "127.0.0.1.example.org", "localhost.x", "0.0.0.0"]
)
def test_not_loopback(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("command", ["serve", "up"])
def test_help_shows_every_setting_that_is_not_hidden(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    for setting in settings():
        assert (f"--{option_name(setting)} " in text) == (not setting.metadata["hidden"])
        if not setting.metadata["hidden"]:
            assert setting.metadata["help"] in text
            assert f"[{environment_name(setting)}]" in text


def test_every_field_is_a_setting_but_the_one_that_commands_set():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert fields - {setting.name for setting in settings()} == {"open_to_all"}
