"""Where ours differs from what was recorded of upstream, exchange by exchange, and why.

``at`` is a place as the player names it (``17 GET /path``, ``queued: GET /:queue/status``,
``9 client1`` for a frame, ``client1`` for the whole story of a socket), ``what`` the difference
in its words; in both ``*`` stands for anything. D1 to D58 are the known defects in WIRE 10, F the
numbers in FINDINGS. A row that nothing needs any more fails the test.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    at: str
    what: str
    why: str
    always: bool = True  # false: it is a matter of time whether it is seen

    def covers(self, place: str, difference: str) -> bool:
        return _like(self.at, place) and _like(self.what, difference)


def _like(pattern: str, text: str) -> bool:
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


PAGE = "a person's browser gets a page; the recorded server had none built (WIRE 1.13)"
HISTORY = "the job's story instead of `Not implemented`"
DIRECT = "uploads are taken here, on every store (DESIGN 5.15, F20)"
OFFERED = "a worker is shown what is offered to it, once it has registered (DESIGN 5.5)"
DEFINITION = "the status of a queue does not tell everyone's environment (D9)"
HIDDEN = "jobs that lists leave out are not counted either (WIRE 8: `including hidden ones`)"
METHOD = "the address exists: 405 with Allow"
BAD = "bad input is 400 with a sentence (D40, F17)"
RAN_IT = "who ran the job is told after its end too"
ORDER = "told as it happened, not by kind every 500 ms (WIRE 1.8)"
NO_MORE_LINES = "the log of a cancelled job is final too (F13)"
CURSORS = "cursors count on over attempts, so that followers miss nothing (D27)"
LIVE = "live lines without a queue in the path too (WIRE 1.7)"
AT_ONCE = "cancel answers at once, and cancels the namespace in the path (D41, D45)"
AGAIN = "a superseded job can be submitted again: A, B, A runs A (D10, F3)"
EVICTED = "an old job is superseded too (D11, F2)"
LEAVES = "failed and timed-out jobs leave the list after a minute too (F12)"
BLIND = "after a restart upstream's client stays blind to the worker and the end (F8)"
STAYS = "an answer is not undone by a cancel (D13)"
OUTRIGHT = "a deleted job is deleted outright, its definition too (D12)"
FINAL = "a worker's list need not say who ran what ended; ours does"
EARNED = "an id must be the definition's hash: 409 (D3, DESIGN 5.6)"
AN_OFFER = "a job is running from the offer on, since it is nobody else's then (DESIGN 5.5)"
REFUSED = "no such socket: the handshake is refused (WIRE 2.1: closed at once)"
ELSEWHERE = "jobs and workers of entries that are not played here"
SOCKET = "the address is a socket's, and the sentence says so"
RAW_NAME = "names are compared as sent, then decoded (D42)"
UNTYPED = "a reference without a type is text (D55)"
KEYED = "a reference by key is served, or 404 (WIRE 5.1)"
NESTED = "a name may hold /outputs/ (D43)"
INLINE = "inline inputs are served in local mode too (F14)"
KNOWS_NAMESPACES = "local mode knows namespaces as well"
HONEST_COUNT = "what has ended is not outstanding (F14)"
COPIES = "a local grid has more than one queue"
STATELESS = "tools are stateless: no stream to open, no session to end (405)"
TOOLS = "these are our tools' own words (WIRE 1.14: `a description document`)"

EVERYWHERE = [
    Known("*: GET /j/:jobId", "status 404 is 200", PAGE),
    Known("*: GET /j/:jobId", "text/plain is text/html", PAGE),
    Known("*: GET /j/:jobId", "text differs", PAGE),
    Known("*: GET /q/:queue/j/:jobId/history.json", "*", HISTORY),
    Known("*: GET /*queue/status", "queueInfo.jobStates*worker: 'none' is *", RAN_IT),
    Known("*: GET /*queue/status", "localWorkers*definition is missing", DEFINITION),
    Known("*: GET /*queue/status", "queueInfo.jobStates: * items are *", HIDDEN),
    Known("* POST *cancel", "message: 'Job already Finished|Removed' is 'Job already Finished'",
          "says which of the two"),
    Known("cancelled *: GET *logs.json*", "isFinal: False is True", NO_MORE_LINES),
    Known("replaced *: GET *logs.json*", "isFinal: False is True", NO_MORE_LINES),
    Known("*: GET /q/:queue/j/:jobId/stream", "events [*] are ['state', *-log'*]", ORDER),
]  # fmt: skip

_HTTP_ERRORS = [
    *(Known(f"{n} POST *", "status 500 is 400", BAD) for n in (3, 4, 6, 7, 8, 9, 10, 14, 20)),
    *(Known(f"{n} POST *", "status 200 is 400", BAD) for n in (12, 13, 17, 19)),
    Known("22 GET *", "data.5 is missing", BAD),
    Known("22 GET *", "data.db09f8.namespaces: 2 items are 1", BAD),
    Known("28 DELETE *", "status 404 is 405", METHOD),
    Known("29 PUT *", "status 404 is 405", METHOD),
    Known("30 PATCH *", "status 404 is 405", METHOD),
    Known("32 GET /", "*", PAGE),
    Known("35 GET /j/.json", "status 404 is 400", BAD),
    Known("36 GET *", "status 200 is 400", "a queue is one segment of a path (D1)"),
    Known("50 GET *", "data.5 is missing", BAD),
    Known("50 GET *", "data.db09f8.namespaces: 2 items are 1", BAD),
    Known("52 GET *", "status 404 is 400", SOCKET),
    Known("53 GET *", "status 404 is 400", SOCKET),
]

_INPUTS = [
    Known("12 GET *", "status 404 is 200", RAW_NAME),
    Known("12 GET *", "text differs", RAW_NAME),
    Known("13 GET *", "status 404 is 200", RAW_NAME),
    Known("13 GET *", "text differs", RAW_NAME),
    Known("14 GET *", "status 404 is 200", RAW_NAME),
    Known("14 GET *", "text differs", RAW_NAME),
    Known("10 GET *", "status 500 is 400", BAD),
]

_TOOLS = [
    Known("0 POST /mcp", "result.capabilities.logging is missing", "nothing is logged to callers"),
    Known("6 POST /mcp", "*message: *", TOOLS),
    Known("9 POST /mcp", "*message: *", TOOLS),
    Known("11 GET /mcp/health", "*", TOOLS),
    Known("12 GET /mcp/info", "*", TOOLS),
    Known("13 POST /mcp", "status 500 is 400", BAD),
    Known("13 POST /mcp", "no sentence", "it is in JSON-RPC's own form of an error"),
    Known("15 DELETE /mcp", "status 200 is 405", STATELESS),
    Known("16 GET /mcp", "status 200 is 405", STATELESS),
]

_PROTOCOL = "10-socket-protocol"

KNOWN: dict[str, list[Known]] = {
    "01-success": [
        Known("9 worker1", "told later", OFFERED),
        Known("running: GET /j/:jobId/build-logs.json", "data: 0 items are 3", LIVE),
        Known("running: GET /j/:jobId/run-logs.json", "data: 0 items are 2", LIVE),
        Known("running: GET /j/:jobId/*-logs.json", "nextCursor: 0 is *", LIVE),
    ],
    "06-cancel-queued": [
        Known("29 POST */cancel?namespace=n1", "is answered with 200", AT_ONCE),
        Known("46 POST */n3/cancel", "is answered with 200", AT_ONCE),
        Known("47 GET */namespaces.json", "data: 1 items are 0", AT_ONCE),
        Known("50 POST */cancel?namespace=*", "* is missing", AT_ONCE),
        Known("client1", "listed ['8bbd6f'] are []", "upstream's list came every 10 s only"),
    ],
    "07-namespace-replacement": [
        Known("15 GET *", "data.f13d51 is missing", AGAIN),
        Known("15 GET *", "data.eaa3fb is new", AGAIN),
        Known("16 GET *", "data: 0 items are 1", AGAIN),
        Known("17 GET *", "data: 1 items are 0", AGAIN),
        Known("167 GET *", "data.d49970 is missing", EVICTED),
        Known("client1", "listed ['616b26', 'd49970'] are ['616b26']", EVICTED),
    ],
    "08-worker-lost": [
        Known("success *: GET */run-logs.json?since=1", "data: 1 items are 2", CURSORS),
        Known("success *: GET *-logs.json*", "sliceStart: 0 is *", CURSORS),
        Known("success *: GET *-logs.json*", "nextCursor: * is *", CURSORS),
        Known("success *: GET */stream", "cursor: * is *", CURSORS),
    ],
    f"{_PROTOCOL}: a job and its end, told twice": [
        Known("74 GET *", "data.20ae86 is new", STAYS),
        Known("75 GET *", "data: 0 items are 1", STAYS),
        Known("89 GET *", "data: an object is null", OUTRIGHT),
        Known("client1", "listed ['20ae86'] are []", "upstream's list came every 10 s only"),
    ],
    f"{_PROTOCOL}: deleted": [
        Known("109 client1", "not told", OUTRIGHT),
        Known("client1", "listed ['20ae86'] are []", OUTRIGHT),
    ],
    f"{_PROTOCOL}: jobs that nobody knows": [
        Known("147 client1", "told later", AN_OFFER),
        Known("client1", "97fdb2: states ['Queued', 'Finished Success'] are *", AN_OFFER),
        Known("*", "97fdb2 Finished Success: worker: '' is 'worker-a'", RAN_IT),
    ],
    f"{_PROTOCOL}: ids that are no hash": [
        *(Known(f"{n} client1", "not told", EARNED) for n in (168, 171, 177)),
        *(Known(f"{n} POST *", "status 200 is 409", EARNED) for n in (172, 178, 182)),
        Known("173 GET *", "data.* is missing", EARNED),
        Known("183 GET *", "status 200 is 400", EARNED),
    ],
    f"{_PROTOCOL}: status, and a second socket": [
        Known("214 GET *", "*", ELSEWHERE),
    ],
    f"{_PROTOCOL}: an unknown socket": [
        Known("232 nobody", "the socket is refused with 404", REFUSED),
    ],
    "11-ageing": [
        Known("170 GET *", "data.ad2ecf is missing", LEAVES),
        Known("170 GET *", "data.db5b3f is missing", LEAVES),
        Known("173 GET *", "data: 0 items are 1", "who asked for an answer is kept with it"),
        Known("client1", "listed * are *", "clients keep what has ended until they connect again"),
    ],
    "12-files": [
        Known("1 GET *", "status 302 is 404", "told at once that there is no such file"),
        Known("1 GET *", "Location is missing", "told at once that there is no such file"),
        *(Known(f"{n} PUT *", "*", DIRECT) for n in (2, 10, 12)),
        Known("8 GET http*", "Access-Control-Allow-Origin: *", "a bucket's rules are its owner's"),
        Known("13 POST *", "status 404 is 405", METHOD),
        Known("14 DELETE *", "status 404 is 405", METHOD),
        Known("18 GET *", "ref.value: *", "an address of our own store"),
        Known("19 GET *", "status 200 is 404", "told at once that there is no such file"),
    ],
    "13-http-errors": [
        *_HTTP_ERRORS,
        Known("1 GET /health", "*", "as upstream's local mode answers it"),
        Known("33 GET /metrics", "*", "the operator's own page"),
        Known("39 POST *", "status 500 is 400", BAD),
        Known("42 GET *", "data.7ad170.debug is missing", "false is said by leaving it out"),
        Known("43 POST *", "status 500 is 400", BAD),
    ],
    "14-inputs-outputs": [
        *_INPUTS,
        Known("21 worker-a", "told later", OFFERED),
        *(Known(f"{n} GET *", "status 400 is 200", UNTYPED) for n in (7, 33)),
        *(Known(f"{n} GET *", "application/json is text/plain", UNTYPED) for n in (7, 33)),
        *(Known(f"{n} GET *", "the answer: an object is text", UNTYPED) for n in (7, 33)),
        *(Known(f"{n} GET *", "*", KEYED) for n in (6, 32)),
        Known("38 GET *", "status 404 is 200", NESTED),
        Known("38 GET *", "text differs", NESTED),
    ],
    "15-webhooks": [
        Known("15 worker-a", "not told", OFFERED),
        Known("31 worker-a", "not told", OFFERED),
        Known("worker-a", "c7b6e1: states [] are ['wanted']", OFFERED, always=False),
    ],
    "16-mcp": [*_TOOLS],
    "18-server-restart-slow": [
        *(Known(f"{n} client2", "not told", BLIND) for n in (44, 83)),
        Known("52 client2", "told later", BLIND),
        Known("client2", "13e9fe: states ['Running'] are *", BLIND),
        Known("client2", "workers [[]] are *", BLIND),
    ],
    "20-local-mode-states": [
        Known("*/namespaces.json", "*", KNOWS_NAMESPACES),
        Known("*/inputs/in.txt", "status 500 is 200", INLINE),
        Known("*/inputs/in.txt", "text differs", INLINE),
        Known("*queue/metrics", "queue_length * is missing", HONEST_COUNT),
        Known("30 GET *", "Content-Disposition: *", "as upstream's other flavour names it"),
        Known("61 POST *", "success is missing", "as upstream's other flavour answers"),
    ],
    "21-local-mode-files": [
        *(Known(f"{n} PUT *", "text differs", "the server's paths are its own") for n in (2, 7, 9)),
        Known("10 POST *", "status 404 is 405", METHOD),
        Known("11 DELETE *", "status 404 is 405", METHOD),
        Known("14 GET *", "*", "both flavours have the older addresses"),
        Known("15 GET *", "*", "both flavours have the older addresses"),
    ],
    "22-local-mode-http-errors": [
        *_HTTP_ERRORS,
        Known("5 POST *", "status 500 is 400", BAD),
        Known("27 GET *", "queue_length 5 is missing", HONEST_COUNT),
        Known("33 GET /metrics", "queue_length 5 is missing", HONEST_COUNT),
        *(Known(f"{n} POST *", "*", COPIES) for n in (38, 39, 41, 43)),
        Known("42 GET *", "data.7ad170 is new", COPIES),
        *(Known(f"{n} OPTIONS *", "Access-Control-Allow-Methods: *", "one list for both flavours")
          for n in (46, 47, 48)),
    ],
    "23-local-mode-inputs": [
        *_INPUTS,
        *(Known(f"{n} *", "*", INLINE) for n in (1, 2, 3, 4, 5, 6, 7, 11, 18, 19)),
        Known("8 GET *", "*", "another site's address is a redirect, knowingly (D44)"),
    ],
    "24-local-mode-mcp": [*_TOOLS],
}  # fmt: skip
