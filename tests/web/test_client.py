"""The JavaScript client's deltas, run by node."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from delta_cases import CASES, GROUPS, delta, whole
from server_process import ROOT, TIMEOUT_SECONDS

CLIENT = ROOT / "http/observability/web/static/client.js"
PROGRAM = """
const { applyDelta } = await import(process.argv[1]);
const [groups, cases] = JSON.parse(process.argv[2]);
console.log(JSON.stringify(cases.map(([held, delta]) => [applyDelta(held, delta, groups), held])));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_delta_makes_the_servers_next_snapshot_and_leaves_the_last_one() -> None:
    cases = [(whole(1, case.held), delta(2, case.changed, case.removed)) for case in CASES.values()]
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", PROGRAM, CLIENT.as_uri(), json.dumps([GROUPS, cases])],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    for (name, case), (made, held) in zip(CASES.items(), json.loads(ran.stdout), strict=True):
        assert json.dumps(made) == json.dumps(whole(2, case.expected)), name
        assert json.dumps(held) == json.dumps(whole(1, case.held)), name
