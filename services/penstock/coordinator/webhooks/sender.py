"""Tells receivers of jobs' ends: what the database says is due, again and again until it has arrived or is given up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.common.backoff import Backoff
from penstock.common.logs import about
from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.jobs import Webhook
from penstock.common.settings import SettingsError, WebhookSettings
from penstock.coordinator.ports.repository import Repository
from penstock.coordinator.webhooks.event import SIGNATURE_HEADER, Delivery, Notice, sign, write_event
from penstock.coordinator.webhooks.http_post import PinnedPoster, Resolve, SendError, make_trust, resolve
from penstock.coordinator.webhooks.ssrf import DestinationError, Destinations

log = logging.getLogger(__name__)

_POLL_SECS = 1.0
_LEAVE_SECS = 2.0
_SPARE_SECS = 60.0
"""How much longer than a POST may take its notice is held: names are looked up and the outcome noted beside it."""
_MAX_ERROR_CHARS = 200

Post = Callable[[str, Mapping[str, str], bytes], int]
"""See `PinnedPoster.post`."""


@dataclass(frozen=True)
class WebhookRules:
    """What a job may ask for: where its end is told, and whether this server can sign it without the job's secret."""

    destinations: Destinations = field(default_factory=Destinations)
    has_secret: bool = False

    @classmethod
    def of(cls, settings: WebhookSettings) -> WebhookRules:
        """Return the rules of a coordinator's settings.

        Raises:
            SettingsError: PENSTOCK_WEBHOOK_ALLOW names something else than hosts and addresses.
        """
        return cls(_read_destinations(settings), bool(settings.webhook_secret))

    def check(self, webhook: Webhook, pointer: str) -> None:
        """Make sure that a job's end can be told as it asks.

        Raises:
            RequestError: 422.
        """
        try:
            self.destinations.read(webhook.url)
        except DestinationError as error:
            raise RequestError(422, "webhook_not_accepted", str(error), f"{pointer}/url") from error
        if webhook.secret is None and not self.has_secret:
            raise RequestError(
                422, "webhook_secret_missing", "this server has no secret to sign with; accepted is one", pointer
            )


class Sender:
    """One thread while this coordinator leads, which looks for what is due, and one for each POST under way."""

    def __init__(self, repository: Repository, settings: WebhookSettings, post: Post) -> None:
        self._repository = repository
        self._settings = settings
        self._post = post
        self._backoff = Backoff(settings.webhook_first_pause_secs, settings.webhook_longest_pause_secs)
        self._under_way: set[threading.Thread] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, repository: Repository, settings: WebhookSettings, resolve: Resolve = resolve) -> Sender:
        """Return the courier of a coordinator's settings.

        Raises:
            SettingsError: PENSTOCK_WEBHOOK_ALLOW or PENSTOCK_WEBHOOK_CA can't be read.
        """
        destinations = _read_destinations(settings)
        try:
            trust = make_trust(None if settings.webhook_ca is None else str(settings.webhook_ca))
        except OSError as error:
            raise SettingsError(
                "invalid_settings", f"PENSTOCK_WEBHOOK_CA={settings.webhook_ca}: no certificates: {error.strerror}"
            ) from error
        sender = PinnedPoster(
            destinations, trust, settings.webhook_connect_secs, settings.webhook_timeout_secs, resolve
        )
        return cls(repository, settings, sender.post)

    def start(self) -> None:
        """Start to look; what an earlier leader had in hand is due again once its time is over."""
        self._stopping = threading.Event()  # a new one: a thread that has not left yet is not to go on
        self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="courier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take up nothing more. A POST that takes longer than a moment is not waited for; it may come once more."""
        self._stopping.set()
        self._wake.set()
        ends_at = time.monotonic() + _LEAVE_SECS
        for thread in (self._thread, *tuple(self._under_way)):
            if thread is not None:
                thread.join(max(0.0, ends_at - time.monotonic()))

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self._look()
            except UnavailableError as error:
                log.warning("webhooks wait: %s", error.message)
            except Exception:
                log.exception("webhooks wait")
            self._wake.wait(_POLL_SECS)
            self._wake.clear()

    def _look(self) -> None:
        """Begin with what is due, as far as there is room."""
        room = self._settings.webhook_concurrency - len(self._under_way)
        if room <= 0:
            return
        now = time.time()
        for notice in self._repository.take_notices(now, room, now + self._settings.webhook_timeout_secs + _SPARE_SECS):
            thread = threading.Thread(target=self._deliver, args=(notice,), name="webhook", daemon=True)
            self._under_way.add(thread)
            try:
                thread.start()
            except RuntimeError:  # this process may have no more; the notice is due again by itself
                self._under_way.discard(thread)
                raise

    def _deliver(self, notice: Notice) -> None:
        with about(job=notice.job):
            try:
                self._note(notice, self._try(notice))
            except UnavailableError as error:
                log.warning("webhook %s: whether it arrived is not noted, it comes again: %s", notice.id, error.message)
            except Exception:
                log.exception("webhook %s", notice.id)
            finally:
                self._under_way.discard(threading.current_thread())
                self._wake.set()

    def _try(self, notice: Notice) -> Delivery:
        at, began = time.time(), time.monotonic()
        status, trouble = None, None
        try:
            status = self._send(notice, int(at))
        except SendError as error:
            trouble = str(error)[:_MAX_ERROR_CHARS]
        except Exception:  # it counts as an attempt, or it would be tried for ever
            log.exception("webhook %s", notice.id)
            trouble = "an unexpected error"
        if status is not None and not 200 <= status < 300:
            trouble = f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return Delivery(at, round(time.monotonic() - began, 3), status, trouble)

    def _send(self, notice: Notice, at: int) -> int:
        secret = notice.secret or self._settings.webhook_secret
        if not secret:
            raise SendError("there is no secret to sign with any more")
        body = write_event(notice, self._settings.public_url or "")
        return self._post(notice.url, {"Penstock-Event": notice.id, SIGNATURE_HEADER: sign(body, secret, at)}, body)

    def _note(self, notice: Notice, delivery: Delivery) -> None:
        attempt = len(notice.deliveries) + 1
        again_at = None
        if delivery.error is not None and attempt < self._settings.webhook_attempts:
            again_at = time.time() + self._backoff.delay_secs(attempt - 1)
        self._repository.note_delivery(notice, delivery, again_at)
        if delivery.error is None:
            log.info("webhook %s arrived", notice.id)
        else:
            log.warning(
                "webhook %s, attempt %d: %s; %s",
                notice.id, attempt, delivery.error, "given up" if again_at is None else "tried again later",
            )  # fmt: skip


def _read_destinations(settings: WebhookSettings) -> Destinations:
    try:
        return Destinations(settings.webhook_allow)
    except DestinationError as error:
        raise SettingsError("invalid_settings", f"PENSTOCK_WEBHOOK_ALLOW: {error}") from error
