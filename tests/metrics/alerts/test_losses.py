"""Losses: each is an alert and degrades the health, until someone has seen it."""

from __future__ import annotations

from observability.metrics.alerts.book import AlertBook
from observability.metrics.alerts.losses import PAUSE_NS, Loss, Losses

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z


class Scene:
    """Losses of one kind, whose number a test sets."""

    def __init__(self, max_alerts: int = 100) -> None:
        self.count = 0
        self.book = AlertBook(max_alerts)
        self.raised: list[tuple[str, str]] = []
        self.book.add_transition_listener(lambda state, action: self.raised.append((action, state.detail)))
        self.losses = self.restarted()

    def restarted(self) -> Losses:
        losses = Losses(self.book)
        losses.add(Loss("fills", lambda: self.count, "Fills are lost", "{count} so far", "critical"))
        return losses

    def check(self, count: int, at_ns: int = 0) -> list[str]:
        """Returns why the health is degraded."""
        self.count = count
        self.losses.check(NOON + at_ns)
        return list(self.losses.reasons())

    @property
    def alert_id(self) -> str:
        (loss,) = self.losses
        return loss.alert_id


def test_without_a_loss_there_is_no_alert() -> None:
    scene = Scene()
    assert (scene.check(0), scene.raised) == ([], [])


def test_a_loss_raises_an_alert_and_degrades_the_health() -> None:
    scene = Scene()
    assert scene.check(3) == ["Fills are lost"]
    assert scene.raised == [("raised", "3 so far")]
    (alert,) = scene.book.active()
    assert (alert.key, alert.severity) == ("observability/fills", "critical")


def test_a_growing_loss_raises_its_alert_at_a_bounded_rate() -> None:
    scene = Scene()
    for second in range(0, 120, 1):
        scene.check(second + 1, second * 1_000_000_000)
    assert scene.raised == [("raised", "1 so far"), ("raised", "61 so far")]
    scene.check(200, 2 * PAUSE_NS)
    assert scene.raised[-1] == ("raised", "200 so far")


def test_an_acknowledged_loss_degrades_the_health_again_when_it_grows() -> None:
    scene = Scene()
    scene.check(1)
    scene.book.acknowledge(scene.alert_id, NOON)
    assert scene.check(1, 10) == []
    assert scene.check(2, PAUSE_NS) == ["Fills are lost"]


def test_a_loss_that_is_over_resolves_its_alert() -> None:
    scene = Scene()
    scene.check(1)
    assert scene.check(0, 10) == []
    assert [action for action, _ in scene.raised] == ["raised", "resolved"]


def test_a_restart_raises_no_loss_a_second_time() -> None:
    scene = Scene()
    scene.check(1)
    state = scene.losses.to_state()
    scene.losses = scene.restarted()
    scene.losses.load_state(state)
    assert scene.check(1, 10) == ["Fills are lost"]
    assert len(scene.raised) == 1


def test_a_loss_whose_alert_was_displaced_still_degrades_the_health() -> None:
    scene = Scene(max_alerts=1)
    scene.check(1)
    (alert,) = scene.losses
    scene.book.note(Loss("other", lambda: 1, "Other", "").alert(1, NOON))
    assert scene.book.get(alert.alert_id) is None
    assert scene.check(1, 10) == ["Fills are lost"]
