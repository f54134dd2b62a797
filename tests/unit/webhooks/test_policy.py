"""Which addresses a stranger may make the server call."""

import pytest

from gridd.webhooks.policy import AddressRefused, check_address, why_not
from gridd_protocol.addresses import is_public, literal

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "223.255.255.254",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # likewise
    "169.254.169.254",  # likewise
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # likewise
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "no address",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert is_public(address)
    check_address("public", address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address):
    assert not is_public(address)
    with pytest.raises(AddressRefused):
        check_address("public", address)
    check_address("any", address)


def test_off_connects_to_nothing():
    with pytest.raises(AddressRefused):
        check_address("off", "1.1.1.1")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("example.org", None),
        ("a.b.c.d", None),
        ("cafe.fade", None),
        ("", None),
    ],
)
def test_hosts_that_are_addresses(host, address):
    assert literal(host) == address


@pytest.mark.parametrize("host", ["10.0.0.1", "0x7f.1", "::1", "LOCALHOST", "a.localhost", "::"])
def test_a_host_that_is_private_by_itself_is_refused_without_a_look_up(host):
    assert why_not("public", host)
    assert why_not("any", host) is None


@pytest.mark.parametrize("host", ["example.org", "1.1.1.1", "localhost.example.org"])
def test_other_hosts_are_not(host):
    assert why_not("public", host) is None
    assert why_not("off", host)
