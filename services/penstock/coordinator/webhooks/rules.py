"""Webhook rules: which URLs and secrets a job may name for its webhook."""

from dataclasses import dataclass, field
from typing import Self

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import Webhook
from penstock.common.settings import SettingsError, WebhookSettings
from penstock.coordinator.webhooks.event import signing_key
from penstock.coordinator.webhooks.ssrf import DestinationError, DestinationPolicy


@dataclass(frozen=True)
class WebhookRules:
    """What a server accepts. By default: public HTTPS receivers, and jobs with their own secret."""

    destinations: DestinationPolicy = field(default_factory=DestinationPolicy)
    has_secret: bool = False
    """Whether the server has a secret for jobs without one."""

    @classmethod
    def from_settings(cls, settings: WebhookSettings) -> Self:
        """Return the rules that settings describe.

        Raises:
            SettingsError: PENSTOCK_WEBHOOK_ALLOW or PENSTOCK_WEBHOOK_SECRET can't be read.
        """
        if settings.webhook_secret:
            try:
                signing_key(settings.webhook_secret)
            except ValueError as error:
                raise SettingsError("invalid_settings", f"PENSTOCK_WEBHOOK_SECRET: {error}") from error
        try:
            return cls(DestinationPolicy(settings.webhook_allow), bool(settings.webhook_secret))
        except DestinationError as error:
            raise SettingsError("invalid_settings", f"PENSTOCK_WEBHOOK_ALLOW: {error}") from error

    def check(self, webhook: Webhook, pointer: str) -> None:
        """Check a job's webhook; `pointer` is where it stands in the document.

        Raises:
            RequestError: 422.
        """
        try:
            self.destinations.parse_url(webhook.url)
        except DestinationError as error:
            raise RequestError(422, "webhook_not_accepted", str(error), f"{pointer}/url") from error
        if webhook.secret is not None:
            try:
                signing_key(webhook.secret.get_secret_value())
            except ValueError as error:
                raise RequestError(422, "webhook_not_accepted", str(error), f"{pointer}/secret") from error
        elif not self.has_secret:
            raise RequestError(
                422, "webhook_secret_missing", "this server has no webhook secret, so the job must have one", pointer
            )
