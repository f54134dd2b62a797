"""Programs that the worker asks are bounded, and gone afterwards."""

import asyncio
import uuid

import pytest

from gridd_worker.programs import ask
from tests.system.support.processes import processes_with, until

SAYS = "echo out; echo wrong >&2; exit 3"


async def test_the_stream_that_was_asked_for():
    assert await ask("sh", "-c", SAYS, limit_s=10) == (3, b"out\n")
    assert await ask("sh", "-c", SAYS, limit_s=10, errors=True) == (3, b"wrong\n")


async def test_over_time_it_is_gone():
    word = f"sleep 60.{uuid.uuid4().int}"
    with pytest.raises(TimeoutError):
        await ask(*word.split(), limit_s=0.1)
    assert processes_with(word) == []


async def test_cancelled_it_is_gone():
    word = f"sleep 60.{uuid.uuid4().int}"
    asking = asyncio.create_task(ask(*word.split(), limit_s=60))
    await until(lambda: processes_with(word), lambda: asking)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert processes_with(word) == []


async def test_a_program_that_is_not_there():
    with pytest.raises(OSError, match="no-such-program"):
        await ask("no-such-program", limit_s=1)
