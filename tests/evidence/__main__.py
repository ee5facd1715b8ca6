"""Write docs/routing-evidence.md anew: python -m tests.evidence. The same seeds give the same page.

What it claims is held by tests/evidence/test_claims.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from tests.evidence.claims import BLOCK, DRAFTS, MARKETS, Learned, held, learned

PAGE = Path(__file__).resolve().parents[2] / "docs" / "routing-evidence.md"
SEEDS, PAYMENTS = 20, 12_000
RUNS, RECORDED = 600, 1_000
SCALE = 40
BARS = "▁▂▃▄▅▆▇█"


def main() -> None:
    PAGE.write_text("\n".join([*_learning(), *_foretelling()]) + "\n", encoding="utf-8")


def _learning() -> Iterator[str]:
    yield HEAD.format(seeds=SEEDS, payments=PAYMENTS, block=BLOCK)
    yield "| market | share at the better account | lost, adaptive | worst run | lost, priority |"
    yield "| --- | --- | --- | --- | --- |"
    runs = {name: [learned(market, seed, PAYMENTS) for seed in range(SEEDS)] for name, market in MARKETS.items()}
    for name, found in runs.items():
        lost = [run.regret[-1] for run in found]
        best = _average(run.best for run in found)
        bars = "".join(BARS[round(share * (len(BARS) - 1))] for share in best)
        priority = mean(run.priority_regret for run in found)
        cells = (name, f"`{bars}` {best[0]:.0%} → {best[-1]:.0%}", f"{mean(lost):.0f}", f"{max(lost):.0f}")
        yield f"| {' | '.join(cells)} | {priority:.0f} |"
    yield from _chart(runs[next(iter(MARKETS))])


def _chart(runs: list[Learned]) -> Iterator[str]:
    regret = _average(run.regret for run in runs)
    yield CHART
    yield "```"
    for number, lost in enumerate(regret, 1):
        priority = mean(run.priority_regret for run in runs) * number / len(regret)
        learned_bar, priority_bar = "█" * math.ceil(lost / SCALE), "░" * math.ceil(priority / SCALE)
        yield f"{number * BLOCK:>7,}   {lost:5.0f} {learned_bar:<3} {priority:5.0f} {priority_bar}"
    yield "```"


def _foretelling() -> Iterator[str]:
    yield FORETOLD.format(runs=RUNS, recorded=RECORDED)
    yield "| draft | inside its interval | mean width | mean error |"
    yield "| --- | --- | --- | --- |"
    for name, draft in DRAFTS.items():
        found = [held(draft, seed, RECORDED) for seed in range(RUNS)]
        inside = sum(one.inside for one in found)
        width = mean(one.high - one.low for one in found)
        error = mean(one.came - one.expected for one in found)
        yield f"| {name} | {inside} of {RUNS} ({inside / RUNS:.1%}) | {width:.3f} | {error:+.4f} |"
    yield TAIL


def _average(rows: object) -> list[float]:
    assert isinstance(rows, Iterator)
    return [mean(column) for column in zip(*rows, strict=True)]


HEAD = """\
# Evidence that routing learns

    python -m tests.evidence        # writes this page anew: same seeds, same figures

Accounts approve at planted rates; the decisions and what they learn are the gateway's own. `test_claims.py` beside that
script holds the claims on every test run. Why it works so: decisions
[0019](decisions/0019-learning-forgets.md) and [0020](decisions/0020-backtest.md).

## Traffic moves to the better account

{seeds} runs of {payments:,} payments, one a minute, on two accounts. The first has priority, so without learning it
takes all. *Lost* are approvals given away against always asking the better account. A bar is {block:,} payments.
"""

CHART = """
Approvals lost so far in the first market, on average: learned (█), and by fixed priority (░, right).
"""

FORETOLD = """
## What the backtest foretells comes

The past: {recorded:,} payments, four fifths at one account, one fifth at the other, two brands at which the accounts
differ. The future: as many new ones of the same market under the draft. {runs} runs each, of which 95 % should fall
inside, give or take 2 % of chance.
"""

TAIL = """
## What this does not show

- Rates here depend on the account and the brand only. Where accounts get different customers (a rule sent them the
  difficult ones), moved payments do not do as the account's own did, and no interval covers that. Run the draft as a
  split first.
- The size of each segment is taken as given. A future with other customers has another total.
- A backtest of an adaptive rule learns from the verdicts that the past brought, at accounts that the past chose: it is
  slower to find what the past hardly tried."""


if __name__ == "__main__":
    main()
