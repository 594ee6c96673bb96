"""Generate the chart's README from its schema and values, and what the chart accepts as a setting from the code.

A setting's form is in the schema. Its bounds, which no schema of text can express, and its JSON are checked by the
template `_settings.tpl`. With --check nothing is written, and the exit status is 1 if a file is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from make_docs import SETTINGS, describe_type, list_settings

from penstock.coordinator.auth.keys import ApiKey

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "penstock"
SCHEMA = CHART / "values.schema.json"
PAGE = CHART / "README.md"
BOUNDS = CHART / "templates" / "_settings.tpl"
NOT_IN_PODS = ("Serve", "Containers", "Client")
"""Sections of docs/settings.md whose settings do not apply to the chart's pods."""
FORMS: dict[str, dict[str, Any]] = {
    "integer": {"pattern": "^[0-9]+$"},
    "number": {"pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"},
    "boolean": {"enum": ["true", "false"]},
    "array": {"pattern": r"^\s*\[[\s\S]*\]\s*$"},
    "object": {"pattern": r"^\s*\{[\s\S]*\}\s*$"},
}
"""How a setting of each type is written in an environment variable."""
KEYS = "PENSTOCK_API_KEYS"
"""A setting that is JSON, though its type is text."""
INTRODUCTION = """# Penstock's Helm chart

<!-- made by scripts/make_chart_docs.py from values.schema.json and values.yaml -->

```sh
helm install penstock charts/penstock --namespace penstock --create-namespace --wait
helm test penstock --namespace penstock
```

On a small cluster, add `--values k8s/values-small.yaml`.
[docs/kubernetes.md](../../docs/kubernetes.md) explains what it installs and how to use it. Helm rejects keys that are
not on this page. It needs Kubernetes 1.30 and Helm 3.14, or newer.

A custom step is one more entry in `steps`:

```yaml
steps:
  sharpen:
    image: registry.example/penstock-sharpen:1.0
    program: [/usr/local/bin/sharpen]
    params: {type: object, properties: {amount: {type: number, minimum: 0}}, required: [amount]}
    autoscaling: {mode: keda, minReplicas: 0, maxReplicas: 20}
```
"""
KINDS = {
    "object": "a map",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "null": "nothing",
}


