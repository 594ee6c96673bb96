"""Webhook rules: which webhooks a job may name, and which settings are refused."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import Webhook
from penstock.common.settings import SettingsError, WebhookSettings
from penstock.coordinator.webhooks.rules import WebhookRules

URL = "https://hooks.example/"


def rules(secret: str | None = "the server's own secret") -> WebhookRules:
    return WebhookRules.from_settings(WebhookSettings(webhook_secret=secret))


def test_a_job_needs_a_secret_only_where_the_server_has_none() -> None:
    rules().check(Webhook(url=URL), "/webhook")
    rules("").check(Webhook(url=URL, secret="a secret of the job"), "/webhook")
    with pytest.raises(RequestError, match="has no webhook secret") as caught:
        rules("").check(Webhook(url=URL), "/webhook")
    assert (caught.value.status, caught.value.code, caught.value.pointer) == (422, "webhook_secret_missing", "/webhook")


def test_a_url_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(RequestError, match="only https") as caught:
        rules().check(Webhook(url="http://hooks.example/"), "/webhook")
    assert (caught.value.status, caught.value.pointer) == (422, "/webhook/url")


def test_a_secret_that_cannot_be_decoded_is_refused_and_not_repeated() -> None:
    with pytest.raises(RequestError, match="base64") as caught:
        rules().check(Webhook(url=URL, secret="whsec_not base64 at all"), "/webhook")
    assert (caught.value.status, caught.value.pointer) == (422, "/webhook/secret")
    assert "not base64 at all" not in caught.value.message
    with pytest.raises(SettingsError, match=r"PENSTOCK_WEBHOOK_SECRET: .* base64") as refused:
        rules("whsec_not base64 at all")
    assert "not base64 at all" not in refused.value.message


def test_an_allow_list_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_WEBHOOK_ALLOW"):
        WebhookRules.from_settings(WebhookSettings(webhook_allow=("/",)))
