"""Builders of JSON Schemas (draft 2020-12, as OpenAPI 3.1 and AsyncAPI 3 have them): one call describes one field.

`x-unit` is the unit of a number. A schema with a `title` is a component, and `components` replaces it by a reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

Schema = dict[str, Any]

MONEY: Final = "money"
"""In the currency that stands beside it, else in the reporting currency."""
PRICE: Final = "price"
QUANTITY: Final = "quantity"
FRACTION: Final = "fraction"
BPS: Final = "bps"

# Names end in their unit (docs/api.md, "Names and units").
_UNITS: Final = {
    "_bps": BPS, "_percent": "%", "_pct": "%", "_ms": "ms", "_seconds": "s", "_bytes": "bytes", "_rate": FRACTION,
    "_hz": "Hz", "_ns": "ns",
}  # fmt: skip
_TIME_EXAMPLE: Final = "2025-10-21T22:00:00.000Z"


def number(meaning: str, example: float, unit: str = "", *, null: bool = False) -> Schema:
    """Describes a number; without `unit` its name says it."""
    return _described("number", meaning, example, null=null) | ({"x-unit": unit} if unit else {})


def money(meaning: str, example: float = 1250.5, *, null: bool = False) -> Schema:
    return number(meaning, example, MONEY, null=null)


def price(meaning: str, example: float = 585.27, *, null: bool = False) -> Schema:
    return number(meaning, example, PRICE, null=null)


def quantity(meaning: str, example: float = 100.0, *, null: bool = False) -> Schema:
    return number(meaning, example, QUANTITY, null=null)


def share(meaning: str, example: float = 0.62, *, null: bool = False) -> Schema:
    return number(meaning, example, FRACTION, null=null)


def count(meaning: str, example: int = 12, *, null: bool = False) -> Schema:
    return _described("integer", meaning, example, null=null) | {"minimum": 0}


def flag(meaning: str, *, example: bool = False) -> Schema:
    return _described("boolean", meaning, example)


def text(meaning: str, example: str, *, null: bool = False) -> Schema:
    return _described("string", meaning, example, null=null)


def word(meaning: str, words: Iterable[str], *, null: bool = False) -> Schema:
    """Describes a text that is one of `words`."""
    known = list(words)
    return _described("string", meaning, known[0], null=null) | {"enum": [*known, *([None] if null else [])]}


def moment(meaning: str, *, null: bool = False) -> Schema:
    """Describes a time: ISO 8601 in UTC with milliseconds."""
    return _described("string", meaning, _TIME_EXAMPLE, null=null) | {"format": "date-time"}


def anything(meaning: str, example: Any) -> Schema:
    return {"description": meaning, "examples": [example]}


def constant(value: str, meaning: str = "Tells the message's kind.") -> Schema:
    return {"const": value, "type": "string", "description": meaning, "examples": [value]}


def array(items: Schema, meaning: str) -> Schema:
    return {"type": "array", "items": items, "description": meaning}


def mapping(values: Schema, meaning: str, key: str) -> Schema:
    """Describes an object whose names are data; `key` is an example of one."""
    return {"type": "object", "additionalProperties": values, "description": meaning, "x-key": key}


def nullable(schema: Schema, meaning: str = "") -> Schema:
    """Describes what is null, or as `schema` says."""
    return {"anyOf": [schema, {"type": "null"}], **({"description": meaning} if meaning else {})}


def one_of(schemas: Iterable[Schema], meaning: str = "") -> Schema:
    return {"anyOf": list(schemas), **({"description": meaning} if meaning else {})}


def record(title: str, meaning: str, fields: dict[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """Describes an object with these fields, all of which it always has except for those in `optional`. Without a
    title it is described where it is used."""
    optional = frozenset(optional)
    assert optional <= fields.keys(), f"{title}: {sorted(optional - fields.keys())} are no fields"
    return {
        **({"title": title} if title else {}),
        "type": "object",
        "description": meaning,
        "properties": {name: _with_unit(name, schema) for name, schema in fields.items()},
        "required": [name for name in fields if name not in optional],
    }


def components(schema: Any, found: dict[str, Schema], prefix: str = "#/components/schemas/") -> Any:
    """Returns `schema` with references in place of those that have a title, which it adds to `found` by title."""
    if isinstance(schema, list):
        return [components(each, found, prefix) for each in schema]
    if not isinstance(schema, dict):
        return schema
    title = schema.get("title")
    if isinstance(title, str) and "type" in schema:
        inner = {name: components(each, found, prefix) for name, each in schema.items()}
        assert found.setdefault(title, inner) == inner, f"{title}: two schemas have this name"
        return {"$ref": prefix + title}
    return {name: components(each, found, prefix) for name, each in schema.items()}


def example_of(schema: Schema) -> Any:
    """Returns an example of a schema, made from those of its fields."""
    if "examples" in schema:
        return schema["examples"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return example_of(schema[keyword][0])
    if schema.get("type") == "array":
        return [example_of(schema["items"])]
    properties = {name: example_of(each) for name, each in schema.get("properties", {}).items()}
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and "x-key" in schema:
        properties[schema["x-key"]] = example_of(values)
    return properties


def _described(kind: str, meaning: str, example: Any, *, null: bool = False) -> Schema:
    return {"type": [kind, "null"] if null else kind, "description": meaning, "examples": [example]}


def _with_unit(name: str, schema: Schema) -> Schema:
    kinds = schema.get("type")
    is_number = kinds in ("number", "integer") or (isinstance(kinds, list) and kinds[0] in ("number", "integer"))
    if not is_number or "x-unit" in schema:
        return schema
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
    return schema | {"x-unit": unit} if unit else schema
