"""The wire contract of gridd: definitions and job ids, messages, codecs, limits, error codes.

Imports neither ``gridd`` nor ``gridd_worker``. ``protocol/SPEC.md`` says the same in words.
"""

from gridd_protocol.canonical import canonical_json
from gridd_protocol.codec import SUBPROTOCOLS, Codec, Decoded
from gridd_protocol.datarefs import DataRef, inline_bytes, inline_ref, read_ref, url_ref
from gridd_protocol.definitions import (
    Build,
    Checked,
    Definition,
    Requirements,
    checked,
    parse_definition,
)
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.jobid import hash_object, job_id
from gridd_protocol.names import (
    check_blob_key,
    check_file_name,
    check_job_id,
    check_namespace,
    check_queue_name,
    check_worker_id,
    is_job_id,
)
from gridd_protocol.results import Result
from gridd_protocol.units import format_bytes, format_duration, parse_bytes, parse_duration
from gridd_protocol.version import __version__

__all__ = [
    "SUBPROTOCOLS",
    "Build",
    "Checked",
    "Codec",
    "DataRef",
    "Decoded",
    "Definition",
    "ErrorCode",
    "ProtocolError",
    "Requirements",
    "Result",
    "__version__",
    "canonical_json",
    "check_blob_key",
    "check_file_name",
    "check_job_id",
    "check_namespace",
    "check_queue_name",
    "check_worker_id",
    "checked",
    "format_bytes",
    "format_duration",
    "hash_object",
    "inline_bytes",
    "inline_ref",
    "is_job_id",
    "job_id",
    "parse_bytes",
    "parse_definition",
    "parse_duration",
    "read_ref",
    "shown",
    "url_ref",
]
