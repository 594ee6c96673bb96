"""Request bodies as the OpenAPI document describes them, for routes that read their bodies as streams."""

from __future__ import annotations

from typing import Any

_DOCUMENT = {"$ref": "#/components/schemas/JobDocument"}
_OPERATIONS: list[Any] = [["resize", "512x512"], ["split", True], ["blur", "gaussian"]]
_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "Pictures: JPEG or PNG by their bytes",
}

JOB_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _DOCUMENT,
                "examples": {
                    "folder": {
                        "summary": "Every picture of a folder below the configured root",
                        "value": {
                            "operations": _OPERATIONS,
                            "output": "jpg",
                            "inputs": [{"prefix": "delft/"}],
                            "name": "delft",
                            "labels": {"city": "delft"},
                        },
                    },
                    "buckets": {
                        "summary": "Objects, a folder of a bucket and a list, results to a bucket of your own",
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
                    "long form": {
                        "summary": "Single files, operations in their long form",
                        "value": {
                            "operations": [{"op": "resize", "width": 200, "height": 300}],
                            "output": "png",
                            "inputs": ["delft/0001.jpg", "delft/0002.jpg"],
                        },
                    },
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["job", "files"],
                    "properties": {"job": _DOCUMENT, "files": _FILES},
                },
                "encoding": {"job": {"contentType": "application/json"}},
                "example": {"job": '{"operations": [["resize", "512x512"]], "output": "jpg"}'},
            },
        },
    }
}

PROCESS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["actions", "files"],
                    "properties": {
                        "actions": {
                            "type": "array",
                            "items": _DOCUMENT,
                            "description": "Job documents without inputs, one a field or a JSON list of them",
                        },
                        "files": _FILES,
                    },
                },
                "encoding": {"actions": {"contentType": "application/json"}},
                "example": {
                    "actions": '{"operations": [["resize", "200x300"], ["split", true], ["blur", "gaussian"]], '
                    '"output": "jpg"}'
                },
            }
        },
    }
}

RETRY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/RetryRequest"}, "example": {"images": [3, 7]}}
        },
    }
}
