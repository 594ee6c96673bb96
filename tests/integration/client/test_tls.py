"""A server behind https with a certificate of an authority of one's own: trusted where told so, refused otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import anyio
import pytest
from http_line import HttpLine, http_line
from webhook_receiver import make_certificate

from penstock.client import AsyncClient, Client, UnavailableError

BLUR = {"operations": [["blur", "median"]]}
DISTRUST = "has a certificate that is not trusted: self"


@dataclass
class Secured:
    """The server behind https: the line to it, and the file with the authority that vouches for it."""

    line: HttpLine
    authority: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.line.server_port}"


@pytest.fixture
def secure(
    server: str, port_of: Callable[[str], int], tmp_path: Path, without_service: Callable[[str], NoReturn]
) -> Iterator[Callable[[str], Any]]:
    """Put that server behind https, with a certificate for the given names."""

    with ExitStack() as stack:

        def put(names: str) -> Secured:
            authority, context = make_certificate(tmp_path, names, without_service)
            return Secured(stack.enter_context(http_line(port_of(server), tls=context)), authority)

        yield put


@pytest.fixture
def secured(secure: Callable[[str], Secured]) -> Secured:
    """That server behind https, under its right name."""
    return secure("IP:127.0.0.1")


def test_a_certificate_that_nobody_here_vouches_for_is_refused_at_once(secured):
    with Client(secured.url, patience_secs=60) as client, pytest.raises(UnavailableError, match=DISTRUST) as caught:
        client.steps()
    assert "\n" not in caught.value.message
    assert "PENSTOCK_TLS_CA" in caught.value.message
    assert (secured.line.connections, secured.line.requests) == (1, [])


def test_it_is_refused_at_once_by_programs_that_do_something_else_meanwhile(secured):
    async def look() -> None:
        async with AsyncClient(secured.url, patience_secs=60) as client:
            await client.steps()

    with pytest.raises(UnavailableError, match=DISTRUST):
        anyio.run(look)
    assert (secured.line.connections, secured.line.requests) == (1, [])


def test_with_its_authority_the_whole_way_goes_through_https(secured, pictures, tmp_path):
    with Client(secured.url, verify=secured.authority) as client:
        job = client.submit(BLUR, [pictures])
        assert [event.kind for event in client.events(job.id)][-1] == "end"
        assert [client.download(result, tmp_path / "out") for result in client.results(job.id)] == [True] * 6
    assert secured.line.requests[0] == "POST /v1/uploads"

    async def look() -> str:
        async with AsyncClient(secured.url, verify=str(secured.authority)) as client:
            return (await client.job(job.id)).state

    assert anyio.run(look) == "succeeded"


@pytest.mark.parametrize("variable", ["PENSTOCK_TLS_CA", "SSL_CERT_FILE"])
def test_commands_trust_the_authority_that_the_environment_names(penstock, secured, variable):
    reached = penstock("jobs", PENSTOCK_SERVER=secured.url, **{variable: str(secured.authority)})
    assert (reached.returncode, reached.stderr) == (0, "")
    refused = penstock("jobs", PENSTOCK_SERVER=secured.url)
    assert refused.returncode == 3
    assert refused.stderr.startswith(f"penstock: {secured.url} {DISTRUST}")
    assert refused.stderr.count("\n") == 1


def test_a_certificate_for_another_name_is_refused_and_any_taken_where_told_so(secure):
    other = secure("DNS:penstock.example")
    with (
        Client(other.url, verify=other.authority) as client,
        pytest.raises(UnavailableError, match=r"not valid for '127\.0\.0\.1'"),
    ):
        client.steps()
    with Client(other.url, verify=False) as client:
        assert client.is_ready()


def test_plain_http_on_a_port_of_https_ends_in_a_line(secured):
    url = secured.url.replace("https", "http")
    with Client(url, patience_secs=0.2) as client, pytest.raises(UnavailableError, match="no answer from http:"):
        client.steps()
