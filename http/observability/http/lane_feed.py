"""What goes into the lanes: our trades as they are accounted for, alerts with each of their transitions.

No clients here (see `lanes.py`).
"""

from __future__ import annotations

from observability.core.frames import Frame
from observability.http.lanes import Lane
from observability.metrics.alerts import Action, AlertState, transition_document
from observability.metrics.overview import Collectors


class LaneFeed:
    """Fills both lanes. Trades are taken over on the tick, when every collector has had its part in them."""

    def __init__(self, collectors: Collectors) -> None:
        self.lanes = {"trades": Lane("trade"), "alerts": Lane("alert")}
        self._trades = collectors.execution.trades
        collectors.system.on_transition(self.on_transition)

    def on_frame(self, frame: Frame) -> None:
        lane = self.lanes["trades"]
        for trade in self._trades.newer_than(lane.seq):
            lane.append(trade.seq, trade.symbol, trade.to_json())

    def on_transition(self, state: AlertState, action: Action) -> None:
        lane = self.lanes["alerts"]
        lane.append(lane.seq + 1, None, transition_document(state, action))
