"""No webhook reaches the inside: neither by the spelling of its URL nor by what its host name resolves to."""

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from webhooks import addresses
from webhooks.addresses import AddressPolicy, Refused

LOOPBACK = AddressPolicy(allow_loopback_http=True)

LITERALS = (
    # loopback, in every spelling inet_aton, browsers or libraries have accepted
    *("127.0.0.1", "127.1", "127.0.1", "0177.0.0.1", "0177.1", "0x7f.1", "0x7f.0.0.1", "0x7F000001", "2130706433"),
    *(
        "017700000001",
        "127.0.0.1.",
        "127.000.000.001",
        "0x7f.0x0.0x0.0x1",
        "00000177.0.0.1",
        "127.0.0x1",
        "0",
        "0.0.0.0",
    ),
    *(
        "127.127.127.127",
        "127.0.0.53",
        "0.0.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "127．0．0．1",
        "①②⑦.⓪.⓪.①",
        "127.0.0.1%00",
    ),
    # private, link-local, metadata and special networks
    *(
        "10.0.0.1",
        "10.1",
        "012.0.0.1",
        "0xa.0.0.1",
        "167772161",
        "172.16.0.1",
        "192.168.1.1",
        "192.168.257",
        "3232235777",
    ),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "0xA9.254.0251.254"),
    *("169.254.170.2", "100.100.100.200", "100.64.0.1", "168.63.129.16", "192.0.0.192", "192.0.0.8", "192.88.99.1"),
    *("198.18.0.1", "192.0.2.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "4294967295", "1.1.1.1", "8.8.8.8", "134744072", "0x08080808", "999.999.999.999", "1.2.3"),
    # version 6
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]", "[fe80::1]"),
    *("[fe80::1%25eth0]", "[fe80::1%eth0]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]"),
    *("[3fff::1]", "[5f00::1]", "[2606:4700:4700::1111]", "[v1.a]", "[]", "[::1", "::1", "::1]"),
)
INSIDE_NAMES = (
    *(
        "localhost",
        "LOCALHOST",
        "localhost.",
        "ｌocalhost",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "loca\u00adlhost",
        "api.localhost",
        "a.b.localhost",
    ),
    *(
        "localhost.localdomain",
        "metadata",
        "intranet",
        "router",
        "printer.local",
        "db.internal",
        "metadata.google.internal",
    ),
    *("Metadata.Google.Internal", "redis.svc.cluster.local", "kubernetes.default.svc.cluster.local", "home.arpa"),
    *("1.0.0.127.in-addr.arpa", "nas.home", "nas.lan", "mail.corp", "app.intranet", "x.private", "x.onion", "x.test"),
    *("x.invalid", "x.alt", "example.com.", "example.com..", ".example.com", "ex..ample.com", "com", ""),
)
BROKEN_HOSTS = (
    *(
        "exa_mple.com",
        "-a.example.com",
        "a-.example.com",
        "xn--.com",
        "xn--a.com",
        "exa$mple.com",
        "exa!.com",
        "a,b.com",
    ),
    *("exam%70le.com", "%6cocalhost", "exa\u200bmple\u2028.com", "ex*.com", "*.example.com", "a" * 64 + ".com"),
    *("\ufdd0.com", "☃\ufe0f.-", "a" * 254, ".".join(["a"] * 130) + ".com", "exa'mple.com", "(example).com", "a=b.com"),
)
WHOLE = (
    # schemes
    *("http://example.com", "HTTP://example.com/", "ftp://example.com"),
    *("file:///etc/passwd", "gopher://example.com:70/_"),
    *("data:text/html,x", "javascript:alert(1)", "ws://example.com"),
    *("wss://example.com", "unix:///tmp/x", "//example.com"),
    *("example.com", "/relative", "", "https", "https:", "https:/", "https://", "https:///path", "https:example.com"),
    *("https:/example.com", "https:///example.com"),
    *("jar:https://example.com!/", "https+unix://%2Ftmp%2Fx/", "h\u0442tps://a.com"),
    # user info
    *("https://user@example.com", "https://user:password@example.com", "https://@example.com", "https://:@example.com"),
    *("https://example.com@127.0.0.1", "https://127.0.0.1@example.com"),
    *("https://example.com:443@10.0.0.1/", "https://a@b@c.com"),
    *("https://example.com%40127.0.0.1", "https://example.com\\@127.0.0.1", "https://example.com#@127.0.0.1"),
    # ports
    *(f"https://example.com:{port}"
      for port in ("0", "1", "22", "25", "80", "444", "3306", "5432", "6379", "8080", "8443")),
    *(f"https://example.com:{port}"
      for port in ("9200", "11211", "65535", "65536", "99999", "443443", "-1", "", "a", "４４３")),
    *("https://example.com:443:443", "https://example.com::443"),
    *("https://example.com:0x1bb", "https://example.com: 443"),
    # white space, control characters, other separators
    *(f"https://exam{character}ple.com/"
      for character in ("\t", "\n", "\r", "\0", " ", "\x0b", "\x7f", "\x85", "\xa0", "\\")),
    *(f"https://example.com/a{character}b"
      for character in ("\t", "\n", "\r", "\0", " ", "\x7f", "\\", "\u2028", "é", "<")),
    *(f"{edge}https://example.com/" for edge in (" ", "\t", "\n", "\0", "\ufeff", "\u200b")),
    *(f"https://example.com/{edge}"
      for edge in (" ", "\t", "\n", "\r\nhost: inside", '"', "`", "{", "}", "|", "^", "[", "]")),
    *("https://example.com/%", "https://example.com/%0", "https://example.com/%zz", "https://example.com?a=%g0"),
    *("https://example.com\\.internal/", "https:\\\\example.com", "https://example.com／path", "https://example.com？q"),
    # fragments and length
    *("https://example.com/#", "https://example.com/#a", "https://example.com#", "https://example.com/" + "a" * 2048),
    "https://" + "ü" * 40 + "." + "ü" * 40 + ".com/" + "a" * 1950,
)  # fmt: skip
REFUSED = tuple(
    dict.fromkeys(
        (
            *WHOLE,
            *(f"https://{host}" for host in (*LITERALS, *INSIDE_NAMES, *BROKEN_HOSTS)),
            *(f"https://{host}:443/hook?x=1" for host in (*LITERALS, *INSIDE_NAMES)),
        )
    )
)


