"""Mistakes in finding out and making whole: recovery, compensation, lists of PSPs, reviews, the lost database."""

from __future__ import annotations

from tests.planted.bug import Bug

_TRUTH = "tests/acceptance/test_recovery_finds_the_truth.py"
_NO_DATABASE = "tests/faults/test_the_database_goes_away.py"
_UNCONFIRMED = "tests/acceptance/test_nothing_unconfirmed_is_called_failed.py"
_RULED_OUT = "tests/unit/test_ruling_out.py"
_PARKED = "tests/acceptance/test_what_was_parked_is_tried_again.py"
_SEALING = "tests/integration/test_sealing_rounds.py"
_STOPPED = "tests/faults/test_a_process_is_stopped.py"

BUGS = (
    # ── Asking ──
    Bug(
        name="what cannot be found is resent after the PSP may have forgotten the key",
        breaks="M1: a charge that was lost in the PSP's lists is made a second time",
        file="gateway/transactions/recovery.py",
        text="    if resend:\n        again = await sending.send_again(adapter, attempt)",
        becomes="    if attempt.operation is AttemptOperation.CHARGE or resend:\n"
        "        again = await sending.send_again(adapter, attempt)",
        tests=(f"{_UNCONFIRMED}::test_a_lookup_that_finds_nothing_is_no_proof_that_nothing_happened",),
    ),
    Bug(
        name="every round of ruling out goes out under the first round's key",
        breaks="U1: the PSP repeats what it answered then, and the payment never ends",
        file="gateway/transactions/recovery.py",
        text='f"{CallPurpose.RULE_OUT}-{attempt.checks}"',
        becomes="CallPurpose.RULE_OUT",
        tests=(f"{_TRUTH}::test_each_round_of_ruling_out_is_a_question_of_its_own",),
    ),
    Bug(
        name="silence is never shown to a person",
        breaks="U1: an unknown outcome is forgotten",
        file="gateway/transactions/conclusions.py",
        text="at - attempt.created_at >= attempt.review_after",
        becomes="attempt.created_at - at >= attempt.review_after",
        tests=("tests/unit/test_changes.py",),
    ),
    Bug(
        name="a cancelled payment that had been captured is called ruled out",
        breaks="U1: what is called failed has taken money",
        file="providers/ruling_out.py",
        text="        case Approved(captured=True) | Pending() | Declined() | Absent():\n            return after",
        becomes="        case Approved(captured=True):\n"
        "            return contract.ruled_out(known_id, after.trace)\n"
        "        case Pending() | Declined() | Absent():\n            return after",
        tests=(_RULED_OUT,),
    ),
    Bug(
        name="a technical cancel that did not get through counts as made",
        breaks="U1: the charge is called failed while it can still succeed",
        file="providers/ruling_out.py",
        text='            return Unknown(reason="not_cancelled", provider_id=known_id, trace=after.trace)',
        becomes="            return contract.ruled_out(known_id, after.trace)",
        tests=(_RULED_OUT,),
    ),
    # ── Giving back ──
    Bug(
        name="what came late is booked as the partner's",
        breaks="M3: the ledger promises the partner money that goes back to the payer",
        file="gateway/transactions/unasked.py",
        text="postings.late_taken(late.account_id, late.amount) if told.captured",
        becomes="postings.captured(late.account_id, late.amount) if told.captured",
        tests=("tests/unit/test_unasked.py",),
    ),
    Bug(
        name="money is given back on a notification's word alone",
        breaks="M1: a payment that was never late is refunded",
        file="gateway/transactions/compensation.py",
        text="    if not adapter.capabilities.readable:\n",
        becomes="    if adapter.capabilities.readable:\n",
        tests=(f"{_TRUTH}::test_nothing_is_given_back_on_a_notifications_word_alone",),
    ),
    Bug(
        name="what was only held is given back by a refund",
        breaks="M1: the PSP refuses, and the hold stays",
        file="gateway/transactions/compensation.py",
        text="    if told.captured:\n        ask = contract.Refund(",
        becomes="    if told.provider_id:\n        ask = contract.Refund(",
        tests=(f"{_TRUTH}::test_a_hold_that_comes_after_the_payment_was_over_is_released",),
    ),
    Bug(
        name="a late charge is given back as often as the PSP tells of it",
        breaks="M1: the payer gets more back than was taken",
        file="gateway/transactions/compensation.py",
        text="    return charged and attempt.state in OVER",
        becomes="    return charged",
        tests=(_TRUTH,),
    ),
    # ── What PSPs list ──
    Bug(
        name="an account counts as read though its list could not be read",
        breaks="E3: what the PSP told in that window is never learned",
        file="gateway/transactions/gaps.py",
        text="    found: list[Received] = [item async",
        becomes="    async with runtime.database.as_system() as connection:\n"
        "        await account_readings.read_until(connection, Reading.EVENTS, due.account_id, began)\n"
        "    found: list[Received] = [item async",
        tests=(f"{_TRUTH}::test_a_list_that_could_not_be_read_is_read_again_from_where_it_was",),
    ),
    Bug(
        name="what the PSP listed late is skipped",
        breaks="E3: an event that was listed after a later one is never learned",
        file="gateway/transactions/gaps.py",
        text="    since = max(due.until - OVERLAP, began - kept)",
        becomes="    since = max(due.until, began - kept)",
        tests=(f"{_TRUTH}::test_what_a_provider_listed_late_is_applied_too",),
    ),
    Bug(
        name="a payment at the PSP that we do not know is no finding",
        breaks="M4: money moved that no book of ours knows, and nobody is told",
        file="gateway/transactions/reconciler.py",
        text="    elif seen.state in _TAKEN:\n",
        becomes="    elif seen.state not in _TAKEN:\n",
        tests=(f"{_TRUTH}::test_a_payment_with_our_reference_that_we_do_not_know_is_found",),
    ),
    Bug(
        name="a list that is all a PSP says is not believed",
        breaks="U1: a refund whose only notification was lost is never settled",
        file="gateway/transactions/reconciler.py",
        text="    await journal.record(runtime, snapshot, outcome, actor=",
        becomes="    dict(actor=",
        tests=(f"{_TRUTH}::test_what_adyen_confirmed_in_lost_notifications_is_concluded_from_its_report",),
    ),
    Bug(
        name="what cannot be asked about is never missing",
        breaks="M4: our books tell of money that the PSP does not know",
        file="gateway/transactions/reconciler.py",
        text="        answer = Absent()  # its lists are all it says",
        becomes="        return",
        tests=(f"{_TRUTH}::test_what_is_booked_and_in_no_report_of_adyen_is_found",),
    ),
    Bug(
        name="a report that is not there is an empty one",
        breaks="M4: everything of that day is called missing",
        file="providers/adyen.py",
        text="            if must_exist or error.status",
        becomes="            if error.status",
        tests=("tests/unit/test_adyen_reports.py",),
    ),
    Bug(
        name="a refund that only its notification names is not found by our reference",
        breaks="U1: what Adyen made and answered with an error waits for a person though Adyen told its end",
        file="providers/adyen_webhooks.py",
        text="        reference=_our_reference(item),\n        provider_transaction_id=item.original_reference,\n",
        becomes="        reference=None,\n        provider_transaction_id=item.original_reference,\n",
        tests=(f"{_TRUTH}::test_a_refund_whose_error_adyen_keeps_under_its_key_is_concluded_by_its_notification",),
    ),
    Bug(
        name="two refunds at the PSP under one reference are taken for one",
        breaks="M4: money was given back twice, and our books and people hear of one",
        file="gateway/transactions/readings.py",
        text=" and not _ended_as_another(attempt, told)]",
        becomes="]",
        tests=(f"{_TRUTH}::test_a_second_refund_under_the_reference_of_one_that_is_over_is_for_people",),
    ),
    Bug(
        name="what is parked about a payment is shown to nobody",
        breaks="E3: what the PSP told of it is never applied, and who looks at the payment does not hear of it",
        file="gateway/transactions/provider_events.py",
        text="            verdict = await _parked(runtime, event, verdict)",
        becomes="            verdict = replace(verdict, state=ProviderEventState.PARKED)",
        tests=(f"{_TRUTH}::test_what_is_parked_about_a_payment_is_shown_to_people",),
    ),
    Bug(
        name="who held a notification before ends the try of who holds it now",
        breaks="E3: what a person had put back is parked by a worker that was suspended, and never tried",
        file="db/inbox.py",
        text='" WHERE id = $1 AND tries = $2",',
        becomes='" WHERE id = $1 AND tries >= $2",',
        tests=(f"{_PARKED}::test_who_held_it_before_does_not_end_the_new_try",),
    ),
    # ── Watched ──
    Bug(
        name="what was accepted of a seal's rows stays so whatever they are",
        breaks="M3: rows of the ledger are edited under a finding that people have accepted, and nobody hears of it",
        file="db/audit_seals.py",
        text='hashlib.sha256(seal.chain + row["digest"])',
        becomes="hashlib.sha256(seal.chain)",
        tests=(f"{_SEALING}::test_what_was_accepted_is_found_again_once_it_is_otherwise",),
    ),
    Bug(
        name="what was accepted holds again after something else was found",
        breaks="M3: who edits rows back to what was accepted once is not noticed",
        file="gateway/sealing.py",
        text="            await findings.supersede(connection, fault.kind, fault.subject)",
        becomes="            pass",
        tests=(f"{_SEALING}::test_what_was_accepted_is_found_again_once_it_is_otherwise",),
    ),
    Bug(
        name="a finding stops nobody's refunds",
        breaks="M4: money is given back out of books that are known to be wrong",
        file="db/migrations/versions/0003_stops.sql",
        text="WHERE partner_id = NEW.partner_id\n               AND source = 'watchdog'",
        becomes="WHERE partner_id = NEW.partner_id\n               AND source = 'reconciler'",
        tests=(f"{_TRUTH}::test_a_broken_promise_stops_its_partners_refunds_until_it_is_whole_again",),
    ),
    Bug(
        name="the dearest payments wait for people as long as the cheapest",
        breaks="U1: an unknown outcome of high value is looked at a day later",
        file="db/migrations/versions/journal.sql",
        text="high_value, interval '22 hours')",
        becomes="interval '22 hours')",
        tests=(f"{_TRUTH}::test_what_is_of_high_value_is_for_people_after_an_hour",),
    ),
    # ── People ──
    Bug(
        name="a decision stands though the payment has moved on since",
        breaks="M4: people's word of yesterday overwrites the PSP's of today",
        file="gateway/transactions/reviews.py",
        text="    if decision.version != found.transaction.version:",
        becomes="    if decision.version > found.transaction.version:",
        tests=(f"{_TRUTH}::test_what_changed_since_is_decided_anew",),
    ),
    # ── The database goes away ──
    Bug(
        name="no money moved, it is said, where the database refused",
        breaks="U1: an earlier try under the same key may have moved it",
        file="gateway/api/errors.py",
        text='    database.Unavailable: lambda _: unavailable(money_moved="unknown"),',
        becomes="    database.Unavailable: lambda _: unavailable(),",
        tests=("tests/unit/test_errors.py",),
    ),
    Bug(
        name="an outcome in hand is thrown away at the first lost connection",
        breaks="A1: what the PSP answered must be asked for again",
        file="gateway/transactions/journal.py",
        text="    for wait in (*RETRY_SECONDS, None):",
        becomes="    for wait in (None,):",
        tests=(f"{_NO_DATABASE}::test_an_outcome_that_meets_lost_connections_is_written_on_the_next",),
    ),
    Bug(
        name="a request that is cut off when the server ends is told of an error",
        breaks="M1: a charge that goes on is called failed, and the partner charges again",
        file="gateway/api/errors.py",
        text="        except (Exception, asyncio.CancelledError) as error:",
        becomes="        except Exception as error:",
        tests=(f"{_STOPPED}::test_what_is_not_over_when_the_server_must_end_is_not_told_to_have_failed",),
    ),
)