def main(arguments: list[str]) -> int:
    schema = json.loads(SCHEMA.read_text())
    settings = read_settings()
    schema["properties"]["settings"]["propertyNames"] = {"enum": list(settings)}
    schema["definitions"]["settingValues"] = make_setting_values(settings)
    texts = {
        BOUNDS: make_bounds(settings),
        SCHEMA: json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        PAGE: make_page(schema, yaml.safe_load(read_values())),
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" in arguments:
            name = path.relative_to(ROOT)
            print(f"{name} is out of date; run scripts/make_chart_docs.py", file=sys.stderr)
        else:
            path.write_text(texts[path])
    return int("--check" in arguments and bool(stale))


def read_settings() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each setting of coordinator and workers, by its variable."""
    found = {}
    for section, kind in SETTINGS.items():
        if section not in NOT_IN_PODS:
            found |= dict(list_settings(kind))
    found[KEYS] = {**found[KEYS], "type": "array", "anyOf": None, "items": ApiKey.model_json_schema()}
    return {name: without_null(found[name]) for name in sorted(found)}


def without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a setting that may be unset as that of one that is set."""
    [given] = [each for each in field.get("anyOf") or [{}] if each.get("type") != "null"]
    return {name: value for name, value in {**field, **given}.items() if name not in ("anyOf", "default", "title")}


def make_setting_values(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of the settings' values, which are text."""
    return {
        "description": "Values of settings: docs/settings.md",
        "properties": {name: make_form(field) for name, field in settings.items()},
        "additionalProperties": {"type": "string"},
    }


def make_form(field: dict[str, Any]) -> dict[str, Any]:
    form = {name: field[name] for name in ("enum", "pattern", "minLength") if name in field}
    if field.get("format") == "path":
        form = {"minLength": 1}
    return {"description": field["description"], "type": "string", **FORMS.get(field["type"], form)}


def make_bounds(settings: dict[str, dict[str, Any]]) -> str:
    """Return a template with the bounds of numbers, and what JSON settings are made of."""
    lines = [f"{name}: {json.dumps(rule)}" for name, field in settings.items() if (rule := make_rule(field))]
    return "\n".join(
        [
            "{{/* Made by scripts/make_chart_docs.py: what is accepted as a setting, besides the schema. */}}",
            '{{- define "penstock.settingRules" -}}',
            *lines,
            "{{- end }}\n",
        ]
    )


def make_rule(field: dict[str, Any]) -> dict[str, Any]:
    rule = {name: field[name] for name in ("minimum", "maximum", "exclusiveMinimum") if name in field}
    if rule:
        return {"accepted": describe_type(field), **rule}
    if field["type"] != "array":
        return {}
    entry = field["items"]
    patterns = {name: each["pattern"] for name, each in entry.get("properties", {}).items() if "pattern" in each}
    known = sorted(entry.get("properties", ()))
    return {"entries": entry["type"], "known": known, "required": entry.get("required", []), "patterns": patterns}


def read_values() -> str:
    return (CHART / "values.yaml").read_text()


def make_page(schema: dict[str, Any], values: dict[str, Any]) -> str:
    tops = {name: resolve(schema, key) for name, key in schema["properties"].items()}
    scalars = [row for name, key in tops.items() if not is_section(key) for row in make_rows(schema, name, key, values)]
    sections = [
        f"\n## {name}\n\n{key['description']}.\n\n{make_table(list(make_section(schema, name, key, values)))}\n"
        for name, key in tops.items()
        if is_section(key)
    ]
    return f"{INTRODUCTION}\n## General\n\n{make_table(scalars)}\n{''.join(sections)}"


def is_section(key: dict[str, Any]) -> bool:
    """Tell whether each key of a map has a row of its own; settings and variables have not."""
    return bool(key.get("properties")) and "propertyNames" not in key


def make_section(schema: dict[str, Any], name: str, key: dict[str, Any], values: dict[str, Any]) -> Iterator[list[str]]:
    for child, entry in key["properties"].items():
        yield from make_rows(schema, f"{name}.{child}", resolve(schema, entry), values)


def make_rows(schema: dict[str, Any], path: str, key: dict[str, Any], values: dict[str, Any]) -> Iterator[list[str]]:
    """Yield a row for a key or for each key below it, without removed ones."""
    if key.get("deprecated"):
        return
    if is_section(key):
        yield from make_section(schema, path, key, values)
        return
    yield [f"`{path}`", describe(key), show_default(path, values), key["description"]]


def resolve(schema: dict[str, Any], key: dict[str, Any]) -> dict[str, Any]:
    """Return a key of the schema with its references resolved; the key's own fields take precedence."""
    while reference := key.get("$ref") or next((each["$ref"] for each in key.get("allOf", [])), None):
        found: Any = schema
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        own = {name: value for name, value in key.items() if name not in ("$ref", "allOf")}
        key = {**found, **own}
    return key


def describe(key: dict[str, Any]) -> str:
    """Describe the accepted values of a key."""
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"] if value)
    if "anyOf" in key:
        return (
            "a quantity"
            if key["anyOf"][0].get("pattern")
            else " or ".join(KINDS[each["type"]] for each in key["anyOf"])
        )
    if key["type"] == "boolean":
        return "`true`, `false`"
    return KINDS[key["type"]] + describe_bounds(key)


def describe_bounds(key: dict[str, Any]) -> str:
    low, high = key.get("minimum"), key.get("maximum")
    if high is not None:
        return f", {low or 0} to {high}"
    if key.get("exclusiveMinimum") is not None:
        return f", more than {key['exclusiveMinimum']}"
    return f", {low} or more" if low else ""


def show_default(path: str, values: dict[str, Any]) -> str:
    """Return the default of a key as YAML; empty if there is none."""
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if found is None or found in ("", [], {}):
        return ""
    if path == "steps":
        return ", ".join(f"`{name}`" for name in found)
    return f"`{json.dumps(found).strip(chr(34)) if isinstance(found, str) else json.dumps(found)}`"


def make_table(rows: list[list[str]]) -> str:
    lines = [["key", "accepted", "default", "meaning"], ["---"] * 4, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
