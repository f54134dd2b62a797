"""Every bound of the protocol, in one place.

Sizes end in ``_bytes_max``, counts in ``_max``, times in ``_ms``. The same table stands in
``protocol/SPEC.md`` and a test compares the two. A peer that goes over a bound is answered
with an error that names the field, the value and the bound; nothing else is affected.
"""

from typing import Final

# --- names ---------------------------------------------------------------------------
QUEUE_NAME_BYTES_MAX: Final = 128  # UTF-8, after percent-decoding
NAMESPACE_BYTES_MAX: Final = 256
WORKER_ID_BYTES_MAX: Final = 128
FILE_NAME_BYTES_MAX: Final = 1_024  # an input, config file or output name, with its folders
BLOB_KEY_BYTES_MAX: Final = 255  # one file name on every file system that we know

# --- jobs ----------------------------------------------------------------------------
DEFINITION_BYTES_MAX: Final = 1 << 20  # the definition's JSON text as sent
DEFINITION_DEPTH_MAX: Final = 128  # arrays and objects inside one another
SUBMIT_BODY_BYTES_MAX: Final = 2 << 20  # a whole submission: definition, control, envelope
RESULT_BYTES_MAX: Final = 4 << 20  # the result's JSON text
FILES_PER_JOB_MAX: Final = 4_096  # inputs, and likewise config files
NAMESPACES_PER_JOB_MAX: Final = 64
LIVE_JOBS_PER_QUEUE_MAX: Final = 1_000_000  # queued and running together
QUEUES_MAX: Final = 100_000  # with a job that is remembered, or somebody connected: 8 kB each
ATTEMPTS_MAX: Final = 5  # leases that end in worker loss before the job is given up

# --- logs ----------------------------------------------------------------------------
LOG_LINE_BYTES_MAX: Final = 64 << 10  # text of one line; a worker splits longer ones
LOG_LINES_PER_MESSAGE_MAX: Final = 1_000
LOG_LINES_PER_JOB_MAX: Final = 100_000  # kept per job and kind: the first tenth, and the newest
LOG_BYTES_PER_JOB_MAX: Final = 8 << 20  # text kept per job and kind; likewise
LOG_STEPS_PER_JOB_MAX: Final = 100  # a pull or a build begins; later lines count to the last

# --- frames --------------------------------------------------------------------------
FRAME_BYTES_MAX: Final = 8 << 20  # one WebSocket message, either way; beyond it: close 1009
MESSAGES_PER_FRAME_MAX: Final = 1_000
FAULTS_PER_FRAME_MAX: Final = 10  # bad messages in one frame; what follows them is not read
OUTBOX_BYTES_MAX: Final = 4 << 20  # waiting for one peer; beyond it the peer is let go
WORKER_OUTBOX_BYTES_MAX: Final = 64 << 20  # likewise, for a worker: definitions wait in it
OUTBOX_COALESCE_BYTES: Final = 256 << 10  # above it, state updates of one job replace each other
OUTBOX_LOG_BYTES_MAX: Final = 2 << 20  # above it, log lines are left out for that client, marked
OUTBOX_STALL_MS: Final = 20_000  # one write may wait this long for a peer that does not read
CONNECTIONS_PER_ADDRESS_MAX: Final = 4_096  # sockets and event streams of one address
CREDIT_MAX: Final = 10_000  # jobs one worker may hold
UPSTREAM_FRAME_BYTES_MAX: Final = 64 << 20  # from upstream's worker: a result with its whole log
UPSTREAM_DEFINITION_BYTES_MAX: Final = 60_000  # to upstream's worker: more ends its process

# --- time ----------------------------------------------------------------------------
LEASE_MS: Final = 30_000  # silence after which a worker loses its jobs
HEARTBEAT_MS: Final = 5_000  # a worker speaks at least this often
HELLO_MS: Final = 10_000  # a worker socket that has not said hello by then is closed
RETENTION_MS: Final = 28 * 24 * 3_600_000  # a finished job is kept this long
LOG_RETENTION_MS: Final = 7 * 24 * 3_600_000  # its logs at least this long, and a seventh more

# --- blobs ---------------------------------------------------------------------------
BLOB_BYTES_MAX: Final = 64 << 30
INLINE_BYTES_MAX: Final = 200  # a file up to this size travels inside its reference

# --- webhooks ------------------------------------------------------------------------
WEBHOOK_URL_BYTES_MAX: Final = 2_048
WEBHOOK_PAYLOAD_BYTES_MAX: Final = 64 << 10  # the submitter's own JSON, sent along
WEBHOOK_MESSAGE_BYTES_MAX: Final = 1_000  # of why a job ended
WEBHOOKS_PER_QUEUE_MAX: Final = 1_000  # held for one queue: waiting, or being called
WEBHOOKS_MAX: Final = 10_000  # likewise, for all queues
WEBHOOKS_BYTES_MAX: Final = 64 << 20  # bodies and addresses of all that are held
WEBHOOK_CALLS_MAX: Final = 64  # at one time
WEBHOOK_CALLS_PER_HOST_MAX: Final = 4
WEBHOOK_LOOKUPS_MAX: Final = 64  # names looked up at one time, each in a thread
WEBHOOK_REDIRECTS_MAX: Final = 3
WEBHOOK_TRIES_MAX: Final = 10
WEBHOOK_CALL_MS: Final = 10_000  # one try: look-up, connection, redirects, answer
WEBHOOK_BACKOFF_MS: Final = 2_000  # after the first try; twice as long after each further one
WEBHOOK_BACKOFF_MS_MAX: Final = 600_000  # also of what a receiver asks for by Retry-After
WEBHOOK_AGE_MS_MAX: Final = 3_600_000  # since what it tells of happened
WEBHOOKS_STOP_MS: Final = 2_000  # at a stop of the server, for calls to end
