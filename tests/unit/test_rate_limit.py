"""Promise: a partner has its own window, and is told where it stands."""

from gateway.api import addresses
from gateway.api.rate_limit import LocalLimiter
from gateway.config import read


def test_a_window_admits_its_limit_and_no_more() -> None:
    limiter = LocalLimiter()
    assert [limiter.count("a", 2).admitted for _ in range(3)] == [True, True, False]


def test_one_partner_does_not_use_up_anothers_window() -> None:
    limiter = LocalLimiter()
    assert limiter.count("a", 1).admitted
    assert limiter.count("b", 1).admitted


def test_one_subject_has_a_window_for_each_limit() -> None:
    limiter = LocalLimiter()
    assert [limiter.count("a", 1).admitted, limiter.count("a", 1).admitted] == [True, False]
    assert limiter.count("a", 5).remaining == 4


def test_looking_whether_a_window_is_full_counts_nothing() -> None:
    limiter = LocalLimiter()
    assert not limiter.is_full("a", 1)
    assert limiter.count("a", 1).admitted
    assert limiter.is_full("a", 1)


async def test_the_standing_tells_what_is_left_and_when_more_comes() -> None:
    limiter = LocalLimiter()
    first = await limiter.hit("a", 2)
    assert (first.admitted, first.remaining) == (True, 1)
    await limiter.hit("a", 2)
    refused = await limiter.hit("a", 2)
    assert (refused.admitted, refused.remaining) == (False, 0)
    assert 1 <= refused.reset_seconds <= 60


TRUSTED = read(
    {
        "PAYGATE_DATABASE_URL": "postgresql://x",
        "PAYGATE_SECRET_KEYS": "1:Tz7XNkY0Gd1vKqTYz0y5yS3oV9m2b1JxW4hQe8cUfRA=",
        "PAYGATE_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
    }
).trusted_proxies


def test_a_forwarded_address_counts_only_from_a_proxy_we_trust() -> None:
    forged = b"203.0.113.7"
    assert addresses.client("198.51.100.9", forged, TRUSTED) == "198.51.100.9"
    assert addresses.client("198.51.100.9", forged, ()) == "198.51.100.9"
    assert addresses.client("10.1.2.3", forged, TRUSTED) == "203.0.113.7"
    assert addresses.client("10.1.2.3", b"6.6.6.6, 203.0.113.7, 192.0.2.1", TRUSTED) == "203.0.113.7"
    assert addresses.client("10.1.2.3", b"6.6.6.6, nonsense", TRUSTED) == "10.1.2.3"
    assert addresses.client(None, forged, TRUSTED) is None


def test_an_ipv6_network_counts_as_one_client() -> None:
    assert addresses.neighbourhood("2001:db8::1") == addresses.neighbourhood("2001:db8::ffff:2")
    assert addresses.neighbourhood("192.0.2.1") != addresses.neighbourhood("192.0.2.2")
