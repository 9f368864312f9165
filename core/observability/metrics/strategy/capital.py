"""The starting capital of the account as a whole and of each strategy: configured, or reported by the engine."""

from __future__ import annotations

from decimal import Decimal

from observability.metrics.arithmetic.decimals import EXACT, exact_sum

NO_CAPITAL = "no starting capital is known"


class Capital:
    """The configured capital, and what `equity` events report: the first one the capital, later ones the equity as the
    engine sees it."""

    __slots__ = ("_max_names", "_setting", "known", "reported")

    def __init__(self, setting: Decimal | None, max_names: int) -> None:
        self._setting = setting
        self._max_names = max_names
        self.known: dict[str, Decimal] = {}
        """Reported capital by strategy; the account's is under the empty name."""
        self.reported: dict[str, Decimal] = {}
        """The equity in the newest of the later reports, by strategy."""

    @property
    def of_account(self) -> Decimal | None:
        """The configured capital, else the one reported for the account, else the sum of the strategies', else None."""
        if self._setting is not None:
            return self._setting
        if "" in self.known:
            return self.known[""]
        return exact_sum(self.known.values()) if self.known else None

    def of(self, strategy: str) -> Decimal | None:
        """Returns the capital reported for one strategy. The account's capital is never divided among strategies: that
        would be a guess."""
        return self.known.get(strategy)

    def is_open(self, name: str) -> bool:
        """Returns whether the next report for `name` determines its capital."""
        if name in self.known or (not name and self._setting is not None):
            return False
        return len(self.known) <= self._max_names

    def report(self, name: str, equity: Decimal, earned: Decimal) -> bool:
        """Adds a report of equity. If it is the first, the capital is that equity minus what was `earned` and paid in
        by then. Returns False if there is no room for a further strategy."""
        if self.is_open(name):
            self.known[name] = EXACT.subtract(equity, earned)
        elif name in self.known or not name:
            self.reported[name] = equity
        else:
            return False
        return True
