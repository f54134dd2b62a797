"""``metaframe.json``: what a page that embeds ours reads before it does (BROWSER 1.9)."""

from typing import Any, Final

# Asked for on behalf of the frame; a definition in its address would replace all of it.
ALLOW: Final = "clipboard-write; clipboard-read; fullscreen; loopback-network; local-network-access"


def _parameter(kind: str, label: str, description: str, default: object = None) -> dict[str, Any]:
    row = {"type": kind, "label": label, "description": description}
    return row if default is None else row | {"default": default}


HASH_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "job": _parameter("json", "Job", "The job's definition"),
    "inputs": _parameter("json", "Files", "Files written on the page: name to text"),
    "queue": _parameter("string", "Queue", "Name of the queue, or https://grid/queue"),
    "queueOverride": _parameter("string", "Queue from outside", "Wins over the queue"),
    "ignoreQueueOverride": _parameter("boolean", "Own queue", "The queue wins again", False),
    "autostart": _parameter("boolean", "Autostart", "Run whenever the job changes", False),
    "control": _parameter("json", "Control", "Namespace and webhooks of submissions"),
    "maxJobDuration": _parameter("string", "Longest run", "Kept for old links; not used"),
    "allowsetjob": _parameter("boolean", "Settable", "The input `job` sets the job", False),
    "resolverefs": _parameter("boolean", "Contents", "Outputs as contents", False),
    "terminal": _parameter("boolean", "Log first", "Narrow: begin with the log", False),
    "debug": _parameter("boolean", "Debug", "Mark submissions as to debug", False),
    "definition": _parameter("json", "Inputs and outputs", "Declared for hosts"),
    "config": _parameter("string", "Reserved", "Kept for old links; not used"),
}

METAFRAME: Final[dict[str, Any]] = {
    "version": "2",
    "metadata": {
        "name": "gridd job",
        "description": "Runs a container job on a queue of workers; inputs and outputs are files",
        "tags": ["compute", "container", "docker"],
    },
    "allow": ALLOW,
    "inputs": {},
    "outputs": {},
    "hashParams": HASH_PARAMETERS,
}
