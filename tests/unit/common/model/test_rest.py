"""The REST models read what newer servers send, and describe what this one answers with."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from penstock.cli.jobs import STATES
from penstock.common.model.jobs import JobState
from penstock.common.model.rest import Image, Job, ShownJobState

JOB = {"id": "j", "state": "running", "created_at": "2026-01-02T03:04:05Z"}


def test_fields_and_states_of_a_newer_server_are_accepted():
    job = Job.model_validate({**JOB, "state": "paused", "colour": "blue", "images": {"total": 1, "lost": 1}})
    assert (job.state, job.images.total, job.has_ended) == ("paused", 1, False)


@pytest.mark.parametrize(("state", "has_ended"), [("running", False), ("partial", True), ("cancelled", True)])
def test_a_job_has_ended_in_a_terminal_state(state, has_ended):
    assert Job.model_validate({**JOB, "state": state}).has_ended is has_ended


def test_an_entry_of_a_list_is_read_as_a_job_without_a_plan():
    job = Job.model_validate(JOB)
    assert (job.operations, job.steps, job.links) == ([], [], {})


@pytest.mark.parametrize("model", [Job, Image])
def test_a_response_is_described_with_all_of_its_fields_required(model):
    schema = model.model_json_schema(mode="serialization")
    always = [name for name, field in model.model_fields.items() if field.exclude_if is None]
    assert sorted(schema["required"]) == sorted(always)


def test_jobs_can_be_listed_by_every_state_that_is_shown():
    schema = TypeAdapter(ShownJobState).json_schema()
    assert schema["enum"] == [state.value for state in JobState if state is not JobState.RECEIVING] == STATES
