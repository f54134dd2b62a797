"""Kinds of IP addresses, for whoever connects to where a stranger said (D5).

Owns the lists; who may reach what is decided by the server's webhooks and by the worker.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Written out instead of asking ``is_global``: what that says differs between Python's releases.
# IANA's special-purpose registry for IPv4, multicast, and what clouds keep for their metadata.
NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's own services, reached from each of its machines
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
# What hands out a machine's own credentials to any program on it.
METADATA_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),
    )
)
_METADATA_V6 = tuple(map(ipaddress.IPv6Network, ("fe80::/10", "fd00:ec2::254/128")))
# Of IPv6, global unicast is what is given out; all else (loopback, ULA, link-local, multicast,
# mapped, compatible, site-local) lies outside of it.
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside, and nobody serves it any more
            "3fff::/20",
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # a gateway turns it into the IPv4 address inside
_NUMERIC = re.compile(r"[0-9a-fx.]+", re.ASCII)


def is_public(address: str) -> bool:
    """False for loopback, private, link-local, multicast, reserved and metadata addresses, for
    IPv6 forms that hold one, and for what is no address."""
    found = _read(address)
    if isinstance(found, ipaddress.IPv6Address):
        return found in _UNICAST_V6 and not _within(found, _NOT_PUBLIC_V6)
    return found is not None and not _within(found, NOT_PUBLIC_V4)


def is_metadata(address: str) -> bool:
    """True for link-local addresses and those where clouds keep their metadata, in IPv6 forms
    that hold one, too. False for what is no address."""
    found = _read(address)
    if isinstance(found, ipaddress.IPv6Address):
        return _within(found, _METADATA_V6)
    return found is not None and _within(found, METADATA_V4)


def literal(host: str) -> str | None:
    """The address that ``host`` is, by itself; ``None``: it is a name, to be looked up.

    Old ways to write IPv4 (``127.1``, ``0x7f000001``, ``2130706433``) count: resolvers know them.
    """
    host = host.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    if not _NUMERIC.fullmatch(host):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def _read(address: str) -> _Address | None:
    """The address itself: of an IPv6 form that only leads to an IPv4 address, that one."""
    try:
        found: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if not isinstance(found, ipaddress.IPv6Address):
        return found
    if found in _NAT64:
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found


def _within(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address in network for network in networks)
