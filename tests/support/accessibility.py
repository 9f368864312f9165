"""What axe-core finds on a page that people with a screen reader, a keyboard or little contrast cannot use."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from browser import Page

_SCRIPT = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def violations(page: Page) -> list[str]:
    """Returns the serious and critical findings: the rule, the first elements, and what is wrong with them."""
    page.ask("Runtime.evaluate", expression=_SCRIPT)
    found: list[dict[str, Any]] = page.evaluate(
        f"axe.run(document, {json.dumps(_RULES)}).then(({{violations}}) => violations)"
    )
    return [
        f"{each['id']}: {each['help']}: {[(node['target'], node['failureSummary']) for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
