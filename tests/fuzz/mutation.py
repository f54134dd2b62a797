"""Bytes that are almost right: the protocol's vectors, bent a little or a lot.

Everything is drawn from one ``random.Random``, so a seed tells the whole story.
"""

import json
import random
from pathlib import Path

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
SIZE_MAX = 1 << 17

JSON_TOKENS = [
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0.5", b"18446744073709551616", b"9" * 400,
    b"null", b"true", b"{}", b"[]", b'""', b",", b":", b'"', b"\\", b"\\ud800", b"\\u0000",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"[" * 3000, b'{"a":' * 2000, b'"a":1,' * 500,
    b'"type":"hello",', b'"type":"drain",', b'"attempt":1e2,', b"\x00", b" " * 3000,
]  # fmt: skip
MSGPACK_TOKENS = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xc7\x0c\xff" + bytes(12),
    b"\xd6\xff\xff\xff\xff\xff", b"\xc1", b"\xc0", b"\x80", b"\x90", b"\xa2\xff\xfe",
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf8" + bytes(6),
    b"\xcb\x7f\xf0" + bytes(6), b"\x91" * 3000, b"\x81\xa1a" * 2000, b"\xa4type\xa5drain",
]  # fmt: skip


def frame_seeds() -> tuple[list[bytes], list[bytes]]:
    """Good and bad frames of the vectors: in JSON, in MessagePack."""
    texts: list[bytes] = []
    packed: list[bytes] = []
    for case in json.loads((VECTORS / "frames.json").read_text("utf-8")):
        texts.append(json.dumps(case["messages"]).encode())
        packed.append(bytes.fromhex(case["msgpack"]))
    for case in json.loads((VECTORS / "frames-bad.json").read_text("utf-8")):
        if case["coding"] == "json":
            texts.append(case["data"].encode("utf-8", "surrogatepass"))
        else:
            packed.append(bytes.fromhex(case["data"]))
    return texts, packed


def submission_seeds() -> list[bytes]:
    found = [b"null", b"[]", b'{"definition":{"image":"a"},"control":{"namespace":"n"},"id":"x"}']
    for name in ("job-id.json", "malformed-definitions.json"):
        for case in json.loads((VECTORS / name).read_text("utf-8")):
            body = {"definition": case["definition"], "control": {"maxDuration": "5m"}}
            found.append(json.dumps(body).encode())
    return found


def result_seeds() -> list[bytes]:
    return [
        b"{}",
        b'{"StatusCode":0,"duration":184,"isTimedOut":false}',
        b'{"outputs":{"a/b":{"type":"base64","value":"aGk="},"c":{"value":"\\u00fc"}}}',
        b'{"error":{"message":"no such image"},"logs":[["line\\n",17],["oops",18,true]]}',
    ]


def client_seeds() -> list[bytes]:
    """What clients send (WIRE 2), well and not so well."""
    job = "0a" * 32
    queued = {"type": "Queued", "time": 1, "enqueued": {"definition": {"image": "a"}}}
    ended = {"reason": "Cancelled", "time": 1, "namespace": "n"}
    changes = [
        {"tag": "", "state": "Queued", "job": "", "value": queued},
        {"tag": "", "state": "Finished", "job": job, "value": ended},
        {"tag": "", "state": "Finished", "job": job, "value": {**ended, "reason": "Success"}},
    ]
    frames = [{"type": "StateChange", "payload": change} for change in changes]
    frames += [
        {"type": "QueryJob", "payload": {"jobId": job}},
        {"type": "QueryJobStates", "payload": {}},
        {"type": "RequestJobDefinitions", "payload": {}},
    ]
    return [b"PING", b"undefined", b"", *(json.dumps(frame).encode() for frame in frames)]


def mutated(seeds: list[bytes], tokens: list[bytes], chance: random.Random) -> bytes:
    """One of ``seeds`` after up to five changes; at most ``SIZE_MAX`` bytes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(6)):
        _change(data, seeds, tokens, chance)
    return bytes(data[:SIZE_MAX])


def _change(
    data: bytearray, seeds: list[bytes], tokens: list[bytes], chance: random.Random
) -> None:
    at = chance.randrange(len(data) + 1)
    end = min(at + chance.choice((1, 2, 8, 64)), len(data))
    kind = chance.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[at:end]
    elif kind == 2:
        data[at:at] = data[at:end] * chance.randrange(1, 50)
    elif kind == 3:
        data[at:end] = chance.choice(tokens)
    elif kind == 4:
        data[at:at] = chance.choice(tokens)
    elif kind == 5:
        del data[at:]
    else:
        other = chance.choice(seeds)
        data[at:] = other[chance.randrange(len(other) + 1) :]
