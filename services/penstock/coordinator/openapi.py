"""The OpenAPI document, completed with what streamed bodies and problem answers refer to."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from penstock.common.jobs import JobDocument
from penstock.coordinator.problems import Problem
from penstock.coordinator.routes.jobs import RetryRequest
from penstock.coordinator.views import ResultView

_REFERRED = (JobDocument, Problem, RetryRequest, ResultView)


def complete(app: FastAPI) -> None:
    """Make an application's OpenAPI document hold every schema that it refers to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in _REFERRED:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]
