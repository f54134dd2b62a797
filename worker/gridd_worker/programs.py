"""Small programs of this machine that the worker asks for itself (``du``, ``iptables``)."""

import asyncio
from contextlib import suppress


async def ask(
    program: str, *arguments: str, limit_s: float, errors: bool = False
) -> tuple[int, bytes]:
    """Its exit code, and what it printed, or, with ``errors``, what it said went wrong. The other
    stream is thrown away, since what strangers made can fill it. It is gone when this returns or
    raises, also when this is cancelled. Raises ``TimeoutError`` after ``limit_s``, and ``OSError``
    when there is no such program."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL if errors else asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if errors else asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(limit_s):
            printed, said = await process.communicate()
            return await process.wait(), said if errors else printed
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
