"""Promise: a window moves, never forgets too early, and its memory is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.api import addresses
from gateway.api.rate_limit import LocalLimiter
from gateway.api.windows import WINDOW_SECONDS, Windows
from gateway.config import read


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_admits_its_limit_and_then_waits_for_the_oldest() -> None:
    clock = Clock()
    windows = Windows(clock)
    assert [windows.record("a", at_most=2) for _ in range(3)] == [True, True, False]
    assert windows.seconds_until_below("a", 2) == 60
    clock.now += 59.5
    assert not windows.record("a", at_most=2)
    assert windows.seconds_until_below("a", 2) == 1
    clock.now += 0.5
    assert windows.record("a", at_most=2)


def test_one_partner_does_not_use_up_anothers_window() -> None:
    windows = Windows(Clock())
    assert windows.record("a", at_most=1)
    assert windows.record("b", at_most=1)


@given(st.lists(st.floats(0.0, 30.0), max_size=60), st.integers(1, 5))
def test_no_sixty_seconds_ever_see_more_than_the_limit(pauses: list[float], limit: int) -> None:
    clock = Clock()
    windows, admitted = Windows(clock), list[float]()
    for pause in pauses:
        clock.now += pause
        if windows.record("a", at_most=limit):
            admitted.append(clock.now)
    for at in admitted:
        assert sum(at - WINDOW_SECONDS < other <= at for other in admitted) <= limit


def test_memory_is_bounded_however_many_addresses_appear() -> None:
    windows = Windows(Clock(), subjects_max=10)
    for number in range(1_000):
        windows.record(str(number), at_most=5)
    assert len(windows._hits) == 10


async def test_the_standing_tells_what_is_left_and_when_more_comes() -> None:
    clock = Clock()
    limiter = LocalLimiter(Windows(clock))
    first = await limiter.hit("a", 2)
    assert (first.admitted, first.remaining, first.reset_seconds) == (True, 1, 60)
    clock.now += 20
    await limiter.hit("a", 2)
    refused = await limiter.hit("a", 2)
    assert (refused.admitted, refused.remaining, refused.reset_seconds) == (False, 0, 40)


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
