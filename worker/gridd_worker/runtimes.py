"""The runtime that the owner chose, made from the configuration; imported only then."""

import hashlib

from gridd_worker.config import Config
from gridd_worker.disk_watch import DiskWatch
from gridd_worker.runtime import Runtime


def make_runtime(config: Config, worker: str, *, owner: bool = True) -> Runtime:
    """``owner``: this process holds the data directory; without that nothing in there is
    touched."""
    disk = DiskWatch(config.job_disk, config.min_free_disk, [config.data_directory])
    match config.runtime:
        case "docker":
            from gridd_worker.docker.config import ContainerOptions
            from gridd_worker.docker.runtime import DockerRuntime
            from gridd_worker.images.images import ImageOptions

            images = ImageOptions(
                data=config.data_directory if owner else None,
                api=config.api_address,
                bytes_max=config.image_cache,
                age_ms_max=config.image_max_age_ms,
                pull_s=config.pull_timeout_ms / 1000,
                build_s=config.build_timeout_ms / 1000,
                # The engine's builder can't be given a runtime: strangers' code would run in
                # another one than the owner asks for.
                builds=not config.no_builds and config.docker_runtime is None,
                builder=config.builder,
                shared=config.mode != "local",
                registry_auth=config.registry_auth,
                git_credentials=config.git_credentials,
                private_addresses=config.private_addresses == "allow",
            )
            containers = ContainerOptions(
                network=config.job_network,
                runtime=config.docker_runtime,
                user=config.user,
                memory_max=config.memory,
            )
            grid = hashlib.sha256(config.api_address.encode()).hexdigest()[:16]
            return DockerRuntime(
                worker=worker,
                grid=grid,
                images=images,
                containers=containers,
                disk=disk,
            )
        case "process":
            from gridd_worker.process.runtime import ProcessRuntime

            return ProcessRuntime(network_limited=config.job_network != "lan", disk=disk)
        case "null":
            from gridd_worker.null import NullRuntime

            return NullRuntime()
