"""JSON as it goes to a grid."""

import msgspec

from gridd_protocol.canonical import exact_json


def wire_json(value: object) -> bytes:
    """``value`` as JSON text, its members in their order. Half of a surrogate pair, which
    JavaScript writes and the fast encoder refuses, is escaped.

    Raises ``TypeError`` for what is not JSON."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return exact_json(value, sort_keys=False).encode()
