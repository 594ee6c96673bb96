"""OpenAPI request bodies: for routes that read their bodies as streams, which FastAPI cannot describe."""

from __future__ import annotations

from typing import Any

_DOCUMENT = {"$ref": "#/components/schemas/JobDocument"}
_OPERATIONS: list[Any] = [["resize", "512x512"], ["split", True], ["blur", "gaussian"]]
_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "JPEG and PNG files; the type is found from the bytes",
}


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
        "multipart/form-data": _form("job", _DOCUMENT, {"operations": [["resize", "512x512"]], "output": "jpg"}),
    }
)

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
