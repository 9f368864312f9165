"""Alerts reach people: real servers, webhooks, an Alertmanager, Telegram's service in miniature, and kills."""

from __future__ import annotations

import hmac
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs

import pytest

from alertmanager_server import alertmanager, needs_alertmanager
from hosts import post, send_alert, wait_until
from http_sink import Posted, Sink, sink
from observability.clocks.timestamps import NS_PER_S, parse_iso_ns
from server_process import Server, free_port, run_command
from ws_client import connect, receive

StartServer = Callable[..., Server]


def alerts_file(tmp_path: Path, *routes: str) -> str:
    """Writes a file of alerts; a route is what stands below its name."""
    path = tmp_path / "alerts.toml"
    path.write_text("".join(f'[[route]]\nname = "route{n}"\n{route}\n' for n, route in enumerate(routes, 1)))
    return str(path)


def transitions(posted: Posted) -> list[tuple[str, str, int]]:
    """Returns key, action and occurrence of each alert of a message."""
    return [(alert["key"], alert["action"], alert["occurrence"]) for alert in posted.json()["alerts"]]


def routes_of(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/api/system/notifications")["routes"]
    return found


def test_an_alert_of_a_rule_is_posted_with_its_value_and_signed(start_server: StartServer, tmp_path: Path) -> None:
    with sink() as desk:
        path = alerts_file(tmp_path, f'to = "{desk.url}/hook"\nsecret = "env:HOOK_KEY"')
        Path(path).write_text(
            Path(path).read_text() + '[queue]\nmetric = "metric.queue"\nabove = 100\ntitle = "{value:g} wait"\n'
            'labels = { team = "desk" }\nlinks = { runbook = "https://wiki/{rule}?m={member}" }\n'
        )
        server = start_server("--alerts", path, HOOK_KEY="a key")
        post(server, "/api/ingest", {"type": "metric", "name": "queue", "value": 150, "labels": {"venue": "X"}})
        posted = desk.take()
    (alert,) = posted.json()["alerts"]
    assert (alert["action"], alert["title"], alert["value"], alert["threshold"]) == ("raised", "150 wait", 150, 100)
    assert alert["labels"] == {"team": "desk"}
    assert alert["links"] == {"runbook": "https://wiki/queue?m=venue%3D%22X%22"}
    assert "team desk\nrunbook: https://wiki/queue?m=venue%3D%22X%22" in posted.json()["text"]
    signed = posted.headers["x-observability-timestamp"].encode() + b"." + posted.body
    signature = hmac.new(b"a key", signed, "sha256").hexdigest()
    assert posted.headers["x-observability-signature"] == f"sha256={signature}"
    server.wait_for_log("alert .* raised: 150 wait")


def test_what_was_delivered_is_shown_and_counted(start_server: StartServer, tmp_path: Path) -> None:
    with sink() as desk:
        server = start_server("--alerts", alerts_file(tmp_path, f'to = "{desk.url}"'))
        send_alert(server, "gateway")
        desk.take()
        wait_until(lambda: routes_of(server)[0]["delivered"] == 1)
        (shown,) = server.get("/api/system/notifications")["recent"]
        assert (shown["action"], shown["outcome"], shown["title"]) == ("raised", "delivered", "Alert gateway")
        line = b'notifications_total{outcome="delivered",route="route1"} 1.0'
        assert line in server.get_bytes("/metrics")


def test_a_dead_channel_is_an_alert_on_the_page_and_on_the_other_route(
    start_server: StartServer, tmp_path: Path
) -> None:
    with sink() as desk, sink() as refusing:
        refusing.statuses = [404]
        server = start_server("--alerts", alerts_file(tmp_path, f'to = "{refusing.url}"', f'to = "{desk.url}"'))
        send_alert(server, "gateway")
        keys = {key for _ in range(2) for key, _, _ in transitions(desk.take())}
        assert keys == {"gateway", "observability/notify/route1"}
        assert routes_of(server)[0]["last_error"].startswith("HTTP 404")
        # A message that is taken ends it.
        send_alert(server, "other")
        refusing.take()
        wait_until(lambda: routes_of(server)[0]["state"] == "ok")


def test_what_a_killed_server_had_not_delivered_is_delivered_by_the_next(
    start_server: StartServer, tmp_path: Path
) -> None:
    port = free_port()
    arguments = (
        "--data-dir",
        str(tmp_path / "data"),
        "--alerts",
        alerts_file(tmp_path, f'to = "http://127.0.0.1:{port}"'),
    )
    server = start_server(*arguments)
    send_alert(server, "gateway")
    send_alert(server, "gateway", "resolved")
    send_alert(server, "gateway")
    server.stop(signal.SIGKILL)
    with sink(port) as desk:
        start_server(*arguments)
        found = [transition for _ in range(3) for transition in transitions(desk.take())]
    assert found == [("gateway", "raised", 1), ("gateway", "resolved", 1), ("gateway", "raised", 2)]


def test_every_transition_is_delivered_in_order_over_kills(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = alerts_file(tmp_path, 'to = "env:DESK"')
    sent: dict[str, list[tuple[str, int]]] = {}
    with sink() as desk:
        start = lambda: Server("--data-dir", str(tmp_path / "data"), "--alerts", path, DESK=desk.url)  # noqa: E731
        server = start()
        try:
            for n in range(60):
                key = f"k{n % 6}"
                known = sent.setdefault(key, [])
                is_raised = bool(known) and known[-1][0] == "raised"
                occurrence = known[-1][1] if is_raised else (known[-1][1] if known else 0) + 1
                action = "resolved" if is_raised else "raised"
                desk.statuses = [503] if rng.random() < 0.2 else []
                send_alert(server, key, action)
                known.append((action, occurrence))
                if rng.random() < 0.1:
                    server.stop(signal.SIGKILL)
                    server = start()
            wait_until(lambda: routes_of(server)[0]["pending"] == 0)
        finally:
            server.stop()
        got: dict[str, list[tuple[str, int]]] = {}
        while not desk.posted.empty():
            for key, action, occurrence in transitions(desk.take()):
                got.setdefault(key, []).append((action, occurrence))
    for key, wanted in sent.items():
        # A delivery whose record was lost in a kill is repeated at once, before anything else of that alert.
        deduplicated = [each for n, each in enumerate(got[key]) if n == 0 or got[key][n - 1] != each]
        assert deduplicated == wanted


LOOKING_BACK = """
[fall]
metric = "metric.equity"
change_over = "1s"
below = -5
clear = 5
[errors]
metric = "metric.errors"
above = 5
objective = 50
burn_rate = 0.1
burn_over = "1m"
[beat]
metric = "metric.beat"
absent_for = "1s"
[stuck]
metric = "metric.level"
unchanged_for = "1s"
"""


def test_an_alert_that_looks_back_outlives_a_kill_once_and_ends_once(start_server: StartServer, tmp_path: Path) -> None:
    with sink() as desk:
        path = Path(alerts_file(tmp_path, f'to = "{desk.url}"'))
        path.write_text(path.read_text() + LOOKING_BACK)
        arguments = ("--data-dir", str(tmp_path / "data"), "--alerts", str(path))
        server = start_server(*arguments)
        told: list[tuple[str, str, int]] = []

        keys = {"fall", "errors", "beat", "stuck"}

        def hear(action: str) -> None:
            """Waits until the first occurrence of each alert was raised or resolved."""
            while {key for key, done, occurrence in told if (done, occurrence) == (action, 1)} != keys:
                told.extend(transitions(desk.take()))

        def has_beaten() -> bool:
            """Sends a beat; returns whether one was seen in time, which a busy machine may be too late for."""
            send(beat=1)
            (alert,) = (each for each in server.get("/api/system/alerts")["alerts"] if each["key"] == "beat")
            return bool(alert["occurrence"] > 1 or alert["resolved"])

        def send(**values: float) -> None:
            post(server, "/api/ingest", [{"type": "metric", "name": n, "value": v} for n, v in values.items()])

        send(equity=100, errors=9, beat=1, level=1)
        wait_until(lambda: is_known(server, "fall"))
        send(equity=90, errors=9)
        hear("raised")
        server.stop(signal.SIGKILL)
        server = start_server(*arguments)
        # None of these says that something is over: the new process has not seen the windows.
        wait_until(lambda: (members := rule(server, "beat")["members"]) and (members[0]["value"] or 0) > 1)
        raised = server.get("/api/system/alerts?state=active")["alerts"]
        assert {(alert["key"], alert["occurrence"]) for alert in raised} == {(key, 1) for key in keys}
        send(equity=90, errors=1, level=1)
        wait_until(lambda: is_known(server, "fall"))
        send(equity=100, level=2)
        wait_until(has_beaten)
        hear("resolved")
        for key in keys:
            of_one = [action for known, action, occurrence in told if known == key and occurrence == 1]
            assert of_one[0] == "raised"
            assert "raised" not in of_one[of_one.index("resolved") :]


def rule(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (each for each in server.get("/api/system/alerts/rules")["rules"] if each["rule"] == name)
    return found


def is_known(server: Server, name: str) -> bool:
    """Returns whether a rule has a member, and a value to compare."""
    found = rule(server, name)
    return bool(found["n_members"]) and found["waiting"] is None


def test_a_raised_alert_is_in_the_log_on_the_lane_and_in_telegram(start_server: StartServer, tmp_path: Path) -> None:
    certificate = certify("api.telegram.org", tmp_path)
    path = Path(alerts_file(tmp_path, 'to = "env:TELEGRAM"'))
    path.write_text(path.read_text() + '[queue]\nmetric = "metric.queue"\nabove = 100\ntitle = "{value:g} wait"\n')
    with sink() as telegram, TlsProxy(telegram, certificate) as proxy:
        server = start_server(
            "--alerts", str(path), "--data-dir", str(tmp_path / "data"),
            TELEGRAM="tgram://123456789:abcdefg_hijklmnop/12315544/", REQUESTS_CA_BUNDLE=str(certificate),
            HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}", https_proxy=f"http://127.0.0.1:{proxy.port}",
        )  # fmt: skip
        with connect(f"{server.websocket_url}?channels=alerts&lane_since=0") as lane:
            post(server, "/api/ingest", {"type": "metric", "name": "queue", "value": 150})
            raised = receive(lane, "alert")
            on_lane = time.time()
        posted = telegram.take()
        in_telegram = time.time()
    server.wait_for_log(f"alert {raised['alert_id']} .* raised: 150 wait")
    assert (raised["title"], raised["value"]) == ("150 wait", 150)
    assert "150 wait" in posted.body.decode()
    # By the host's clock, since the tick that raised it; `pytest -rP` shows it.
    tick = parse_iso_ns(raised["first_seen"]) / NS_PER_S
    sys.stdout.write(f"on the lane after {on_lane - tick:.3f} s, in Telegram after {in_telegram - tick:.3f} s\n")


@needs_alertmanager
def test_alertmanager_has_an_alert_while_it_is_raised(start_server: StartServer, tmp_path: Path) -> None:
    with alertmanager(tmp_path) as manager:
        server = start_server("--alerts", alerts_file(tmp_path, f'to = "alertmanager://{manager.address}"'))
        links = {"run-book": "https://wiki/gateway"}
        send_alert(server, "gateway", labels={"team": "desk", "severity": "x"}, links=links)
        (alert,) = wait_until(manager.alerts)
        assert alert["annotations"]["run_book"] == alert["generatorURL"] == "https://wiki/gateway"
        assert alert["labels"] == {
            "team": "desk",
            "alertname": "gateway",
            "severity": "critical",
            "alert_id": server.get("/api/system/alerts")["alerts"][0]["alert_id"],
        }
        assert alert["annotations"]["summary"] == "Alert gateway"
        send_alert(server, "gateway", "resolved")
        wait_until(lambda: not manager.alerts())


@needs_alertmanager
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_an_alertmanager_sends_is_an_alert_until_it_is_resolved(
    workers: str, start_server: StartServer, tmp_path: Path
) -> None:
    # Without rules there are no other alerts.
    server = start_server("--workers", workers, "--alerts", alerts_file(tmp_path))
    with alertmanager(tmp_path, server.url("/api/alertmanager/webhook")) as manager:
        labels = {"alertname": "HighLatency", "severity": "critical", "instance": "db-1"}
        annotations = {"summary": "Latency is high", "runbook_url": "https://wiki/latency"}
        sent = {"labels": labels, "annotations": annotations, "startsAt": "2024-03-01T10:00:00Z"}
        manager.send(sent)
        (alert,) = wait_until(lambda: server.get("/api/system/alerts")["alerts"])
        (known,) = manager.alerts()
        assert alert["key"] == known["fingerprint"]
        assert (alert["severity"], alert["title"]) == ("critical", "Latency is high")
        assert (alert["labels"], alert["links"]) == (labels, {"runbook": "https://wiki/latency"})
        assert alert["first_seen"] == "2024-03-01T10:00:00.000Z"
        post(server, f"/api/system/alerts/acknowledge/{alert['alert_id']}?author=ana", None)
        # Another member of the group makes Alertmanager send both.
        manager.send(sent, {**sent, "labels": {**labels, "instance": "db-2"}})
        both = wait_until(lambda: (found := server.get("/api/system/alerts")["alerts"])[1:] and found)
        assert {each["labels"]["instance"]: each["state"] for each in both} == {
            "db-1": "acknowledged", "db-2": "active"
        }  # fmt: skip
        manager.send({**sent, "endsAt": "2024-03-01T10:05:00Z"})
        resolved = wait_until(lambda: server.get("/api/system/alerts?state=resolved")["alerts"])
        assert [each["labels"]["instance"] for each in resolved] == ["db-1"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_silence_outlives_a_kill_and_ends_when_it_is_told(
    workers: str, start_server: StartServer, tmp_path: Path
) -> None:
    with sink() as desk:
        arguments = ("--workers", workers, "--data-dir", str(tmp_path / "data"))
        arguments += ("--alerts", alerts_file(tmp_path, f'to = "{desk.url}"'))
        server = start_server(*arguments)
        wanted = {"rules": ["gate*"], "duration": "4h", "author": "ana", "comment": "maintenance"}
        added = post(server, "/api/system/silences", wanted)
        assert (added["author"], added["comment"], added["rules"]) == ("ana", "maintenance", ["gate*"])
        send_alert(server, "gateway")
        send_alert(server, "other")
        assert transitions(desk.take()) == [("other", "raised", 1)]
        server.stop(signal.SIGKILL)
        server = start_server(*arguments)
        (shown,) = wait_until(lambda: server.get("/api/system/silences")["silences"])
        assert shown == added
        ended = urllib.request.Request(server.url(f"/api/system/silences/{added['silence_id']}"), method="DELETE")
        with urllib.request.urlopen(ended) as answer:
            assert answer.status == 200
        # What was delivered right before the kill may come again.
        while (found := transitions(desk.take())) == [("other", "raised", 1)]:
            pass
        assert found == [("gateway", "unsilenced", 1)]


def test_an_acknowledgement_says_whose_it_is(start_server: StartServer) -> None:
    server = start_server()
    send_alert(server, "gateway")
    (alert,) = wait_until(lambda: server.get("/api/system/alerts")["alerts"])
    path = f"/api/system/alerts/acknowledge/{alert['alert_id']}?author=ana&comment=on%20it"
    done = post(server, path, None)
    assert (done["acknowledged_by"], done["comment"], done["state"]) == ("ana", "on it", "acknowledged")


def test_telegram_is_asked_as_its_service_expects(start_server: StartServer, tmp_path: Path) -> None:
    certificate = certify("api.telegram.org", tmp_path)
    with sink() as telegram, TlsProxy(telegram, certificate) as proxy:
        url = "tgram://123456789:abcdefg_hijklmnop/12315544/"
        server = start_server(
            "--alerts", alerts_file(tmp_path, 'to = "env:TELEGRAM"'), TELEGRAM=url,
            REQUESTS_CA_BUNDLE=str(certificate), HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}", https_proxy=f"http://127.0.0.1:{proxy.port}",
        )  # fmt: skip
        send_alert(server, "gateway")
        posted = telegram.take()
        assert proxy.targets == ["api.telegram.org:443"]
    assert posted.path == "/bot123456789:abcdefg_hijklmnop/sendMessage"
    message = posted.json() if posted.body.startswith(b"{") else parse_qs(posted.body.decode())
    assert "Alert gateway" in str(message["text"])
    assert "hijklmnop" not in "\n".join(server.log)


def test_a_route_can_be_tested_before_it_is_needed(tmp_path: Path) -> None:
    with sink() as desk:
        path = alerts_file(tmp_path, f'to = "{desk.url}"', 'to = "http://127.0.0.1:1/"')
        listed = run_command("notify", "--alerts", path)
        assert f"http://127.0.0.1:{desk.port}" in listed.stdout
        tested = run_command("notify", "--alerts", path, "--test", "route1")
        assert (tested.returncode, desk.take().json()["title"]) == (0, "[TEST INFO] This is a test of notifications")
        failed = run_command("notify", "--alerts", path, "--test", "route2")
        assert failed.returncode == 1
        assert "did not deliver" in failed.stderr
        unknown = run_command("notify", "--alerts", path, "--test", "desk")
        assert unknown.returncode == 2
        assert "expected one of: route1, route2" in unknown.stderr


def test_check_says_which_routes_there_are(tmp_path: Path) -> None:
    path = alerts_file(tmp_path, 'to = "https://hooks.example.com/services/secret"')
    checked = run_command("check", "--alerts", path)
    assert "routes: route1 (https://hooks.example.com)" in checked.stdout
    assert "secret" not in checked.stdout


def test_the_alerts_of_a_replay_are_delivered_to_nobody(start_server: StartServer, tmp_path: Path) -> None:
    recording = tmp_path / "events.jsonl"
    recording.write_text('{"type":"alert","severity":"critical","title":"Old","ts":1700000000000000000}\n')
    with sink() as desk:
        server = start_server("--alerts", alerts_file(tmp_path, f'to = "{desk.url}"'), "--replay", str(recording))
        server.wait_for_log("the alerts of a replay are delivered to nobody")
        server.wait_for_log("alert .* raised: Old")
        assert routes_of(server) == []
        assert desk.posted.empty()


def certify(name: str, directory: Path) -> Path:
    """Returns a file with a certificate of a host, and its key."""
    path = directory / "host.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}", "-keyout", path, "-out", directory / "host.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + (directory / "host.crt").read_bytes())
    return path


class TlsProxy:
    """A proxy of HTTP that takes every target of CONNECT for the sink, over TLS."""

    def __init__(self, service: Sink, certificate: Path) -> None:
        self.targets: list[str] = []
        self._service = service
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> TlsProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError, URLError):
                with connection.makefile("rb", buffering=0) as request:
                    head = list(iter(lambda: request.readline().strip(), b""))
                if not head:
                    continue
                self.targets.append(head[0].split()[1].decode())
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                self._service.serve_over(connection, self._context)
