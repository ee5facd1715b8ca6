"""Mistakes where the gateway decides: keys, reservations, outcomes, answers."""

from __future__ import annotations

from tests.planted.bug import Bug

_UNCONFIRMED = "tests/acceptance/test_nothing_unconfirmed_is_called_failed.py"
_REFUNDS = "tests/acceptance/test_refunds_never_exceed_what_was_captured.py"
_CAPTURES = "tests/acceptance/test_captures_and_cancels.py"
_ONCE = "tests/acceptance/test_a_key_executes_once.py"
_NOTIFICATIONS = "tests/acceptance/test_notifications_converge.py"
_CONFIRMED = f"{_NOTIFICATIONS}::test_a_notification_that_does_not_tell_all_is_not_believed_before_the_psp_confirms_it"
_APART = "tests/acceptance/test_partners_are_apart.py"
_JOURNALLED = "tests/integration/test_journal.py"
_CONCLUSIONS = "tests/unit/test_conclusions.py"
_CHANGES = "tests/unit/test_changes.py"
_SHOWN = "tests/unit/test_representation.py"
_STORED = "tests/acceptance/test_a_stored_method_pays_everywhere.py"

BUGS = (
    # ── What is sent, and under which key ──
    Bug(
        name="every resend goes out under a PSP key of its own",
        breaks="M1: the PSP takes the resend for a second charge",
        file="gateway/transactions/sending.py",
        text="key=attempt.provider_key)",
        becomes='key=f"{attempt.provider_key[:24]}{time.monotonic_ns()}")',
        tests=(f"{_UNCONFIRMED}::test_an_answer_lost_once_is_asked_for_again_before_the_caller_is_answered",),
    ),
    Bug(
        name="all attempts of one kind share a PSP key",
        breaks="M1: the PSP answers a second refund with the first one's answer",
        file="gateway/runtime.py",
        text='text = f"{attempt_id}/{operation}/{account_id}".encode()',
        becomes='text = f"{operation}/{account_id}".encode()',
        tests=(f"{_REFUNDS}::test_refunds_in_parts_add_up",),
    ),
    Bug(
        name="a resend is trusted for longer than the PSP remembers the key",
        breaks="M1: the PSP has forgotten the key and executes the request again",
        file="gateway/runtime.py",
        text="RESEND_SHARE = 0.8",
        becomes="RESEND_SHARE = 1.2",
        tests=(f"{_JOURNALLED}::test_the_time_to_send_again_ends_well_before_the_psp_forgets_the_key",),
    ),
    Bug(
        name="being turned away at the second try is believed of the first",
        breaks="M1: a charge that was made is called failed, and the partner charges again",
        file="gateway/transactions/sending.py",
        text="    if isinstance(outcome, NotSent | Rejected):",
        becomes="    if isinstance(outcome, Rejected):",
        tests=(f"{_UNCONFIRMED}::test_being_throttled_on_the_second_try_says_nothing_of_the_first",),
    ),
    # ── What an outcome changes ──
    Bug(
        name="a refund without an answer gives its reservation back",
        breaks="M2: the same money can be promised again while the first refund may have been made",
        file="gateway/transactions/conclusions.py",
        text="_undecided(transaction, attempt, waiting, outcome, E.REFUND_PROCESSING, None, at)",
        becomes="_undecided(released, attempt, waiting, outcome, E.REFUND_PROCESSING, None, at)",
        tests=(f"{_CHANGES}::test_an_undecided_refund_keeps_its_reservation",),
    ),
    Bug(
        name="a capture without an answer gives its reservation back",
        breaks="M2: another capture may be asked for while the first one may have been made",
        file="gateway/transactions/conclusions.py",
        text="_undecided(transaction, attempt, None, outcome, E.CAPTURE_PROCESSING, None, at)",
        becomes="_undecided(released, attempt, None, outcome, E.CAPTURE_PROCESSING, None, at)",
        tests=(f"{_CHANGES}::test_an_undecided_capture_keeps_its_amount_and_is_unknown",),
    ),
    Bug(
        name="a refused refund keeps its amount reserved for ever",
        breaks="M2: the partner can never give back what was taken",
        file="gateway/transactions/conclusions.py",
        text="changes.finished(released, attempt, AttemptState.DECLINED, outcome, (line,), at, refund=failed)",
        becomes="changes.finished(transaction, attempt, AttemptState.DECLINED, outcome, (line,), at, refund=failed)",
        tests=(f"{_CHANGES}::test_a_refused_refund_gives_its_reservation_back",),
    ),
    Bug(
        name="a refund that could not be sent is called failed",
        breaks="M2: a refund bound to the PSP that holds the money is given up though it can be sent later",
        file="gateway/transactions/conclusions.py",
        text="        case Declined() | Rejected():\n            failure = failures.of_refund(outcome)",
        becomes="        case Declined() | Rejected() | NotSent():\n            failure = failures.ACTION_EXPIRED",
        tests=(f"{_CHANGES}::test_an_undecided_refund_keeps_its_reservation",),
    ),
    Bug(
        name="a part captured is booked as the whole",
        breaks="M4: the books say that more was taken than the PSP took",
        file="gateway/transactions/conclusions.py",
        text="S.COMPLETED), amount_captured=attempt.amount",
        becomes="S.COMPLETED), amount_captured=released.amount",
        tests=(f"{_CHANGES}::test_a_partial_capture_completes_with_what_was_taken",),
    ),
    Bug(
        name="a charge that waits for the customer stays open after it was cancelled",
        breaks="M1: the customer approves what the partner gave up, and money is taken",
        file="gateway/transactions/conclusions.py",
        text="            return replace(change, attempts=change.attempts + given_up)",
        becomes="            return change",
        tests=(f"{_CHANGES}::test_a_cancel_ends_the_charge_that_waited_for_the_customer",),
    ),
    Bug(
        name="an outcome that is not known is kept as the key's last word",
        breaks="A2: repeating the key tells “processing” for ever",
        file="gateway/transactions/changes.py",
        text="return replace(changed(after, (attempt,), refund, happened, at), check_in_seconds=delay)",
        becomes="return replace(changed(after, (attempt,), refund, happened, at), check_in_seconds=delay, final=True)",
        tests=(f"{_CHANGES}::test_what_is_not_known_is_never_a_failure",),
    ),
    Bug(
        name="a charge that was never sent keeps its key",
        breaks="A2: the partner can never make this charge under the key it was told to repeat",
        file="gateway/transactions/conclusions.py",
        text="final=not nothing_sent, release=nothing_sent)",
        becomes="final=True)",
        tests=(f"{_CHANGES}::test_what_was_not_sent_frees_the_key_and_keeps_no_answer",),
    ),
    Bug(
        name="a completed payment may become failed",
        breaks="U1: what is called failed has taken money",
        file="gateway/transactions/states.py",
        text="S.COMPLETED: frozenset({S.PARTIALLY_REFUNDED, S.REFUNDED}),",
        becomes="S.COMPLETED: frozenset({S.PARTIALLY_REFUNDED, S.REFUNDED, S.FAILED}),",
        tests=("tests/unit/test_states.py",),
    ),
    Bug(
        name="an attempt that waits at the PSP does not count as live",
        breaks="M1: a second capture is made while the first may still happen",
        file="gateway/transactions/states.py",
        text="{AttemptState.CREATED, AttemptState.SENDING, AttemptState.WAITING, AttemptState.UNKNOWN,",
        becomes="{AttemptState.CREATED, AttemptState.SENDING, AttemptState.UNKNOWN,",
        tests=(f"{_CHANGES}::test_what_is_not_known_is_never_a_failure",),
    ),
    # ── The books ──
    Bug(
        name="a refund is posted the wrong way round",
        breaks="M3: the ledger says that the PSP owes us more after a refund",
        file="gateway/transactions/postings.py",
        text='    return (Entry("refunds", amount), Entry(receivable(account_id), -amount))',
        becomes='    return (Entry("refunds", -amount), Entry(receivable(account_id), amount))',
        tests=(f"{_CHANGES}::test_a_refund_gives_back_and_is_posted",),
    ),
    Bug(
        name="a refund that came back is not booked back",
        breaks="M4: the ledger says that money was given back which was not",
        file="gateway/transactions/unasked.py",
        text="        entries=postings.refund_returned(snapshot.attempt.account_id, refund.amount),\n",
        becomes="",
        tests=("tests/unit/test_unasked.py",),
    ),
    Bug(
        name="what is promised to refunds under way counts as refundable",
        breaks="M2: the same money is promised twice",
        file="db/records.py",
        text="        return self.amount_captured - self.amount_refunded - self.refund_reserved",
        becomes="        return self.amount_captured - self.amount_refunded",
        tests=(f"{_SHOWN}::test_what_is_refundable_leaves_out_what_is_reserved",),
    ),
    Bug(
        name="nobody compares a capture with what was authorized",
        breaks="M2: more is asked of the PSP than the customer agreed to",
        file="gateway/transactions/followups.py",
        text="        if amount > transaction.amount:\n",
        becomes="        if amount > transaction.amount * 2:\n",
        tests=(f"{_CAPTURES}::test_more_than_was_authorized_is_refused_with_what_there_is",),
    ),
    Bug(
        name="a cancel is sent while a capture has no outcome",
        breaks="M1: what was captured is called cancelled",
        file="gateway/transactions/followups.py",
        text="    open_ones = {AttemptOperation.CAPTURE, AttemptOperation.CANCEL}",
        becomes="    open_ones = {AttemptOperation.CANCEL}",
        tests=(f"{_CAPTURES}::test_a_capture_without_an_answer_is_made_once_and_found_out",),
    ),
    # ── Idempotency ──
    Bug(
        name="a key is not bound to what was asked with it",
        breaks="A2: another request is answered with the first one's answer",
        file="gateway/transactions/idempotency.py",
        text="    if found.fingerprint != caller.fingerprint:\n        raise KeyReused\n",
        becomes="",
        tests=(f"{_ONCE}::test_a_key_with_another_body_is_refused_and_changes_nothing",),
    ),
    Bug(
        name="a key is bound to the body but not to the address",
        breaks="A2: a cancel is answered with the capture it was meant to prevent",
        file="gateway/api/dispatch.py",
        text='body.fingerprint(route.method, scope["path"], value)',
        becomes='body.fingerprint(route.method, "", value)',
        tests=(f"{_ONCE}::test_a_key_with_the_same_body_at_another_path_is_refused",),
    ),
    Bug(
        name="a repeat does not wait for the first request's lease",
        breaks="A2: what the first request is still at work on is answered as if nobody were",
        file="gateway/transactions/idempotency.py",
        text="    if found.lease_left_seconds:\n",
        becomes="    if found.lease_left_seconds is None:\n",
        tests=(f"{_ONCE}::test_a_repeat_waits_for_the_first_request_and_asks_nobody",),
    ),
    Bug(
        name="a charge whose answer was forgotten is made again",
        breaks="M1: after thirty days a repeated key charges a second time",
        file="gateway/transactions/charge.py",
        text="        idempotency_key=caller.key,\n        status=TransactionStatus.PROCESSING,",
        becomes="        idempotency_key=None,\n        status=TransactionStatus.PROCESSING,",
        tests=(f"{_ONCE}::test_a_forgotten_answer_is_no_second_charge",),
    ),
    Bug(
        name="what began is not finished after its caller went away",
        breaks="A1: a request cut off at the PSP leaves its outcome unwritten until recovery finds it",
        file="gateway/runtime.py",
        text="return await asyncio.shield(self.begin(work))",
        becomes="return await self.begin(work)",
        tests=("tests/integration/test_front_door.py::test_what_was_begun_goes_on_after_its_caller_went_away",),
    ),
    # ── The journal ──
    Bug(
        name="an event is published in a transaction of its own",
        breaks="E1: a crash between the two loses the event",
        file="gateway/transactions/journal.py",
        text='                return await transactions.journal_write(connection, partner_id, step) == "written"\n',
        becomes="""\
                events = step.pop("published", None)
                written = await transactions.journal_write(connection, partner_id, step) == "written"
                if written and events:
                    await transactions.journal_write(connection, partner_id, {"published": events})
                return written
""",
        tests=(f"{_JOURNALLED}::test_where_one_row_cannot_be_written_none_is",),
    ),
    Bug(
        name="who wakes up after its lease writes all the same",
        breaks="M1: a paused process overwrites what another one has learned since",
        file="gateway/transactions/journal.py",
        text='        "epoch": snapshot.attempt.epoch,\n',
        becomes="",
        tests=(f"{_JOURNALLED}::test_who_wakes_up_after_its_lease_writes_nothing",),
    ),
    Bug(
        name="a contradiction is dropped without a word",
        breaks="U1: money taken of a cancelled payment is seen by nobody",
        file="gateway/transactions/conclusions.py",
        text='(changes.line(after, E.REVIEW_REQUESTED, outcome, "transaction.needs_review"),)\n    return',
        becomes="()\n    return",
        tests=(f"{_CONCLUSIONS}::test_a_contradiction_keeps_the_attempt_open_and_calls_a_person_once",),
    ),
    # ── Notifications ──
    Bug(
        name="a notification's amount is not compared with ours",
        breaks="M4: a notification about another amount completes the payment",
        file="gateway/transactions/readings.py",
        text="    wrong_amount = told.amount is not None and told.amount != snapshot.attempt.amount",
        becomes="    wrong_amount = told.amount is None",
        tests=(f"{_NOTIFICATIONS}::test_a_notification_with_another_amount_is_not_believed",),
    ),
    Bug(
        name="a notification that proves nothing is believed without asking the PSP",
        breaks="M4: what the PSP itself does not confirm is booked",
        file="gateway/transactions/provider_events.py",
        text="    if told.ask or isinstance(told.outcome, Unknown):",
        becomes="    if isinstance(told.outcome, Unknown):",
        tests=(_CONFIRMED,),
    ),
    Bug(
        name="a notification of one account may speak for another account's payment",
        breaks="T1: who holds one account's secret can end any partner's payment",
        file="gateway/transactions/provider_events.py",
        text="        if attempt is not None and attempt.account_id == event.account_id:",
        becomes="        if attempt is not None:",
        tests=(f"{_NOTIFICATIONS}::test_a_payment_of_another_account_is_not_to_be_spoken_for",),
    ),
    Bug(
        name="a notification ahead of our own commit is thrown away",
        breaks="M4: what the PSP told first is never applied",
        file="gateway/transactions/provider_events.py",
        text='        return _later("nothing of ours")\n    partner_id, transaction_id, attempt_id = place\n'
        "    async with runtime.database.as_partner(partner_id) as connection:\n"
        "        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)\n"
        "        subject",
        becomes='        return _ignored("nothing of ours")\n    partner_id, transaction_id, attempt_id = place\n'
        "    async with runtime.database.as_partner(partner_id) as connection:\n"
        "        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)\n"
        "        subject",
        tests=(f"{_NOTIFICATIONS}::test_a_payment_of_another_account_is_not_to_be_spoken_for",),
    ),
    # ── What the partner is told ──
    Bug(
        name="no money moved, it is said, while nobody knows",
        breaks="U1: the partner charges again though the first charge may have been made",
        file="gateway/transactions/representation.py",
        text="    open_ended = transaction.status in {TransactionStatus.PROCESSING, TransactionStatus.REQUIRES_ACTION}",
        becomes="    open_ended = transaction.status in {TransactionStatus.REQUIRES_ACTION}",
        tests=(f"{_SHOWN}::test_money_moved_is_said_only_where_it_is_certain",),
    ),
    Bug(
        name="no money moved, it is said, while a capture is under way",
        breaks="U1: the partner thinks that the capture has failed",
        file="gateway/transactions/representation.py",
        text='    return "unknown" if open_ended or transaction.capture_pending > 0 else "no"',
        becomes='    return "unknown" if open_ended else "no"',
        tests=(f"{_SHOWN}::test_money_moved_is_said_only_where_it_is_certain",),
    ),
    Bug(
        name="no money moved, it is said, of a refund under way",
        breaks="U1: the partner gives the money back by other means, too",
        file="gateway/transactions/representation.py",
        text='        RefundStatus.PROCESSING: "unknown",',
        becomes='        RefundStatus.PROCESSING: "no",',
        tests=(_SHOWN,),
    ),
    Bug(
        name="no money moved, it is said, of a request whose first call is still at work",
        breaks="U1: the partner uses a new key and charges twice",
        file="gateway/api/errors.py",
        text='        headers={"Retry-After": str(error.retry_after_seconds)},\n        money_moved="unknown",\n',
        becomes='        headers={"Retry-After": str(error.retry_after_seconds)},\n',
        tests=(f"{_ONCE}::test_twenty_identical_requests_at_once_are_one_charge",),
    ),
    Bug(
        name="no money moved, it is said, where the database was lost under way",
        breaks="U1: the partner uses a new key and charges twice",
        file="gateway/api/errors.py",
        text='    database.CommitUncertain: lambda _: unavailable(money_moved="unknown"),',
        becomes="    database.CommitUncertain: lambda _: unavailable(),",
        tests=("tests/unit/test_errors.py",),
    ),
    Bug(
        name="a refund of the other mode can be read",
        breaks="T1: a test key reads live refunds",
        file="db/refunds.py",
        text='WHERE partner_id = $1 AND id = $2 AND livemode = $3",',
        becomes='WHERE partner_id = $1 AND id = $2 AND $3::boolean IS NOT NULL",',
        tests=(f"{_APART}::test_another_partners_thing_looks_exactly_like_none_on_every_route",),
    ),
    # ── What a charge names by id ──
    Bug(
        name="a repeat is refused once its payment method was deleted",
        breaks="A2: the same key is answered differently",
        file="gateway/api/transactions.py",
        text="        if again is None:\n            raise",
        becomes="        if again is None or again:\n            raise",
        tests=(f"{_STORED}::test_once_deleted_it_pays_no_more_and_what_it_paid_goes_on",),
    ),
    Bug(
        name="one customer's payment method pays for another",
        breaks="T1: what was stored for one is charged for another",
        file="gateway/api/transactions.py",
        text="stored.owner_id not in {None, found.customer_id}",
        becomes="stored.owner_id not in {None, stored.owner_id}",
        tests=(f"{_STORED}::test_it_pays_for_its_own_customer_only",),
    ),
)
