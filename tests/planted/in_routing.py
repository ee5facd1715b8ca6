"""Mistakes where a charge is routed: going on where money may have moved, and where nothing can come of it."""

from __future__ import annotations

from tests.planted.bug import Bug

_ANOTHER_WAY = "tests/acceptance/test_a_charge_finds_another_way.py"

BUGS = (
    Bug(
        name="a charge goes on at another provider after a hard decline",
        breaks="L1: a stolen card is tried at every provider",
        file="gateway/routing/decisions.py",
        text="            return outcome.may_fail_over",
        becomes="            return True",
        tests=(f"{_ANOTHER_WAY}::test_a_soft_decline_goes_on_and_a_hard_one_is_final",),
    ),
    Bug(
        name="an unknown outcome is taken for a decline and goes on at another provider",
        breaks="M1: the customer is charged at two providers",
        file="gateway/transactions/charge.py",
        text="    outcome = await sending.send(chosen.adapter, begun.attempt, within=within)",
        becomes="    outcome = await sending.send(chosen.adapter, begun.attempt, within=within)\n"
        "    if isinstance(outcome, contract.Unknown):\n"
        "        outcome = contract.NotSent(reason=contract.NotSentReason.UNAVAILABLE)",
        tests=(f"{_ANOTHER_WAY}::test_an_unknown_outcome_never_goes_on",),
    ),
    Bug(
        name="a token is tried at another account of its provider",
        breaks="L1: a payment that may be tried again is refused for good",
        file="gateway/transactions/charge.py",
        text="    spent = {attempt.provider for attempt in begun.attempts} & plan.payment.tokens",
        becomes="    spent: set[str] = set()",
        tests=(f"{_ANOTHER_WAY}::test_a_token_is_never_tried_at_another_account_of_its_provider",),
    ),
    Bug(
        name="the partner's key stays with the attempt that is over",
        breaks="A2: a repeat is told nothing of the attempt that the charge went on with",
        file="gateway/transactions/journal.py",
        text='        step["handed_on"] = {',
        becomes='        step["kept"] = {',
        tests=(f"{_ANOTHER_WAY}::test_a_key_is_answered_by_the_attempt_that_its_charge_went_on_with",),
    ),
    Bug(
        name="a key is given back although one provider was asked",
        breaks="A2: the same key charges once more",
        file="gateway/transactions/conclusions.py",
        text="one.state is AttemptState.FAILED_NOT_SENT for one in",
        becomes="one.state is not AttemptState.SUCCEEDED for one in",
        tests=(f"{_ANOTHER_WAY}::test_declined_here_and_unreachable_there_is_a_lasting_failure",),
    ),
    Bug(
        name="a failover does not look whether the attempt is still ours",
        breaks="M1: a worker that woke up late charges at a second provider",
        file="gateway/transactions/journal.py",
        text='    step["guard"] = _guard(snapshot)\n    step["attempts"][1]',
        becomes='    step["attempts"][1]',
        tests=("tests/integration/test_journal.py::test_who_wakes_up_after_its_lease_goes_on_nowhere",),
    ),
    Bug(
        name="a decline counts as an outage",
        breaks="L1: a wave of bad cards takes a provider away from everybody",
        file="gateway/routing/breaker.py",
        text="    return isinstance(outcome, NotSent | Unknown) or seconds > SLOW_SECONDS",
        becomes='    return type(outcome).__name__ in {"NotSent", "Unknown", "Declined"} or seconds > SLOW_SECONDS',
        tests=(f"{_ANOTHER_WAY}::test_a_wave_of_declines_opens_nothing",),
    ),
)
