"""SSRF protection: URLs, ports, every kind of address that is not public, and the operator's exemptions."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from penstock.coordinator.webhooks.ssrf import DestinationError, DestinationPolicy, Exemption, is_public

PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "64:ff9b::101:101"]
NOT_PUBLIC = [
    "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",  # private
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "::1", "::",  # this host
    "169.254.169.254", "169.254.170.2", "fe80::1", "fe80::1%eth0", "fec0::1",  # link-local, metadata
    "100.64.0.1", "100.100.100.200", "100.127.255.255",  # carrier-grade NAT
    "224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1",  # multicast
    "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.9",  # reserved, documentation
    "192.0.0.192", "192.88.99.1", "168.63.129.16", "fd00:ec2::254", "fc00::1",  # services of clouds
    "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1",  # embedded IPv4
    "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::1",
    "2001:db8::1", "3fff::1", "100::1", "4000::1",  # reserved
]  # fmt: skip


def check(policy: DestinationPolicy, url: str, *addresses: str) -> None:
    policy.check_addresses(policy.parse_url(url), [ip_address(address) for address in addresses])


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_with_a_public_address_is_accepted(address: str) -> None:
    check(DestinationPolicy(), "https://hooks.example/x", address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_with_an_internal_address_is_refused_without_repeating_the_address(address: str) -> None:
    with pytest.raises(DestinationError) as caught:
        check(DestinationPolicy(), "https://hooks.example/x", address)
    assert address not in str(caught.value)


def test_one_internal_address_among_public_ones_refuses_the_name() -> None:
    with pytest.raises(DestinationError, match=r"hooks\.example: accepted are public addresses"):
        check(DestinationPolicy(), "https://hooks.example/x", *PUBLIC, "10.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "[fe80::1]", "LOCALHOST",
        "localhost", "db.localhost", "localhost.", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001",
        "0", "[::]",
    ],
)  # fmt: skip
def test_an_internal_address_in_a_url_is_refused_in_any_notation(host: str) -> None:
    with pytest.raises(DestinationError):
        DestinationPolicy().parse_url(f"https://{host}/")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://hooks.example/", "'ftp' is not an accepted scheme"),
        ("file:///etc/passwd", "not a host name"),
        ("hooks.example/x", "not a URL such as https://"),
        ("http://hooks.example/", "only https is accepted"),
        ("https://user:word@hooks.example/", "user or password"),
        ("https://hooks.example@10.0.0.1/", "user or password"),
        ("https://hooks.example:99999/", "not a URL"),
        ("https://hooks.example:x/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://[v1.x]/", "not an IPv6 address"),
        ("https://[fe80::1%25eth0]/", "not a host name"),
        ("https://hooks.example:22/", "port 22"),
        ("https://hooks.example:80/", "port 80"),
        ("https://hooks.example:0/", "port 0"),
        ("https:///x", "not a host name"),
        ("https://hooks..example/", "not a host name"),
        ("https://-hooks.example/", "not a host name"),
        ("https://hooks.example\\@10.0.0.1/", "user or password"),
        ("https://hooks.example\\.evil/", "not a host name"),
        ("https://hooks.example/a b", "printable ASCII"),
        ("https://hooks.example/\r\nX: y", "printable ASCII"),
        ("https://hööks.example/", "printable ASCII"),
        ("https://hooks.example/" + "x" * 2_048, "up to 2048"),
        ("", "printable ASCII"),
    ],
)
def test_a_url_that_is_not_allowed_is_refused_with_the_reason(url: str, message: str) -> None:
    with pytest.raises(DestinationError) as caught:
        DestinationPolicy().parse_url(url)
    assert message in str(caught.value)


def test_a_url_is_parsed_into_the_parts_of_a_request() -> None:
    receiver = DestinationPolicy().parse_url("HTTPS://Hooks.Example.:8443?token=1#fragment")
    assert (receiver.host, receiver.port, receiver.target) == ("hooks.example", 8443, "/?token=1")
    assert (receiver.authority, receiver.origin) == ("hooks.example:8443", "https://hooks.example:8443")
    assert DestinationPolicy().parse_url("https://[2606:4700:4700::1111]:443/x?y").authority == "[2606:4700:4700::1111]"


@pytest.mark.parametrize(
    ("allow", "url", "addresses"),
    [
        ("10.1.0.0/16", "https://hooks.example/", ["10.1.2.3", "1.1.1.1"]),
        ("10.1.2.3", "https://10.1.2.3/", []),
        ("127.0.0.0/8", "https://127.1/", []),
        ("fd00::/8", "https://[fd00::5]:8443/", []),
        ("10.1.0.0/16", "https://[::ffff:10.1.2.3]/", []),
        ("hooks.lan", "https://hooks.lan/", ["192.168.7.7"]),
        ("Hooks.lan.", "https://hooks.lan:9000/", ["192.168.7.7"]),
        ("hooks.lan:444", "https://hooks.lan:444/", ["192.168.7.7"]),
        ("http://hooks.lan:81", "http://hooks.lan:81/", ["192.168.7.7"]),
        ("http://hooks.lan", "https://hooks.lan/", ["192.168.7.7"]),
        ("http://10.0.0.0/8", "http://hooks.lan/", ["10.0.0.1"]),
        ("http://0.0.0.0/0", "http://hooks.example/", ["1.1.1.1"]),
    ],
)
def test_an_exemption_allows_what_is_not_public(allow: str, url: str, addresses: list[str]) -> None:
    check(DestinationPolicy([allow]), url, *addresses)


@pytest.mark.parametrize(
    ("allow", "url", "address"),
    [
        ("10.1.0.0/16", "https://hooks.lan/", "10.2.0.1"),
        ("10.1.0.0/16", "http://hooks.lan/", "10.1.0.1"),
        ("hooks.lan", "https://other.lan/", "10.1.0.1"),
        ("hooks.lan", "http://hooks.lan/", "10.1.0.1"),
        ("hooks.lan:8443", "https://hooks.lan:9000/", "10.1.0.1"),
        ("hooks.lan", "https://hooks.lan:22/", "10.1.0.1"),
        ("http://10.0.0.0/8", "http://hooks.example/", "1.1.1.1"),
        ("http://hooks.lan:81", "http://hooks.lan:82/", "10.1.0.1"),
    ],
)
def test_an_exemption_allows_nothing_else(allow: str, url: str, address: str) -> None:
    with pytest.raises(DestinationError):
        check(DestinationPolicy([allow]), url, address)


@pytest.mark.parametrize(
    "text",
    ["", "http://", "https://hooks.lan", "10.0.0.0/33", "10.1.2.3/8", "hooks.lan/x", "a b", "a@b", "hooks.lan:x"],
)
def test_an_exemption_must_be_a_host_or_a_range(text: str) -> None:
    with pytest.raises(DestinationError, match="neither a host"):
        Exemption.parse(text)


def test_mapped_addresses_have_to_be_unwrapped_first() -> None:
    assert is_public(ip_address("1.1.1.1"))
    assert not is_public(ip_address("::ffff:1.1.1.1")), "callers unwrap it first"
