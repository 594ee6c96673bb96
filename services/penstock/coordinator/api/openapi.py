"""The OpenAPI document, completed with what streamed bodies and problem answers refer to."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from penstock.common.model.jobs import JobDocument
from penstock.common.model.rest import Problem, Result, RetryRequest
from penstock.coordinator.api.routes.common import refusals

_REPLACED = "HTTPValidationError"
"""What FastAPI describes for bad parameters; here they are answered with a problem."""

_REFERRED: dict[type[BaseModel], JsonSchemaMode] = {
    JobDocument: "validation",
    Problem: "validation",
    RetryRequest: "validation",
    Result: "serialization",
}


def complete(app: FastAPI) -> None:
    """Make an application's OpenAPI document hold every schema that it refers to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model, mode in _REFERRED.items():
            schema = model.model_json_schema(mode=mode, ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        _correct_problems(document)
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}, {}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _correct_problems(document: dict[str, Any]) -> None:
    routes = (route for methods in document["paths"].values() for route in methods.values())
    for responses in (route["responses"] for route in routes):
        if _REPLACED in str(responses.get("422")):
            responses["422"] = refusals(422)[422]
    for name in (_REPLACED, "ValidationError"):
        document["components"]["schemas"].pop(name, None)
