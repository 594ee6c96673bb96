"""TLS: a server with a certificate of a private authority is trusted only if the client is configured to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import anyio
import pytest
from http_proxy import HttpProxy, http_proxy
from webhook_receiver import make_certificate

from penstock.client import AsyncClient, Client, UnavailableError

BLUR = {"operations": [["blur", "median"]]}
NOT_TRUSTED = "is not trusted: self"


@dataclass
class Secured:
    """The server behind https: the proxy to it, and the file of the authority that signed its certificate."""

    proxy: HttpProxy
    authority: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.proxy.server_port}"


@pytest.fixture
def secure(
    server: str, port_of: Callable[[str], int], tmp_path: Path, without_service: Callable[[str], NoReturn]
) -> Iterator[Callable[[str], Secured]]:
    """Put that server behind https, with a certificate for the given names."""

    with ExitStack() as stack:

        def put(names: str) -> Secured:
            authority, context = make_certificate(tmp_path, names, without_service)
            return Secured(stack.enter_context(http_proxy(port_of(server), tls=context)), authority)

        yield put


@pytest.fixture
def secured(secure: Callable[[str], Secured]) -> Secured:
    """That server behind https, with a certificate for its name."""
    return secure("IP:127.0.0.1")


def test_a_certificate_that_is_not_trusted_is_refused_at_once(secured: Secured) -> None:
    with Client(secured.url, patience_secs=60) as client, pytest.raises(UnavailableError, match=NOT_TRUSTED) as caught:
        client.steps()
    assert "\n" not in caught.value.message
    assert "PENSTOCK_TLS_CA" in caught.value.message
    assert (secured.proxy.connections, secured.proxy.requests) == (1, [])


def test_the_asynchronous_client_refuses_it_at_once(secured: Secured) -> None:
    async def look() -> None:
        async with AsyncClient(secured.url, patience_secs=60) as client:
            await client.steps()

    with pytest.raises(UnavailableError, match=NOT_TRUSTED):
        anyio.run(look)
    assert (secured.proxy.connections, secured.proxy.requests) == (1, [])


def test_uploads_events_and_downloads_use_https_if_the_authority_is_trusted(
    secured: Secured, image_folder: Path, tmp_path: Path
) -> None:
    with Client(secured.url, verify=secured.authority) as client:
        job = client.submit(BLUR, [image_folder])
        assert [event.kind for event in client.events(job.id)][-1] == "end"
        assert [client.download(result, tmp_path / "out") for result in client.results(job.id)] == [True] * 6
    assert secured.proxy.requests[:2] == ["POST /v1/jobs?dry_run=true&images=6", "POST /v1/uploads"]

    async def look() -> str:
        async with AsyncClient(secured.url, verify=str(secured.authority)) as client:
            return (await client.job(job.id)).state

    assert anyio.run(look) == "succeeded"


@pytest.mark.parametrize("variable", ["PENSTOCK_TLS_CA", "SSL_CERT_FILE"])
def test_commands_trust_the_authority_in_the_environment(
    penstock: Callable[..., subprocess.CompletedProcess[str]], secured: Secured, variable: str
) -> None:
    reached = penstock("jobs", PENSTOCK_SERVER=secured.url, **{variable: str(secured.authority)})
    assert (reached.returncode, reached.stderr) == (0, "")
    refused = penstock("jobs", PENSTOCK_SERVER=secured.url)
    assert refused.returncode == 3
    assert refused.stderr.startswith(f"penstock: certificate of {secured.url} {NOT_TRUSTED}")
    assert refused.stderr.count("\n") == 1


def test_a_certificate_for_another_name_is_refused_unless_any_is_trusted(secure: Callable[[str], Secured]) -> None:
    other = secure("DNS:penstock.example")
    with (
        Client(other.url, verify=other.authority) as client,
        pytest.raises(UnavailableError, match=r"not valid for '127\.0\.0\.1'"),
    ):
        client.steps()
    with Client(other.url, verify=False) as client:
        assert client.is_ready()


def test_http_to_an_https_port_is_reported(secured: Secured) -> None:
    url = secured.url.replace("https", "http")
    with Client(url, patience_secs=0.2) as client, pytest.raises(UnavailableError, match="cannot reach http:"):
        client.steps()
