"""Webhook signatures: a receiver can verify them with the Standard Webhooks library."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from penstock.coordinator.webhooks.event import signature_headers, signing_key

BODY = '{"id":"job-1-0","name":"Übung"}'.encode()
TEXT_SECRET = "sixteen characters or more"
STANDARD_SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()


def test_the_example_of_the_specification_has_the_signature_it_gives() -> None:
    body = b'{"test": 2432232314}'
    headers = signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_with_the_prefix_is_the_base64_of_its_key() -> None:
    assert signing_key(STANDARD_SECRET) == b"twenty-four bytes of key"
    assert signing_key("whsec_" + base64.b64encode(b"a key").decode().rstrip("=")) == b"a key", "padding is optional"


@pytest.mark.parametrize("secret", [TEXT_SECRET, "ümläute im Geheimnis", "dHdlbnR5LWZvdXIgYnl0ZXM="])
def test_any_other_secret_is_text_even_if_it_looks_like_base64(secret: str) -> None:
    assert signing_key(secret) == secret.encode()
    in_standard_form = "whsec_" + base64.b64encode(secret.encode()).decode()
    assert signing_key(in_standard_form) == signing_key(secret)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_no base64!", "whsec_abcde", "whsec_äöü"])
def test_a_secret_with_the_prefix_and_no_base64_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ValueError, match="must continue in base64") as caught:
        signing_key(secret)
    assert secret not in str(caught.value).replace("begins with whsec_", "")


@pytest.mark.parametrize("secret", [TEXT_SECRET, STANDARD_SECRET])
def test_the_standard_library_for_receivers_accepts_the_signature(secret: str) -> None:
    now = time.time()
    headers = signature_headers("job-1-0", BODY, secret, int(now))
    receiver = Webhook(secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode())
    receiver.verify(BODY, headers)
    for changed in (
        {**headers, "webhook-id": "job-2-0"},
        {**headers, "webhook-timestamp": str(int(now) + 1)},
        signature_headers("job-1-0", BODY, "another secret of a job", int(now)),
        signature_headers("job-1-0", BODY, secret, int(now) - 3_600),
    ):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(BODY, changed)
    with pytest.raises(WebhookVerificationError):
        receiver.verify(BODY + b" ", headers)
