"""Is another worker connected under our id? Asked when the server has given our place to one."""

import json
import logging
from urllib.parse import quote

import aiohttp

_ANSWER_S = 10.0
_ANSWER_BYTES_MAX = 32 << 20

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)

_log = logging.getLogger("gridd_worker")


async def is_connected(api_address: str, queue: str, worker: str, proxy: str | None = None) -> bool:
    """Whether the queue's public status names ``worker``. A server that does not say so, for
    whatever reason, is taken to have no such worker: then connecting is the question."""
    url = f"{api_address}/q/{quote(queue, safe='')}/status"
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    system = proxy == "system"
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=system) as session,
            session.get(url, proxy=None if system else proxy) as answer,
        ):
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _ANSWER_BYTES_MAX:
                    return False
        entry = json.loads(body)["localWorkers"].get(worker)
        # One that holds jobs is listed for a while after it was lost.
        return entry is not None and bool(entry.get("connected", True))
    except (*_UNREADABLE, aiohttp.ClientError, OSError, TimeoutError) as error:
        _log.debug("%s does not tell its workers: %r", url, error)
        return False
