"""What axe-core finds on a page that people with a screen reader, a keyboard or little contrast cannot use."""

from __future__ import annotations

import json
from importlib.resources import files

from browser import Page

_SCRIPT = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def violations(page: Page) -> list[str]:
    """Returns the serious and critical findings: the rule, the first elements, and what is wrong with them. Raises
    AssertionError if the contrast of texts was not measured, which an old axe-core fails to do in a new browser."""
    page.ask("Runtime.evaluate", expression=_SCRIPT)
    results = page.evaluate(f"axe.run(document, {json.dumps(_RULES)})")
    measured = {each["id"] for kind in ("violations", "passes") for each in results[kind]}
    assert "color-contrast" in measured, sorted(measured)
    return [
        f"{each['id']}: {each['help']}: {[(node['target'], node['failureSummary']) for node in each['nodes'][:3]]}"
        for each in results["violations"]
        if each["impact"] in ("serious", "critical")
    ]
