"""OpenAPI: what FastAPI cannot derive from the routes, such as streamed bodies and problem documents."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from penstock.common.model.jobs import JobDocument
from penstock.common.model.rest import Login, Problem, Result, RetryRequest
from penstock.coordinator.api.problems import MEDIA_TYPE
from penstock.coordinator.intake.query_options import query_parameters

TAGS = [
    {"name": "jobs", "description": "Create jobs, follow, cancel, retry and delete them."},
    {"name": "process", "description": "Create jobs with one form; process one image and wait for it."},
    {"name": "results", "description": "A job's images, its manifest, and all results as a ZIP file."},
    {"name": "uploads", "description": "Send images one by one, and resume after an interruption."},
    {"name": "presets", "description": "Keep job documents without images under a name."},
    {"name": "static", "description": "Input files and results as folders, for browsers and scripts."},
    {"name": "session", "description": "Log browsers in and out."},
    {"name": "system", "description": "Operations, load of the steps, health and metrics."},
]

_SCHEMAS: dict[type[BaseModel], JsonSchemaMode] = {
    JobDocument: "validation",
    Login: "validation",
    Problem: "validation",
    Result: "serialization",
    RetryRequest: "validation",
}
"""Models that the document refers to by name only."""

_FASTAPI_ERROR = "HTTPValidationError"
"""FastAPI's description of a 422, which this server answers with a problem document."""

_ERRORS = {
    400: "The request is malformed.",
    401: "The API key is missing or unknown.",
    403: "The server may not read or write what the request names, or the key does not allow it.",
    404: "There is no such resource.",
    408: "The client stopped sending.",
    409: "The current state does not allow this.",
    413: "The request, a file or a document is too large.",
    415: "The body's media type is not accepted, or no file is an image of an accepted type.",
    416: "The file has no such range.",
    422: "The request is understood but invalid.",
    429: "A limit is reached; see Retry-After.",
    500: "A step failed unexpectedly.",
    503: "The broker, the store or the database is unreachable; see Retry-After.",
    504: "The image took too long.",
    507: "The server has no room for more uploads or jobs.",
}

_DOCUMENT = {"$ref": "#/components/schemas/JobDocument"}
_OPERATIONS: list[Any] = [["resize", "inside:512x512"], ["split", True], ["blur", "gaussian"]]
_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "Image files; the type is found from the bytes",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of a route's errors; 401 and 503 are always among them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _ERRORS[status], "content": content} for status in (*statuses, 401, 503)}


def operation_id(route: APIRoute) -> str:
    """Return a route's operation id: its function's name in camel case."""
    first, *others = route.name.split("_")
    return first + "".join(map(str.capitalize, others))


def complete_openapi(app: FastAPI) -> None:
    """Add schemas and security to an application's OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model, mode in _SCHEMAS.items():
            schema = model.model_json_schema(mode=mode, ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        for name in (_FASTAPI_ERROR, "ValidationError"):
            schemas.pop(name, None)
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            responses = operation["responses"]
            if _FASTAPI_ERROR in str(responses.get("422")):
                responses["422"] = error_responses(422)[422]
            if events := responses.get("200", {}).get("content", {}).get("text/event-stream"):
                events.pop("itemSchema", None)  # FastAPI writes it, but it comes with OpenAPI 3.2
        document["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "An API key, pk_…"}
        }
        document["security"] = [{"key": []}, {}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _body(content: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": content}}


def _form(document: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """Return a form with job documents in one field and images in `files`."""
    return {
        "schema": {
            "type": "object",
            "required": [document, "files"],
            "properties": {document: schema, "files": _FILES},
        },
        "encoding": {document: {"contentType": "application/json"}},
        "example": {document: example, "files": ["0001.jpg"]},
    }


PRESET_BODY = _body(
    {
        "application/json": {
            "schema": _DOCUMENT,
            "examples": {"web": {"summary": "For the web", "value": {"operations": _OPERATIONS, "output": "webp"}}},
        }
    }
)

JOB_BODY = _body(
    {
        "application/json": {
            "schema": _DOCUMENT,
            "examples": {
                "folder": {
                    "summary": "All images of a folder below the server's input folder",
                    "value": {
                        "operations": _OPERATIONS,
                        "output": "jpg",
                        "inputs": [{"prefix": "delft/"}],
                        "name": "delft",
                        "labels": {"city": "delft"},
                    },
                },
                "buckets": {
                    "summary": "Objects, a folder of a bucket and an input list; results go to your own bucket",
                    "value": {
                        "operations": _OPERATIONS,
                        "output": "jpg",
                        "inputs": [
                            "s3://photos/a.jpg",
                            {"prefix": "gs://maps/delft/"},
                            {"manifest": "s3://photos/list.txt"},
                        ],
                        "results": "s3://photos/out/",
                    },
                },
                "files": {
                    "summary": "Single files, with the long form of an operation",
                    "value": {
                        "operations": [{"op": "resize", "width": 200, "height": 300}],
                        "output": "png",
                        "inputs": ["delft/0001.jpg", "delft/0002.jpg"],
                    },
                },
            },
        },
        "multipart/form-data": _form("job", _DOCUMENT, {"operations": [["resize", "inside:512x512"]], "output": "jpg"}),
    }
)

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_TEXT_HEADER = {"schema": {"type": "string"}}
_NUMBER_HEADER = {"schema": {"type": "integer"}}

SYNCHRONOUS_CALL = {
    "parameters": list(query_parameters()),
    **_body(
        {
            "image/*": _IMAGE,
            "application/octet-stream": _IMAGE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        }
    ),
}

SYNCHRONOUS_RESULT = {
    "description": "The result. Several are a ZIP file, or with `Accept: multipart/mixed` parts with the same headers",
    "content": {"image/*": _IMAGE, "application/zip": _IMAGE, "multipart/mixed": _IMAGE},
    "headers": {
        "ETag": {**_TEXT_HEADER, "description": "The result's SHA-256"},
        "Penstock-Name": {**_TEXT_HEADER, "description": "The result's name, percent-encoded"},
        "Penstock-Width": {**_NUMBER_HEADER, "description": "Width in pixels"},
        "Penstock-Height": {**_NUMBER_HEADER, "description": "Height in pixels"},
        "Penstock-Warnings": {**_TEXT_HEADER, "description": "Codes of what the result lacks of the source"},
        "Penstock-Job": {**_TEXT_HEADER, "description": "The job's id"},
        "Server-Timing": {**_TEXT_HEADER, "description": "Milliseconds of waiting, and of work in each step"},
    },
}

PROCESS_BODY = _body(
    {
        "multipart/form-data": _form(
            "actions",
            {
                "type": "array",
                "items": _DOCUMENT,
                "description": "Job documents without inputs: one in each field, or a JSON list of them",
            },
            [{"operations": [["resize", "200x300"], ["split", True], ["blur", "gaussian"]], "output": "jpg"}],
        )
    }
)

RETRY_BODY = _body(
    {"application/json": {"schema": {"$ref": "#/components/schemas/RetryRequest"}, "example": {"images": [3, 7]}}},
    required=False,
)

FILE_BODY = _body({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}})

LOGIN_BODY = _body(
    {
        media_type: {"schema": {"$ref": "#/components/schemas/Login"}, "example": {"key": "pk_…"}}
        for media_type in ("application/json", "application/x-www-form-urlencoded")
    }
)
