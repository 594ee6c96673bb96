"""Webhook request: the event as JSON, and the headers that sign it as Standard Webhooks define.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

from penstock.coordinator.ports.links import job_url
from penstock.coordinator.ports.repository import WebhookEvent

SECRET_PREFIX = "whsec_"  # noqa: S105 (marks secrets, is none)


def encode_event(event: WebhookEvent, base_url: str) -> bytes:
    """Return the event as JSON. `base_url` is this server's public URL; if empty, the job's URL is a path."""
    document = {
        "id": event.id,
        "type": f"job.{event.summary['state']}",
        "job": {
            "id": event.job,
            "url": base_url.rstrip("/") + job_url(event.job),
            "run": event.run,
            **event.summary,
            "finished_at": datetime.fromtimestamp(event.summary["finished_at"], UTC).isoformat().replace("+00:00", "Z"),
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


def signing_key(secret: str) -> bytes:
    """Return the HMAC key of a secret.

    `whsec_` and base64 is the form of Standard Webhooks: the key is what the base64 stands for. Every other secret is
    plain text, also where it looks like base64: the key is its UTF-8 bytes, and `whsec_` with the base64 of these bytes
    is the same secret in the standard's form.

    Raises:
        ValueError: the part after `whsec_` is empty or is not base64. The message doesn't repeat the secret.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")  # some tools write base64 without its padding
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"a secret that begins with {SECRET_PREFIX} must continue in base64")
    return key


def signature_headers(event_id: str, body: bytes, secret: str, timestamp: int) -> dict[str, str]:
    """Return id, time (seconds since the epoch) and signature as headers.

    Raises:
        ValueError: see `signing_key`.
    """
    digest = hmac.new(signing_key(secret), f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
