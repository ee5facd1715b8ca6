"""Mistakes where providers speak: what a failed exchange proves, what an answer is worth, how an amount is spelled."""

from __future__ import annotations

from tests.planted.bug import Bug

_HTTP = "tests/providers/test_http.py"
_STRIPE = "tests/unit/test_stripe_answers.py"
_ADYEN = "tests/unit/test_adyen_answers.py"
_PAYPAL = "tests/unit/test_paypal_answers.py"
_CURRENCY = "tests/unit/test_currency.py"
_LOST_ANSWER = (
    "tests/providers/test_contract.py::TestTheNetwork"
    "::test_an_answer_lost_or_unbelievable_is_unknown_and_resending_never_charges_twice"
)

BUGS = (
    # ── The doorway ──
    Bug(
        name="a connection lost after sending is read as a failure to connect",
        breaks="M1: a charge that was made is called not sent",
        file="providers/http.py",
        text="raise httpx.ReadError(str(error), request=request)",
        becomes="raise httpx.ConnectError(str(error), request=request)",
        tests=(f"{_HTTP}::TestItMayHaveBeenExecuted::test_when_no_whole_answer_comes",),
    ),
    Bug(
        name="silence until the deadline is read as not sent",
        breaks="M1: a PSP that is only slow has taken the money of what is called failed",
        file="providers/http.py",
        text="_NEVER_SENT = (httpx.ConnectError,",
        becomes="_NEVER_SENT = (TimeoutError, httpx.ConnectError,",
        tests=(f"{_HTTP}::TestItMayHaveBeenExecuted::test_when_the_deadline_passes",),
    ),
    Bug(
        name="the doorway repeats a POST whose connection broke",
        breaks="M1: what was executed is executed again, whatever its key",
        file="providers/http.py",
        text="-> httpx.Response:\n        response = await self._transport.handle_async_request(request)\n",
        becomes="""\
-> httpx.Response:
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.ReadError:
            response = await self._transport.handle_async_request(request)
""",
        tests=(
            f"{_HTTP}::TestItMayHaveBeenExecuted::test_when_a_kept_connection_turns_out_dead_the_post_is_not_repeated",
        ),
    ),
    Bug(
        name="redirects of a PSP are followed",
        breaks="S1: credentials and a charge go where an answer says",
        file="providers/http.py",
        text="allow_redirects=False",
        becomes="allow_redirects=True",
        tests=(f"{_HTTP}::TestTheAnswer",),
    ),
    # ── What an answer proves ──
    Bug(
        name="no answer of Stripe is read as not sent",
        breaks="M1: a charge that was made is called failed, and the partner charges again",
        file="providers/stripe.py",
        text='return contract.Unknown(reason="no_answer", trace=',
        becomes="return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=",
        tests=(_LOST_ANSWER,),
    ),
    Bug(
        name="no answer of Adyen is read as not sent",
        breaks="M1: a charge that was made is called failed, and the partner charges again",
        file="providers/adyen.py",
        text='return contract.Unknown(reason="no_answer", trace=',
        becomes="return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=",
        tests=(_LOST_ANSWER,),
    ),
    Bug(
        name="no answer of PayPal is read as not sent",
        breaks="M1: a charge that was made is called failed, and the partner charges again",
        file="providers/paypal.py",
        text='return contract.Unknown(reason="no_answer", trace=',
        becomes="return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=",
        tests=(_LOST_ANSWER,),
    ),
    Bug(
        name="a server error of Stripe is taken for proof that nothing happened",
        breaks="M1: a charge that was made before the error is called failed",
        file="providers/stripe_answers.py",
        text="        case 401 | 403:\n",
        becomes="        case 401 | 403 | 500 | 503:\n",
        tests=(_STRIPE,),
    ),
    Bug(
        name="a server error of Adyen is taken for a refusal",
        breaks="M1: a charge that was made before the error is called failed",
        file="providers/adyen_answers.py",
        text="_INVALID = frozenset({400, 404, 422})",
        becomes="_INVALID = frozenset({400, 404, 422, 500})",
        tests=(_ADYEN,),
    ),
    Bug(
        name="a request that PayPal still works on is taken for a refusal",
        breaks="M1: a charge under way is called failed",
        file="providers/paypal_answers.py",
        text="        case 400 | 404 if text(",
        becomes="        case 400 | 404 | 409 if text(",
        tests=(_PAYPAL,),
    ),
    Bug(
        name="a key that Stripe knows from another request is taken for a refusal",
        breaks="M1: what the first request did is never looked for",
        file="providers/stripe_answers.py",
        text='contract.Unknown(reason="key_conflict", trace=trace)',
        becomes="contract.NotSent(reason=NotSentReason.UNAVAILABLE, trace=trace)",
        tests=(_STRIPE,),
    ),
    Bug(
        name="Stripe's answer with another amount is believed",
        breaks="M4: we book what the PSP did not take",
        file="providers/stripe_answers.py",
        text='        return "amount_mismatch"\n',
        becomes="        return None\n",
        tests=(_STRIPE,),
    ),
    Bug(
        name="Adyen's answer with another amount is believed",
        breaks="M4: we book what the PSP did not take",
        file="providers/adyen_answers.py",
        text='        return "amount_mismatch"\n',
        becomes="        return None\n",
        tests=(_ADYEN,),
    ),
    Bug(
        name="PayPal's answer with another amount is believed",
        breaks="M4: we book what the PSP did not take",
        file="providers/paypal_outcomes.py",
        text='        return "amount_mismatch"\n',
        becomes="        return None\n",
        tests=(_PAYPAL,),
    ),
    Bug(
        name="Stripe's answer in another currency is believed",
        breaks="M4: we book dollars where yen were taken",
        file="providers/stripe_answers.py",
        text='    return None if text(thing, "currency") == prepared.currency.lower() else "currency_mismatch"',
        becomes="    return None",
        tests=(_STRIPE,),
    ),
    Bug(
        name="another charge's payment is taken for ours",
        breaks="M4: one payment at Stripe completes two of our transactions",
        file="providers/stripe_answers.py",
        text='    elif not _is_ours(thing, prepared):\n        return "reference_mismatch"\n',
        becomes="",
        tests=(_STRIPE,),
    ),
    Bug(
        name="what a look-up does not find is taken for refused",
        breaks="M1: a charge that arrives late was called failed",
        file="providers/stripe_answers.py",
        text="if last_id else contract.Absent(trace=trace)",
        becomes='if last_id else _refused("not_found", "There is none.", None, trace)',
        tests=(_STRIPE,),
    ),
    Bug(
        name="a look-up reads the first page only",
        breaks="M1: a payment on the second page is not found",
        file="providers/stripe_answers.py",
        text='    return text(things[-1], "id") if things and page.get("has_more") is True else None',
        becomes="    return None",
        tests=(_STRIPE,),
    ),
    Bug(
        name="a request may be resent at another of Adyen's endpoints",
        breaks="M1: each region keeps its own keys, so the request is executed again",
        file="providers/adyen.py",
        text='        if not url.startswith(f"{self.account.endpoint}/"):',
        becomes='        if not url.startswith("http"):',
        tests=("tests/unit/test_adyen_requests.py",),
    ),
    # ── Amounts ──
    Bug(
        name="an amount goes through a float",
        breaks="M4: 19.99 becomes 1998 cents",
        file="providers/currency.py",
        text="        return int(amount.scaleb(self.exponent(currency)))",
        becomes="        return int(float(amount) * 10 ** self.exponent(currency))",
        tests=(_CURRENCY,),
    ),
    Bug(
        name="Stripe is told Icelandic krónur as ISO 4217 has them",
        breaks="M4: a hundredth of the amount is taken",
        file="providers/currency.py",
        text='exponents={"ISK": 2, "MGA": 0}',
        becomes='exponents={"MGA": 0}',
        tests=(_CURRENCY,),
    ),
    Bug(
        name="a fraction that a PSP cannot take is cut off",
        breaks="M4: the payer pays another amount than agreed",
        file="providers/currency.py",
        text="            representable = amount > 0 and not amount % self.smallest(currency)",
        becomes="            representable = amount > 0",
        tests=(_CURRENCY,),
    ),
    # ── Notifications ──
    Bug(
        name="a notification of Stripe's is taken without its signature",
        breaks="T1: anybody can complete a payment",
        file="providers/stripe_events.py",
        text='    if not any(matches):\n        raise contract.Forged("no signature fits")\n',
        becomes="",
        tests=("tests/unit/test_stripe_events.py",),
    ),
    Bug(
        name="an old notification of Stripe's can be sent again",
        breaks="E3: who recorded one can replay it",
        file="providers/stripe_events.py",
        text="    if abs(now - int(signed_at)) > WINDOW_SECONDS:",
        becomes="    if int(signed_at) - now > WINDOW_SECONDS:",
        tests=("tests/unit/test_stripe_events.py",),
    ),
)
