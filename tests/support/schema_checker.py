"""Checks documents and messages by the schemas that a server describes them with, and allows no field beyond these."""

from __future__ import annotations

import copy
from typing import Any

from jsonschema import Draft202012Validator

Document = dict[str, Any]


def strict(schema: Any) -> Any:
    """Returns a schema that refuses fields that it does not describe."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(each) for name, each in schema.items()}
    if "properties" in found and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


class Checker:
    """Checks values by the schemas of one document."""

    def __init__(self, document: Document) -> None:
        self._components = strict(copy.deepcopy(document["components"]))

    def faults(self, schema: Document, value: Any) -> list[str]:
        validator = Draft202012Validator({**strict(schema), "components": self._components})
        return [
            f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"
            for fault in validator.iter_errors(value)
        ]
