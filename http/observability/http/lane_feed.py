"""What goes into the lanes: our trades as they are accounted for, alerts as they are raised and acknowledged.

No clients here (see `lanes.py`).
"""

from __future__ import annotations

from observability.core.bus import Bus
from observability.core.events import Alert
from observability.core.frames import Frame
from observability.http.lanes import Lane
from observability.metrics.alerts import AlertState, alert_id
from observability.metrics.overview import Collectors


class LaneFeed:
    """Fills both lanes. Trades are taken over on the tick, when every collector has had its part in them."""

    def __init__(self, collectors: Collectors) -> None:
        self.lanes = {"trades": Lane("trade"), "alerts": Lane("alert")}
        self._trades = collectors.execution.trades
        self._system = collectors.system

    def start(self, bus: Bus) -> None:
        """Subscribes to alerts; to be called after the collectors have, whose state of an alert is what is sent."""
        bus.subscribe(Alert, self.on_alert)

    def on_frame(self, frame: Frame) -> None:
        lane = self.lanes["trades"]
        for trade in self._trades.newer_than(lane.seq):
            lane.append(trade.seq, trade.symbol, trade.to_json())

    def on_alert(self, event: Alert) -> None:
        state = self._system.alert(alert_id(event))
        if state is not None:
            self._append(state, "raised")

    def on_acknowledged(self, state: AlertState) -> None:
        self._append(state, "acknowledged")

    def _append(self, state: AlertState, action: str) -> None:
        document = state.to_json()
        lane = self.lanes["alerts"]
        lane.append(lane.seq + 1, None, {"action": action, "timestamp": document["last_seen"], **document})
