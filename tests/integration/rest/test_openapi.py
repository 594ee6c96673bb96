"""The OpenAPI document is valid and complete, and its examples are accepted."""

from __future__ import annotations

import json
import re

import pytest
from openapi_spec_validator import validate


@pytest.fixture
def document(coordinator):
    return coordinator.http.get("/openapi.json").json()


@pytest.fixture
def operations(document):
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_the_document_is_valid(document):
    validate(document)


def test_operation_ids_are_unique_and_in_camel_case(operations):
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)] == []
    assert {"submitJob", "listJobs", "getJob", "cancelJob", "retryJob", "deleteJob", "uploadFile"} <= set(ids)


def test_every_operation_has_a_described_tag_a_summary_and_a_description(document, operations):
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for operation in operations:
        assert set(operation["tags"]) <= tags, operation["operationId"]
        assert len(operation["tags"]) == 1, operation["operationId"]
        assert operation["summary"], operation["operationId"]
        assert operation["description"], operation["operationId"]


def test_every_reference_leads_to_a_schema(document):
    text = json.dumps(document)
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in text, "errors are problem documents"


@pytest.mark.parametrize(("path", "field"), [("/process", "actions"), ("/v1/jobs", "job")])
def test_the_example_of_a_form_is_accepted(coordinator, document, jpeg, path, field):
    form = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(form["schema"]["properties"]) == {field, "files"}
    data = {field: json.dumps(form["example"][field])}
    assert coordinator.http.post(path, data=data, files={"files": ("a.jpg", jpeg)}).status_code == 202


def test_the_examples_of_a_job_document_are_understood(coordinator, document):
    content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        response = coordinator.http.post("/v1/jobs?dry_run=true", json=example["value"])
        assert response.json()["code"] == "source_forbidden", "this server has no input folder and no buckets"
