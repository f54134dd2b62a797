"""One try of one call: redirects followed, and what its answer means for the next try."""

import asyncio
from enum import Enum

import msgspec
from yarl import URL

from gridd.webhooks.asked import read_url
from gridd.webhooks.policy import AddressRefused, Policy, why_not
from gridd.webhooks.transport import Answer, Transport, Unreachable
from gridd_protocol.errors import ProtocolError
from gridd_protocol.limits import (
    WEBHOOK_BACKOFF_MS,
    WEBHOOK_BACKOFF_MS_MAX,
    WEBHOOK_REDIRECTS_MAX,
)
from gridd_protocol.version import __version__

_KEEPS_THE_POST = (307, 308)
_MAY_SAY_WHEN = (429, 503)


class Verdict(Enum):
    DELIVERED = "delivered"
    AGAIN = "again"
    FAILED = "failed"  # another try would end the same way
    REFUSED = "refused"  # the policy does not allow it


class Outcome(msgspec.Struct, frozen=True):
    """``why`` in a few words, without the URL; ``after_s``: the receiver asked for that pause."""

    verdict: Verdict
    why: str = ""
    after_s: float | None = None


async def attempt(
    transport: Transport, policy: Policy, url: str, body: bytes, key: str, limit_s: float
) -> Outcome:
    """Never raises for what the receiver or the network did."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"gridd/{__version__}",
        "Idempotency-Key": key,
    }
    try:
        async with asyncio.timeout(limit_s):
            return await _follow(transport, policy, URL(url), body, headers)
    except TimeoutError:
        return Outcome(Verdict.AGAIN, f"no answer within {limit_s:g} s")
    except Unreachable as error:
        return Outcome(Verdict.AGAIN, str(error))
    except AddressRefused as error:
        return Outcome(Verdict.REFUSED, str(error))


async def _follow(
    transport: Transport, policy: Policy, url: URL, body: bytes, headers: dict[str, str]
) -> Outcome:
    for _ in range(WEBHOOK_REDIRECTS_MAX + 1):
        refused = why_not(policy, url.host or "")
        if refused:
            return Outcome(Verdict.REFUSED, refused)
        answer = await transport.post(url, body, headers)
        if answer.status not in _KEEPS_THE_POST:
            return meaning(answer)
        try:
            location = answer.location or ""
            url = read_url(str(url.join(URL(location))) if location else "", "Location")
        except (ProtocolError, ValueError):
            return Outcome(Verdict.FAILED, f"answered {answer.status} with an unusable Location")
    return Outcome(Verdict.FAILED, f"more than {WEBHOOK_REDIRECTS_MAX} redirects")


def meaning(answer: Answer) -> Outcome:
    """What an answer other than a redirect that keeps the POST means."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome(Verdict.DELIVERED)
    if status == 429 or status >= 500:
        after = _seconds(answer.retry_after) if status in _MAY_SAY_WHEN else None
        return Outcome(Verdict.AGAIN, f"answered {status}", after)
    return Outcome(Verdict.FAILED, f"answered {status}")


def pause_s(tries: int, asked_s: float | None, drawn: float) -> float:
    """Seconds until the next try, after ``tries`` of them. ``drawn`` (0 to 1) spreads what failed
    together: a pause is between half and all of its step. A receiver may ask for more."""
    most = WEBHOOK_BACKOFF_MS_MAX / 1000
    step = min(WEBHOOK_BACKOFF_MS / 1000 * 2.0 ** (tries - 1), most)
    return max(step * (0.5 + drawn / 2), min(asked_s or 0.0, most))


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` in its form of seconds; a date is not followed."""
    if text is None or not (text.isascii() and text.strip().isdigit()) or len(text) > 9:
        return None
    return float(text)
