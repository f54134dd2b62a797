"""One bucket of an S3 service, through aiobotocore: every call bounded in time and tries, every
failure one sentence that says what to do.

Owns the client and its settings; knows nothing of blobs. Credentials are found where the AWS
tools look for them (environment, ``~/.aws``, the machine's role) and nowhere else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore import handlers  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from gridd.blobs.bucket import Bucket, S3Options
from gridd.errors import BlobError

CONNECT_S: Final = 5.0
READ_S: Final = 15.0  # silence on one connection
TRIES: Final = 3  # of one call, with a pause of at most 2 s and then 4 s between them
CALL_S: Final = 90.0  # one call with its tries: 8 MiB at 100 KB/s fit
CONNECTIONS: Final = 40

_WORDS = "the file store can't be used"  # to peers
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or where else you keep them)"
_REGION = "set --s3-region to the bucket's region"
_RIGHTS = (
    "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
    "s3:AbortMultipartUpload on what is in it"
)
_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct --blobs",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": "renew the credentials",
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "403": _RIGHTS,
    "RequestTimeTooSkewed": "set this machine's clock",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "SlowDown": "the service is busy",
}


class S3Error(BlobError):
    """``status`` is the service's HTTP status, 0 when it did not answer; ``code`` its own code."""

    def __init__(self, message: str, words: str, status: int = 0, code: str = "") -> None:
        super().__init__(message, words)
        self.status = status
        self.code = code


class Service:
    """The calls that go to one bucket. Build it with ``connected``."""

    def __init__(self, bucket: Bucket, client: Any, signer: Any) -> None:
        self.bucket = bucket
        self._client = client
        self._signer = signer

    async def call(
        self, operation: str, *, within_s: float | None = None, **parameters: Any
    ) -> Any:
        """What the service answers to ``operation`` (aiobotocore's name of it) on the bucket.
        Raises ``S3Error``, after ``within_s`` seconds (``CALL_S``) at most."""
        with failures(self.bucket):
            async with asyncio.timeout(within_s or CALL_S):
                return await getattr(self._client, operation)(Bucket=self.bucket.name, **parameters)

    async def link(self, name: str, seconds: int, answered: dict[str, str]) -> str:
        """An address where the object ``name`` can be read for ``seconds``, by anyone who has it.
        ``answered``: headers that go with it, by S3's names (``ResponseContentType``)."""
        parameters = {"Bucket": self.bucket.name, "Key": name, **answered}
        with failures(self.bucket):
            async with asyncio.timeout(CALL_S):
                url: str = await self._signer.generate_presigned_url(
                    "get_object", Params=parameters, ExpiresIn=seconds
                )
        return url


@contextlib.asynccontextmanager
async def connected(bucket: Bucket, options: S3Options) -> AsyncIterator[Service]:
    """Raises ``S3Error`` when the settings or credentials can't be read. Asks the service
    nothing yet."""
    async with contextlib.AsyncExitStack() as stack:
        with failures(bucket):
            client = await stack.enter_async_context(_client(options, options.endpoint))
            # `Expect: 100-continue` costs a round trip, and the wait for its answer has no bound.
            client.meta.events.unregister("before-call.s3", handlers.add_expect_header)
            signer = client
            if options.public_endpoint not in (None, options.endpoint):
                signer = await stack.enter_async_context(_client(options, options.public_endpoint))
        yield Service(bucket, client, signer)


def _client(options: S3Options, endpoint: str | None) -> Any:
    style: str = options.addressing
    if style == "auto" and endpoint is not None:
        style = "path"  # stores other than Amazon's have no host name for each bucket
    config = AioConfig(
        signature_version="s3v4",  # else links are signed the old way, which most stores refuse
        s3={"addressing_style": style},
        # Other stores refuse the checksums that Amazon's has come to ask for.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        max_pool_connections=CONNECTIONS,
    )
    return get_session().create_client(
        "s3", endpoint_url=endpoint, region_name=options.region, config=config
    )


@contextlib.contextmanager
def failures(bucket: Bucket) -> Iterator[None]:
    """Turns what the library raises into ``S3Error``."""
    try:
        yield
    except ClientError as error:
        raise _refused(bucket, error) from error
    except NoCredentialsError as error:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
        raise S3Error(f"there are no credentials for {bucket}; {advice}", _WORDS) from error
    except (BotoConnectionError, HTTPClientError, aiohttp.ClientError, OSError) as error:
        # ``TimeoutError`` is an ``OSError``.
        why = " ".join(str(error).split()) or "no answer in time"
        raise S3Error(
            f"can't reach {bucket}: {why}; check the service and --s3-endpoint",
            "the file store can't be reached",
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise S3Error(f"can't use {bucket}: {' '.join(str(error).split())}", _WORDS) from error


def _refused(bucket: Bucket, error: Any) -> S3Error:
    said = error.response.get("Error", {})
    code, words = str(said.get("Code", "")), " ".join(str(said.get("Message", "")).split())
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    advice = _ADVICE.get(code, "see what the service says of it")
    doing = error.operation_name
    return S3Error(
        f"{bucket} refused {doing}: {code} ({words[:300]}); {advice}", _WORDS, status, code
    )