def test_the_corpus_is_as_long_as_promised() -> None:
    assert len(REFUSED) >= 300


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_could_mean_the_inside_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        addresses.check_url(url)


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/Hook", "https://example.com/Hook"),
        ("https://example.com?a=b", "https://example.com/?a=b"),
        ("https://hooks.example.co.uk/a/../b?c=%2F&d[]=1".replace("[]", "%5B%5D"), None),
        ("https://bücher.example.com/ü".replace("/ü", "/%C3%BC"), "https://xn--bcher-kva.example.com/%C3%BC"),
        ("https://EXAMPLE。com/", "https://example.com/"),
        ("https://1.example.com/", None),
        ("https://127.0.0.1.nip.io/", None),
        ("https://localhost.example.com/", None),
        ("https://my-internal.com/@me:8080//x", None),
    ],
)
def test_a_public_https_url_is_stored_in_one_spelling(url: str, stored: str | None) -> None:
    assert addresses.check_url(url).url == (stored or url)


def test_the_stored_spelling_passes_again_unchanged() -> None:
    once = addresses.check_url("HTTPS://BÜCHER.example.com:443?x")
    assert addresses.check_url(once.url) == once


@given(
    text=st.text(max_size=60), prefix=st.sampled_from(["", "https://", "https://a.com", "http://", "https://a.com:"])
)
def test_what_passes_is_read_the_same_way_by_the_http_client(text: str, prefix: str) -> None:
    try:
        target = addresses.check_url(prefix + text)
    except Refused:
        return
    parsed = URL(target.url, encoded=True)
    assert (parsed.scheme, parsed.raw_host, parsed.port, parsed.user) == ("https", target.host, 443, None)
    assert str(parsed) == target.url


