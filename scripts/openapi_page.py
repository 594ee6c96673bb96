"""The REST reference: an OpenAPI document as a Markdown page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

METHODS = ("get", "put", "post", "delete", "head")
Schema = dict[str, Any]


def render_openapi(document: dict[str, Any]) -> str:
    """Return one page: every operation under its tag, then every schema."""
    return "\n".join(_page(document)) + "\n"


def _page(document: dict[str, Any]) -> Iterator[str]:
    yield "# REST reference\n"
    yield "Generated from the [OpenAPI document](openapi.json), which a running server serves at `/openapi.json`."
    yield "[REST API](../rest.md) explains how the calls work together.\n"
    described = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    operations = list(_operations(document))
    for tag in dict.fromkeys(tag for _, _, operation in operations for tag in operation.get("tags", ["other"])):
        yield f"## {tag}\n"
        yield described.get(tag, "") + "\n"
        for method, path, operation in operations:
            if tag in operation.get("tags", ["other"]):
                yield from _operation(method, path, operation)
    yield "## Schemas\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _schema(name, schema)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {operation.get('summary') or operation['operationId']}\n"
    yield f"`{method.upper()} {path}`\n"
    if operation.get("description"):
        yield operation["description"] + "\n"
    if parameters := operation.get("parameters"):
        rows = [
            [f"`{each['name']}`", each["in"], _type(each.get("schema", {})), each.get("description", "")]
            for each in parameters
        ]
        yield _table(["parameter", "in", "type", "meaning"], rows)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"**Body** `{media_type}`: {_type(content.get('schema', {}))}\n"
        yield from _examples(content)
    rows = [
        [f"`{status}`", answer.get("description", ""), _content(answer)]
        for status, answer in sorted(operation["responses"].items())
    ]
    yield _table(["status", "meaning", "content"], rows)


def _examples(content: dict[str, Any]) -> Iterator[str]:
    examples = [each.get("value") for each in content.get("examples", {}).values()]
    for value in [*examples, content.get("example")]:
        if value is not None:
            yield f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n"


def _content(answer: dict[str, Any]) -> str:
    return "<br>".join(
        f"`{media_type}`: {_type(content.get('schema', {}))}"
        for media_type, content in answer.get("content", {}).items()
    )


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    if schema.get("description"):
        yield schema["description"] + "\n"
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n"
    if properties := schema.get("properties"):
        required = schema.get("required", [])
        rows = [
            [f"`{field}`", _type(each), "yes" if field in required else "", each.get("description", "")]
            for field, each in properties.items()
        ]
        yield _table(["field", "type", "required", "meaning"], rows)


def _type(schema: Schema) -> str:
    """Describe a schema in a few words, with links to named schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [head, ["---"] * len(head), *([" ".join(each.replace("|", "\\|").split()) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n"
