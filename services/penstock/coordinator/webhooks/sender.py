"""Webhook sender: POSTs events from the outbox until they are delivered or given up."""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

from penstock.common.backoff import Backoff
from penstock.common.logs import OutageLog, log_context
from penstock.common.model.errors import UnavailableError
from penstock.common.settings import SettingsError, WebhookSettings
from penstock.coordinator.ports.repository import DeliveryAttempt, Repository, WebhookEvent
from penstock.coordinator.webhooks.event import encode_event, signature_headers
from penstock.coordinator.webhooks.http_post import HttpPoster, PostError, Resolve, resolve
from penstock.coordinator.webhooks.rules import WebhookRules

log = logging.getLogger(__name__)

_POLL_SECS = 1.0
_STOP_SECS = 2.0
_LEASE_MARGIN_SECS = 60.0
"""How much longer than one POST an event is reserved, for the DNS lookup before it and the database write after it."""
_MAX_ERROR_CHARS = 200


class Sender:
    """One thread while this coordinator leads, which polls the outbox, and one thread for each POST in progress."""

    def __init__(
        self,
        repository: Repository,
        settings: WebhookSettings,
        post: Callable[[str, Mapping[str, str], bytes], int],
        *,
        lease_margin_secs: float = _LEASE_MARGIN_SECS,
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._post = post
        self._backoff = Backoff(settings.webhook_first_pause_secs, settings.webhook_longest_pause_secs)
        self._lease_secs = settings.webhook_timeout_secs + lease_margin_secs
        self._posting: set[threading.Thread] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._outage = OutageLog(log, "the webhook sender")

    @classmethod
    def from_settings(
        cls,
        repository: Repository,
        settings: WebhookSettings,
        resolve: Resolve = resolve,
        *,
        lease_margin_secs: float = _LEASE_MARGIN_SECS,
    ) -> Self:
        """Return a sender that sends over HTTP.

        Raises:
            SettingsError: PENSTOCK_WEBHOOK_CA can't be read; see also `WebhookRules.from_settings`.
        """
        destinations = WebhookRules.from_settings(settings).destinations
        tls = ssl.create_default_context()
        try:
            if settings.webhook_ca is not None:
                tls.load_verify_locations(cafile=settings.webhook_ca)
        except OSError as error:
            raise SettingsError(
                "invalid_settings", f"PENSTOCK_WEBHOOK_CA={settings.webhook_ca}: no certificates: {error.strerror}"
            ) from error
        poster = HttpPoster(destinations, tls, settings.webhook_connect_secs, settings.webhook_timeout_secs, resolve)
        return cls(repository, settings, poster.post, lease_margin_secs=lease_margin_secs)

    def start(self) -> None:
        """Start polling. Events that an earlier leader had reserved become due again."""
        self._stopping = threading.Event()  # a new one, so that an earlier thread that still waits ends
        self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="webhook-sender", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling. POSTs in progress get two seconds; the next leader may repeat one that takes longer."""
        self._stopping.set()
        self._wake.set()
        ends_at = time.monotonic() + _STOP_SECS
        for thread in (self._thread, *tuple(self._posting)):
            if thread is not None:
                thread.join(max(0.0, ends_at - time.monotonic()))

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self._send_due()
                self._outage.end()
            except UnavailableError as error:
                self._outage.begin(error)
            except Exception:
                log.exception("webhooks delayed: unexpected error")
            self._wake.wait(_POLL_SECS)
            self._wake.clear()

    def _send_due(self) -> None:
        """Start a thread for each event that is due, up to the limit of POSTs at the same time."""
        free = self._settings.webhook_concurrency - len(self._posting)
        if free <= 0:
            return
        now = time.time()
        for event in self._repository.take_webhook_events(now, free, now + self._lease_secs):
            thread = threading.Thread(target=self._deliver, args=(event,), name="webhook", daemon=True)
            self._posting.add(thread)
            try:
                thread.start()
            except RuntimeError:  # no more threads for this process; the event becomes due again
                self._posting.discard(thread)
                raise

    def _deliver(self, event: WebhookEvent) -> None:
        with log_context(job=event.job):
            try:
                self._record(event, self._attempt(event))
            except UnavailableError as error:
                log.warning("webhook %s: result not recorded, it will be sent again: %s", event.id, error.message)
            except Exception:
                log.exception("webhook %s: unexpected error", event.id)
            finally:
                self._posting.discard(threading.current_thread())
                self._wake.set()

    def _attempt(self, event: WebhookEvent) -> DeliveryAttempt:
        at, started = time.time(), time.monotonic()
        status, problem = None, None
        try:
            status = self._send(event, int(at))
        except PostError as error:
            problem = str(error)[:_MAX_ERROR_CHARS]
        except Exception:  # counts as an attempt, or it would be repeated for ever
            log.exception("webhook %s: unexpected error", event.id)
            problem = "unexpected error"
        if status is not None and not 200 <= status < 300:
            problem = f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return DeliveryAttempt(at, round(time.monotonic() - started, 3), status, problem)

    def _send(self, event: WebhookEvent, timestamp: int) -> int:
        secret = event.secret or self._settings.webhook_secret
        if not secret:
            raise PostError("the server no longer has a webhook secret")
        body = encode_event(event, self._settings.public_url or "")
        try:
            headers = signature_headers(event.id, body, secret, timestamp)
        except ValueError as error:
            raise PostError(str(error)) from error
        return self._post(event.url, headers, body)

    def _record(self, event: WebhookEvent, attempt: DeliveryAttempt) -> None:
        number = len(event.deliveries) + 1
        retry_at = None
        if attempt.error is not None and number < self._settings.webhook_attempts:
            retry_at = time.time() + self._backoff.delay_secs(number - 1)
        self._repository.record_delivery(event, attempt, retry_at)
        if attempt.error is None:
            log.info("webhook %s delivered", event.id)
        else:
            outcome = "given up" if retry_at is None else "will be retried"
            log.warning("webhook %s, attempt %d: %s; %s", event.id, number, attempt.error, outcome)