def test_8443_is_open_where_the_installation_says_so() -> None:
    url = "https://example.com:8443/"
    with pytest.raises(Refused, match="port"):
        addresses.check_url(url)
    assert addresses.check_url(url, AddressPolicy(extra_ports=frozenset({8443}))).port == 8443


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "http://localhost:1234/", "http://localhost/"])
def test_plain_http_to_this_machine_needs_an_explicit_policy(url: str) -> None:
    with pytest.raises(Refused):
        addresses.check_url(url)
    assert addresses.check_url(url, LOOPBACK).url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "http://127.0.0.2/", "http://127.1/"),
        *("http://0x7f.1/", "http://[::1]/", "http://10.0.0.1/"),
        *("https://127.0.0.1/", "https://localhost/"),
        *("http://localhost.:80/", "http://user@localhost/", "http://localhost:0/"),
        *("http://localhost:65536/", "http://a.localhost/", "http://localhost@10.0.0.1/"),
    ],
)  # fmt: skip
def test_the_loopback_policy_opens_nothing_else(url: str) -> None:
    with pytest.raises(Refused):
        addresses.check_url(url, LOOPBACK)


INSIDE_ADDRESSES = (
    *("127.0.0.1", "127.255.255.255", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254"),
    *("169.254.170.2", "100.64.0.1", "100.100.100.200", "100.127.255.255", "0.0.0.0", "0.0.0.1", "192.0.0.8"),
    *("192.0.0.192", "192.88.99.1", "198.18.0.1", "198.19.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1"),
    *("240.0.0.1", "255.255.255.255", "224.0.0.1", "239.255.255.255", "168.63.129.16"),
    *("::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
    *(
        "64:ff9b::7f00:1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001::1",
        "2001:2::1",
    ),
    *("2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *("fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "100::1", "4000::1"),
)


@pytest.mark.parametrize("address", INSIDE_ADDRESSES)
def test_an_address_of_the_inside_is_not_dialled(address: str) -> None:
    with pytest.raises(Refused, match="not public"):
        addresses.check_answers("example.com", [address])


@pytest.mark.parametrize("address", INSIDE_ADDRESSES)
def test_a_refusal_does_not_tell_what_the_resolver_knows(address: str) -> None:
    with pytest.raises(Refused) as refusal:
        addresses.check_answers("example.com", [address])
    assert address.strip(":") not in str(refusal.value) or address == "::"


def test_public_addresses_are_dialled() -> None:
    addresses.check_answers("example.com", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450::1"])


@pytest.mark.parametrize("order", list(itertools.permutations(["93.184.216.34", "2606:4700::1111", "10.0.0.1"])))
def test_one_refused_address_refuses_the_name(order: tuple[str, ...]) -> None:
    with pytest.raises(Refused):
        addresses.check_answers("example.com", order)


def test_loopback_is_dialled_for_this_machines_own_names_only() -> None:
    addresses.check_answers("localhost", ["127.0.0.1", "::1"], LOOPBACK)
    for host, answers in (("example.com", ["127.0.0.1"]), ("localhost", ["10.0.0.1"]), ("localhost", ["1.1.1.1"])):
        with pytest.raises(Refused):
            addresses.check_answers(host, answers, LOOPBACK)
    with pytest.raises(Refused):
        addresses.check_answers("localhost", ["127.0.0.1"])


def test_an_installation_can_open_a_network_of_its_own() -> None:
    vpn = AddressPolicy(extra_networks=(ipaddress.ip_network("10.8.0.0/16"),))
    addresses.check_answers("partner.example.com", ["10.8.3.4"], vpn)
    with pytest.raises(Refused):
        addresses.check_answers("partner.example.com", ["10.9.0.1"], vpn)


@given(address=st.ip_addresses())
def test_nothing_python_calls_private_or_multicast_is_dialled(address: addresses.Address) -> None:
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        with pytest.raises(Refused):
            addresses.check_answers("example.com", [str(address)])
