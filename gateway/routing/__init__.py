"""Where a charge goes: rules, health and experience choose among the accounts that can take it.

Everything decides from values (`decisions`, `rules`, `breaker`, `learning`, `backtest`); `switchboard` keeps those
values fresh in each process and tells the others what this one saw. `rulebook` is where partners' rules are written.
"""
