"""The packet filter around jobs, kept as it should be while a worker runs. (That it keeps out what
it should is seen on a real engine: tests/system/test_strangers_code.py.)"""

import logging
from typing import Any

import pytest
from aiodocker import Docker

from gridd_worker.config import JobNetwork
from gridd_worker.docker import network as docker_network
from gridd_worker.docker.network import JobBridge
from gridd_worker.runtime import RuntimeUnavailable


class Filter:
    """The command's chains: enough of it for what is asked."""

    def __init__(self) -> None:
        self.chains: dict[str, list[tuple[str, ...]]] = {"DOCKER-USER": [], "INPUT": []}
        self.broken: str | None = None
        self.calls = 0

    async def __call__(self, how: str, chain: str, *rule: str) -> str | None:
        self.calls += 1
        if self.broken:
            return self.broken
        if how == "-N":
            if chain in self.chains:
                return "there is one of that name"
            self.chains[chain] = []
        elif how == "-I":
            self.chains[chain].insert(0, rule)
        elif rule not in self.chains.get(chain, ()):
            return "no such rule"
        elif how == "-D":
            self.chains[chain].remove(rule)
        return None


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> Filter:
    made = Filter()

    async def there(*_: Any) -> None:
        pass

    monkeypatch.setattr(docker_network, "_iptables", made)
    monkeypatch.setattr(docker_network, "ensure_network", there)
    monkeypatch.setattr(docker_network.os, "geteuid", lambda: 0)
    monkeypatch.setattr(docker_network.shutil, "which", lambda name: f"/sbin/{name}")
    return made


DOCKER: Docker = None  # type: ignore[assignment]  # nothing is asked of it here


@pytest.mark.parametrize("kind", ["lan", "public"])
async def test_rules_that_got_lost_are_set_again_in_their_order(packets: Filter, kind: JobNetwork):
    clock = Time()
    bridge = JobBridge(kind, look_s=60, now=clock)
    await bridge.open(DOCKER)
    right = {chain: list(rules) for chain, rules in packets.chains.items()}
    assert [len(rules) for rules in right.values()] == [3, 1, 4]
    for chain, rules in right.items():
        for number in range(len(rules)):
            del packets.chains[chain][number]
            clock.now += 60
            await bridge.ready(DOCKER)
            assert packets.chains == right, f"without rule {number} of {chain}"
    for chain in ("DOCKER-USER", "INPUT"):
        packets.chains[chain].clear()
    del packets.chains["GRIDD-HOST"]
    clock.now += 60
    await bridge.ready(DOCKER)
    assert packets.chains == right


async def test_rules_of_others_stay_behind_ours(packets: Filter):
    packets.chains["INPUT"].append(("-j", "ACCEPT"))
    bridge = JobBridge("lan", look_s=0)
    await bridge.open(DOCKER)
    await bridge.ready(DOCKER)
    assert packets.chains["INPUT"] == [("-i", "gridd-jobs", "-j", "GRIDD-HOST"), ("-j", "ACCEPT")]


async def test_the_rules_are_not_looked_at_for_each_job(packets: Filter):
    clock = Time()
    bridge = JobBridge("lan", look_s=60, now=clock)
    await bridge.open(DOCKER)
    before = packets.calls
    clock.now += 59
    await bridge.ready(DOCKER)
    assert packets.calls == before
    clock.now += 1
    await bridge.ready(DOCKER)
    assert packets.calls > before


async def test_a_filter_that_breaks_is_told_once_and_so_is_its_end(
    packets: Filter, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "gridd_worker")
    bridge = JobBridge("lan", look_s=0)
    await bridge.open(DOCKER)
    for broken in ("it is not there", "it is not there", None, None):
        packets.broken = broken
        await bridge.ready(DOCKER)
    assert [record.getMessage() for record in caplog.records] == [
        "jobs can reach this machine's own services and link-local addresses: it is not there",
        "the packet filter is in order again",
    ]


async def test_a_network_that_can_not_be_kept_takes_no_jobs_until_it_can(packets: Filter):
    bridge = JobBridge("public", look_s=0)
    packets.broken = "it is not there"
    with pytest.raises(RuntimeUnavailable) as refused:
        await bridge.open(DOCKER)
    assert refused.value.final, "the owner has to choose"
    packets.broken = None
    await bridge.open(DOCKER)
    packets.broken = "it is not there"
    for _ in range(2):
        with pytest.raises(RuntimeUnavailable, match="--job-network public can't be had") as held:
            await bridge.ready(DOCKER)
        assert not held.value.final, "it may come back"
    packets.broken = None
    await bridge.ready(DOCKER)
