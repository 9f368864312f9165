"""The routes of a file of alerts: what it may say, and what its faults are."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.errors import ConfigError
from observability.notify.channels import open_channel
from observability.notify.route_file import load_alert_file, load_routes, unmatched_patterns

ROUTE = '[[route]]\nname = "desk"\nto = "http://127.0.0.1:1/x"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "alerts.toml"
    path.write_text(text)
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        load_alert_file(path)
    return raised.value.faults


def test_a_file_with_routes_alone_keeps_the_built_in_rules(tmp_path: Path) -> None:
    found = load_alert_file(written(tmp_path, ROUTE))
    assert [route.name for route in found.routes] == ["desk"]
    assert found.rules == load_alert_file(None).rules


def test_rules_and_routes_are_in_one_file(tmp_path: Path) -> None:
    found = load_alert_file(written(tmp_path, ROUTE + '[cpu]\nmetric = "system.cpu_percent"\nabove = 1\n'))
    assert [rule.name for rule in found.rules] == ["cpu"]
    assert len(found.routes) == 1


def test_every_key_of_a_route_is_read(tmp_path: Path) -> None:
    (route,) = load_routes(
        written(
            tmp_path,
            ROUTE + 'severity = "critical"\nrules = "a*"\nmembers = ["x", "y"]\non = ["raised"]\ngroup = "30s"\n'
            'repeat = "4h"\nescalate_after = "15m"\nquiet = "22:00-07:00"\ntimezone = "Europe/London"\n'
            'secret = "env:KEY"\n',
        ),
        {"KEY": "k"},
    )
    assert (route.severity, route.rules, route.members, route.on) == ("critical", ("a*",), ("x", "y"), ("raised",))
    minute = 60 * 10**9
    assert (route.group_ns, route.repeat_ns, route.escalate_after_ns) == (minute // 2, 240 * minute, 15 * minute)
    assert str(route.quiet) == "22:00-07:00 Europe/London"
    assert route.secret == "k"


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:2/secret\n")
    path = written(
        tmp_path,
        f'[[route]]\nname = "a"\nto = "env:DESK_URL"\n[[route]]\nname = "b"\nto = "file:{tmp_path / "url"}"\n',
    )
    assert [route.to for route in load_routes(path, {"DESK_URL": "http://h/1"})] == [
        "http://h/1", "http://127.0.0.1:2/secret"
    ]  # fmt: skip


def test_all_faults_of_rules_and_routes_are_reported_at_once(tmp_path: Path) -> None:
    text = (
        '[[route]]\nnam = "x"\nto = "http://"\n[[route]]\nname = "y"\nto = "nonsense://x"\nquiet = "7-22"\n'
        + ROUTE + ROUTE + "[cpu]\nabove = 1\n"
    )  # fmt: skip
    found = "\n".join(faults(written(tmp_path, text)))
    assert "[cpu] metric: missing" in found
    assert "[[route]] 1 nam: unknown, expected one of name" in found
    assert "did you mean name?" in found
    assert "[[route]] y quiet: '7-22', expected hours such as 22:00-07:00" in found
    assert "two are named desk" in found


def test_a_secret_is_in_no_fault(tmp_path: Path) -> None:
    text = '[[route]]\nname = "a"\nto = "http://hidden:port/"\n[[route]]\nname = "b"\nto = "hiddenscheme://hidden"\n'
    found = faults(written(tmp_path, text))
    assert len(found) == 2
    assert not any("hidden:" in fault or "//hidden" in fault for fault in found)


@pytest.mark.parametrize("path", ["hid den", "hidd\u00e9n", "hid\\u0007den"])
def test_a_url_that_no_request_can_have_is_a_fault(path: str, tmp_path: Path) -> None:
    (fault,) = faults(written(tmp_path, f'[[route]]\nname = "a"\nto = "http://host/{path}"\n'))
    assert "to: not shown, expected http://HOST" in fault


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://hooks.example.com:8443/services/T0/SECRET", "https://hooks.example.com:8443"),
        ("alertmanagers://user:SECRET@am.example.com:9093/x", "alertmanagers://am.example.com:9093"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "tgram://***"),
    ],
)
def test_the_place_of_a_channel_has_no_secret(url: str, place: str, tmp_path: Path) -> None:
    (route,) = load_routes(written(tmp_path, f'[[route]]\nname = "a"\nto = "{url}"\n'))
    assert open_channel(route).place == place


def test_one_pair_of_brackets_makes_no_route_and_no_silence(tmp_path: Path) -> None:
    path = written(tmp_path, ROUTE.replace("[[route]]", "[route]"))
    wanted = f"{path} [route]: one pair of brackets, expected [[route]] for each route; a rule has another name"
    assert faults(path) == (wanted,)
    with pytest.raises(ConfigError, match="one pair of brackets"):
        load_routes(path)


def test_a_secret_that_signs_nothing_is_a_fault(tmp_path: Path) -> None:
    text = '[[route]]\nname = "am"\nto = "alertmanager://127.0.0.1:9093"\nsecret = "k"\n'
    (fault,) = faults(written(tmp_path, text))
    assert "[[route]] am secret: given for a channel that signs nothing" in fault


def test_a_pattern_that_no_rule_matches_is_remarked_on(tmp_path: Path) -> None:
    found = load_alert_file(written(tmp_path, ROUTE + 'rules = ["drawdwn", "source_*", "gateway"]\n'))
    assert unmatched_patterns(found) == [
        "route desk: no rule is called 'drawdwn'; did you mean drawdown?",
        "route desk: no rule is called 'gateway'",
    ]
