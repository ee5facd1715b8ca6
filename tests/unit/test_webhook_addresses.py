"""No webhook reaches the inside: neither by the spelling of its URL nor by what its host name resolves to."""

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests import inside
from webhooks import addresses
from webhooks.addresses import AddressPolicy, Refused

LOOPBACK = AddressPolicy(allow_loopback_http=True)

URLS_MIN = 300


def test_the_corpus_is_as_long_as_promised() -> None:
    urls = {url for family in inside.URLS.values() for url in family}
    assert len(urls.union(*map(set, inside.HOSTS.values()))) >= URLS_MIN


@pytest.mark.parametrize("family", inside.HOSTS)
def test_a_host_that_could_mean_the_inside_is_refused(family: str) -> None:
    for host in inside.HOSTS[family]:
        for url in (f"https://{host}", f"https://{host}:443/hook?x=1"):
            assert refused(url), url


@pytest.mark.parametrize("family", inside.URLS)
def test_a_url_that_could_mean_the_inside_is_refused(family: str) -> None:
    assert [url for url in inside.URLS[family] if not refused(url)] == []


def refused(url: str) -> bool:
    try:
        addresses.check_url(url)
    except Refused:
        return True
    return False


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


@pytest.mark.parametrize("address", inside.ADDRESSES)
def test_an_address_of_the_inside_is_not_dialled(address: str) -> None:
    with pytest.raises(Refused, match="not public"):
        addresses.check_answers("example.com", [address])


@pytest.mark.parametrize("address", inside.ADDRESSES)
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
