"""Mistakes where webhooks carry: what PSPs tell us, and what we tell partners."""

from __future__ import annotations

from tests.planted.bug import Bug

_DELIVERY = "tests/integration/test_delivery.py"
_NO_DATABASE = "tests/faults/test_the_database_goes_away.py"
_SIGNING = "tests/unit/test_webhook_signing.py"
_NOTIFICATIONS = "tests/acceptance/test_notifications_converge.py"

BUGS = (
    Bug(
        name="a notification is acknowledged before it is stored",
        breaks="E3: a crash in between loses what the PSP will not tell again",
        file="webhooks/inbound.py",
        text="            await self._store(account, request.headers, received)\n",
        becomes="            asyncio.ensure_future(self._store(account, request.headers, received))\n",
        tests=(f"{_NO_DATABASE}::test_a_notification_is_acknowledged_once_it_is_stored_and_stored_once",),
    ),
    Bug(
        name="a repeated notification is stored and applied again",
        breaks="E3: each repeat has its effect once more",
        file="webhooks/inbound.py",
        text="dedupe_key=item.dedupe_key",
        becomes='dedupe_key=f"{item.dedupe_key}/{self.clock()}"',
        tests=(f"{_NOTIFICATIONS}::test_a_hundred_repeats_have_one_effect",),
    ),
    Bug(
        name="a delivery is written down as delivered before it is posted",
        breaks="E2: a crash in between loses the event",
        file="webhooks/outbound.py",
        text="        outcome = await self._send(delivery, int(started_at))\n",
        becomes="""\
        sent = Answer(204, "", None)
        self._results.append(conclude(delivery, sent, started_at=started_at, seconds=0, chance=self._chance()))
        outcome = await self._send(delivery, int(started_at))
""",
        tests=(f"{_DELIVERY}::test_a_stop_cuts_off_what_takes_too_long_and_leaves_it_leased",),
    ),
    Bug(
        name="each try has a webhook-id of its own",
        breaks="E2: the partner cannot tell a repeat from a new event, and ships twice",
        file="webhooks/outbound.py",
        text='message.Signed(ids.encode("evt", delivery.event_id), timestamp, body)',
        becomes="""message.Signed(f"{ids.encode('whd', delivery.id)}.{delivery.epoch}", timestamp, body)""",
        tests=(f"{_DELIVERY}::test_a_crash_between_post_and_record_sends_it_again_with_the_same_id",),
    ),
    Bug(
        name="a redirect counts as delivered",
        breaks="E2: an event that nobody took is never sent again",
        file="webhooks/schedule.py",
        text="    if 200 <= status < 300:",
        becomes="    if 200 <= status < 400:",
        tests=("tests/unit/test_webhook_schedule.py",),
    ),
    Bug(
        name="a delivery is given up after its first failure",
        breaks="E2: one restart of the partner's server loses an event",
        file="webhooks/outbound.py",
        text="    return (DeliveryState.EXHAUSTED if wait is None else DeliveryState.PENDING), wait",
        becomes="    return DeliveryState.EXHAUSTED, None",
        tests=(f"{_DELIVERY}::test_after_ten_failures_a_delivery_is_exhausted_and_a_retry_begins_anew",),
    ),
    Bug(
        name="the signature does not cover the time",
        breaks="E2: a recorded event can be sent to the partner again and again",
        file="webhooks/signing.py",
        text='    return b"%s.%d.%s" % (message_id.encode(), timestamp, body)',
        becomes='    return b"%s.%d.%s" % (message_id.encode(), 0, body)',
        tests=(_SIGNING,),
    ),
    Bug(
        name="the resolver hands on addresses it has not checked",
        breaks="S1: a partner's endpoint reaches into our own network",
        file="webhooks/names.py",
        text="        addresses.check_answers(host, found, self._policy)\n",
        becomes="",
        tests=(f"{_DELIVERY}::test_a_name_that_moves_inside_between_two_sends_is_refused",),
    ),
)
