"""Where a webhook may go: the addresses that a stranger may make this server call (D5).

Which addresses are public stands in ``gridd_protocol.addresses``. This is asked before a submission
is accepted (a host that is an address), for each name that was looked up, and last for each socket
that is about to connect.
"""

from typing import Literal, get_args

from gridd_protocol.addresses import is_public, literal

Policy = Literal["off", "public", "any"]
"""``off``: nothing is called; ``public``: public addresses only; ``any``: every address."""

POLICIES: tuple[str, ...] = get_args(Policy)


class AddressRefused(OSError):
    """The policy does not allow a connection to this address. (An ``OSError``, since it is raised
    where a connection is made.)"""


def why_not(policy: Policy, host: str) -> str | None:
    """A sentence on why a call to ``host`` is refused without looking it up; ``None``: it is not
    (what it resolves to is still to be checked)."""
    if policy == "off":
        return "this grid calls no webhooks"
    if policy == "any":
        return None
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return "this grid calls public addresses only"
    address = literal(host)
    if address is not None and not is_public(address):
        return "this grid calls public addresses only"
    return None


def check_address(policy: Policy, address: str) -> None:
    """Raises ``AddressRefused`` unless a connection to ``address`` is allowed."""
    if policy == "any" or (policy == "public" and is_public(address)):
        return
    raise AddressRefused(f"{address} is not a public address")
