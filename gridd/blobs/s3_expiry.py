"""The bucket's own rule that ends old blobs: set where that is allowed, else said in one line.

S3 counts from the last write. A blob's rule outlives the jobs that name it by ``MARGIN_DAYS``,
the time they may wait and run; and a blob that is uploaded or asked for again is renewed before
it can end under a job that found it there (``REFRESH_DAYS``).
"""

import logging
from typing import Any, Final

from gridd.blobs.s3_service import S3Error, Service

log = logging.getLogger("gridd.blobs")

DAY_MS: Final = 24 * 3_600_000
MARGIN_DAYS: Final = 30
REFRESH_DAYS: Final = 7
ABANDONED_DAYS: Final = 7  # parts of an upload that nobody ended


def days_kept(retention_ms: int) -> int:
    return -(-retention_ms // DAY_MS) + MARGIN_DAYS


async def set_expiry(service: Service, rooms: list[str], retention_ms: int) -> None:
    """Rules of others in the bucket are left as they are. Never raises ``S3Error``."""
    days = days_kept(retention_ms)
    ours = [_rule(room, days) for room in rooms]
    try:
        present = await _rules(service)
        names = {rule["ID"] for rule in ours}
        others = [rule for rule in present if rule.get("ID") not in names]
        if all(any(_same(rule, old) for old in present) for rule in ours):
            return
        await service.call(
            "put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": others + ours}
        )
        log.info("files on %s end %d days after they were stored", service.bucket, days)
    except S3Error as error:
        log.warning(
            "files on %s are kept for ever: no rule could be set (%s). Set one that ends objects "
            "under %s after %d days, and unfinished multipart uploads after %d",
            service.bucket, error.code or error, " and ".join(rooms), days, ABANDONED_DAYS,
        )  # fmt: skip


async def _rules(service: Service) -> list[dict[str, Any]]:
    try:
        answer = await service.call("get_bucket_lifecycle_configuration")
    except S3Error as error:
        if error.code == "NoSuchLifecycleConfiguration":
            return []
        raise
    return list(answer.get("Rules", []))


def _rule(room: str, days: int) -> dict[str, Any]:
    return {
        "ID": f"gridd {room}",
        "Filter": {"Prefix": room},
        "Status": "Enabled",
        "Expiration": {"Days": days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABANDONED_DAYS},
    }


def _same(rule: dict[str, Any], old: dict[str, Any]) -> bool:
    """Services add members of their own."""
    return all(old.get(name) == value for name, value in rule.items())
