"""The reference of a job's keys, made from the schema by which jobs are checked."""

from __future__ import annotations

import json
from typing import Any, Final

from tilewright.flows.schema.job_schema import job_schema

HEAD: Final = """---
hide: [toc]
---
# Keys of a job

Made from the schema that `tilewright schema job` prints. A key with a dot is an option of the key before the dot. Any
key can be set on the command line, as `--set grid.resolution=20`. [Jobs in depth](jobs.md) says more about most.

"""

ABSURD: Final = 1e9
"""Bounds from here on are against absurd numbers and tell nobody anything."""

TABLE: Final = "| key | what it is | form | left out |\n|---|---|---|---|\n"


def job_page() -> str:
    """The page, Markdown: a table of all keys and options, in the schema's order."""
    schema = job_schema()
    options, keys = schema["$defs"], schema["$defs"]["Job"]["properties"]
    rows = []
    for key, described in keys.items():
        rows.append(_row(key, described, described, options))
        for name in _options_of(described, options):
            for option, of_it in options[name].get("properties", {}).items():
                rows.append(_row(f"{key}.{option}", of_it, of_it, options))
    return HEAD + TABLE + "\n".join(rows) + "\n"


def _row(key: str, described: dict[str, Any], form: dict[str, Any], options: dict[str, Any]) -> str:
    cells = (f"`{key}`", described.get("description", ""), _form(form, options), _default(described))
    return f"| {' | '.join(_cell(each) for each in cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _default(described: dict[str, Any]) -> str:
    value = described.get("default")
    if value is None or value == "" or isinstance(value, dict | list):
        return ""
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _options_of(described: Any, options: dict[str, Any]) -> list[str]:
    """Names of the models with options that a key may hold."""
    if isinstance(described, dict):
        own = described.get("$ref", "").removeprefix("#/$defs/")
        below = [name for value in described.values() for name in _options_of(value, options)]
        return list(dict.fromkeys([*([own] if own in options else []), *below]))
    if isinstance(described, list):
        return list(dict.fromkeys(name for each in described for name in _options_of(each, options)))
    return []


def _form(form: dict[str, Any], options: dict[str, Any]) -> str:
    """In words: what may stand there."""
    if "$ref" in form:
        return "options"
    if "enum" in form:
        return ", ".join(f"`{value}`" for value in form["enum"] if value is not None)
    if "anyOf" in form:
        words = [_form(each, options) for each in form["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    kind = form.get("type", "")
    if kind == "array":
        each = _form(form["items"], options) if isinstance(form.get("items"), dict) else ""
        return f"list of ({each})" if " or " in each else f"list of {each}" if each else "list"
    if kind == "object":
        more = form.get("additionalProperties")
        return "options by name" if isinstance(more, dict) and _options_of(more, options) else "mapping"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return names.get(kind, "") + _range(form)


def _range(form: dict[str, Any]) -> str:
    """What bounds a number, in words: from 1 to 1024."""
    whole = form.get("type") == "integer"
    low, above = form.get("minimum"), form.get("exclusiveMinimum")
    high, below = form.get("maximum"), form.get("exclusiveMaximum")
    if whole and above is not None:
        low, above = above + 1, None
    if whole and below is not None:
        high, below = below - 1, None
    words = {"from": low, "above": above, "to": high, "below": below}
    return "".join(
        f" {word} {_number(value)}" for word, value in words.items() if value is not None and abs(value) < ABSURD
    )


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
