"""The starting capital: of the account as a whole and of each strategy, set or reported.

No P&L is computed here; whoever takes a report brings what was earned by then.
"""

from __future__ import annotations

from decimal import Decimal

from observability.metrics.arithmetic.decimals import EXACT, exact_sum

NO_CAPITAL = "no starting capital is known"


class Capital:
    """Keeps what was set, and what `equity` events told: the first the capital, later ones the engine's own view."""

    __slots__ = ("_max_names", "_setting", "known", "reported")

    def __init__(self, setting: Decimal | None, max_names: int) -> None:
        self._setting = setting
        self._max_names = max_names
        self.known: dict[str, Decimal] = {}
        """As first reported, by strategy; the account's is under the empty name."""
        self.reported: dict[str, Decimal] = {}
        """Equity in the newest of the later reports."""

    @property
    def of_account(self) -> Decimal | None:
        """What was set, else what was reported for the account, else the sum of what strategies reported, else None."""
        if self._setting is not None:
            return self._setting
        if "" in self.known:
            return self.known[""]
        return exact_sum(self.known.values()) if self.known else None

    def of(self, strategy: str) -> Decimal | None:
        """What was reported for one strategy; an account's capital is not divided among its strategies by guess."""
        return self.known.get(strategy)

    def is_open(self, name: str) -> bool:
        """Whether the next report for `name` tells its capital."""
        if name in self.known or (not name and self._setting is not None):
            return False
        return len(self.known) <= self._max_names

    def report(self, name: str, equity: Decimal, earned: Decimal) -> None:
        """Takes one report of equity; the capital is that equity less what was `earned` by then."""
        if self.is_open(name):
            self.known[name] = EXACT.subtract(equity, earned)
        elif name in self.known or not name:
            self.reported[name] = equity
