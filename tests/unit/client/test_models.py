"""The client's models have every field that the server answers with, and no other."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from penstock.cli.jobs import STATES
from penstock.client import models
from penstock.common.model.jobs import JobState
from penstock.coordinator.api import job_progress as progress
from penstock.coordinator.api import views
from penstock.coordinator.api.routes import deliveries, jobs, system, uploads
from penstock.coordinator.intake import file_upload as arrival
from penstock.coordinator.scheduling import advice

PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (models.Counts, views.Counts),
    (models.Webhook, views.WebhookView),
    (models.Job, views.JobView),
    (models.Retried, jobs.RetryView),
    (models.StepProgress, progress.StepProgress),
    (models.Image, views.ImageView),
    (models.ImageError, views.ErrorView),
    (models.Result, views.ResultView),
    (models.Timing, views.TimingView),
    (models.Notice, deliveries.EventView),
    (models.Delivery, deliveries.DeliveryView),
    (models.Operation, system.OperationView),
    (models.Replicas, system.ReplicasView),
    (models.Step, system.StepView),
    (models.Advice, advice.Advice),
    (models.System, system.Steps),
    (models.Upload, uploads.UploadView),
    (models.UploadedFile, arrival.UploadFileView),
]


@pytest.mark.parametrize(("ours", "servers"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
def test_a_model_has_the_fields_of_the_servers(ours, servers):
    assert sorted(ours.model_fields) == sorted(servers.model_fields)


def test_jobs_can_be_listed_by_every_state_that_is_shown():
    assert [state.value for state in JobState if state is not JobState.RECEIVING] == STATES
