"""What the engine is asked for: the limits, and what the owner may change of them."""

from pathlib import Path
from typing import Any

import pytest

from gridd_protocol.definitions import Definition
from gridd_worker.config import load
from gridd_worker.docker.config import (
    NETWORKS,
    ContainerOptions,
    cache_volume,
    container_config,
    log_config,
)
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.process.runtime import ProcessRuntime
from gridd_worker.runtime import Allowance, RuntimeUnavailable, Task
from gridd_worker.runtimes import make_runtime

FOLDER = Path("/data")


def asked(options: ContainerOptions | None = None, **members: Any) -> dict[str, Any]:
    definition = Definition(image="i", **members)
    task = Task("a" * 64, 1, "q", "w", definition, FOLDER, FOLDER, {}, {}, Allowance())
    return container_config(task, "i", 4.0, options)


def test_the_limits_are_there_unless_the_owner_says_otherwise() -> None:
    config = asked()
    host = config["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert (host["NetworkMode"], host["PidsLimit"]) == ("gridd-jobs", 4096)
    assert not {"Privileged", "CapAdd", "Binds", "PidMode", "IpcMode", "Runtime"} & set(host)
    assert "User" not in config


def test_a_job_that_asks_for_no_memory_gets_no_more_than_the_worker_has() -> None:
    host = asked(ContainerOptions(memory_max=3 << 30))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (3 << 30, 3 << 30)
    assert "Memory" not in asked()["HostConfig"]  # --memory 0: the owner counts none


def test_a_cache_is_that_of_one_queue_of_one_grid() -> None:
    volumes = {cache_volume(queue, grid) for queue in ("q", "r") for grid in ("", "a", "b")}
    assert len(volumes) == 6


def test_what_the_owner_says() -> None:
    config = asked(ContainerOptions(network="public", runtime="runsc", user="1:2"))
    host = config["HostConfig"]
    assert (config["User"], host["Runtime"], host["NetworkMode"]) == (
        "1:2",
        "runsc",
        "gridd-public",
    )
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert asked(ContainerOptions(network="none"))["HostConfig"]["NetworkMode"] == "none"


def test_settings_arrive(tmp_path: Path) -> None:
    given = {"job_network": "public", "docker_runtime": "runsc", "user": "1"}
    options = {**given, "data_directory": str(tmp_path), "memory": "3g"}
    runtime = make_runtime(load(["q"], {**options, "private_addresses": "allow"}, {}), "w")
    assert isinstance(runtime, DockerRuntime)
    wanted = ContainerOptions(network="public", runtime="runsc", user="1", memory_max=3 << 30)
    assert runtime._options == wanted
    images = runtime._image_options
    assert images is not None
    assert images.private_addresses
    assert not images.builds  # the engine's builder can't be given the runtime


async def test_a_process_worker_that_can_not_keep_a_network_limit_does_not_start() -> None:
    runtime = ProcessRuntime(sandbox=False, network_limited=True)
    with pytest.raises(RuntimeUnavailable, match="--job-network can't be kept") as caught:
        await runtime.open()
    assert caught.value.final


def test_a_worker_carries_its_runtimes_tags_beside_its_owners(tmp_path: Path) -> None:
    options = {"data_directory": str(tmp_path), "tags": "zoo,eu"}
    config = load(["q"], options, {})
    assert config.resources(("container",)).tags == ("eu", "zoo")
    offers = make_runtime(config, "w").offers
    assert config.resources(("container",), offers).tags == ("eu", "no-network", "zoo")


def test_a_job_that_asks_for_no_network_gets_none_from_any_owner() -> None:
    for network in NETWORKS:
        options = ContainerOptions(network=network)
        assert asked(options)["HostConfig"]["NetworkMode"] == NETWORKS[network]
        without = asked(options, tags=["eu", "no-network"])
        assert without["HostConfig"]["NetworkMode"] == "none"


async def test_only_a_sandbox_keeps_processes_from_the_network() -> None:
    runtime = ProcessRuntime(sandbox=False)
    await runtime.open()
    assert runtime.offers == ()
    await runtime.close()


def test_the_log_is_kept_by_a_driver_that_the_engine_has() -> None:
    docker = log_config(("gelf", "json-file", "local"))
    assert docker["Type"] == "local"
    podman = log_config(("k8s-file", "none", "journald"))
    assert podman == {"Type": "json-file", "Config": {"max-size": "64m"}}
