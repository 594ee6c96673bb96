"""`penstock doctor`: what is installed and set on this host, and what it can reach."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import click

from penstock import __version__
from penstock.cli.formatting import printable
from penstock.cli.jobs import json_option, server_option
from penstock.common.model.errors import PenstockError

if TYPE_CHECKING:
    from penstock.client.sync_client import Client

_EXTRAS = {
    "steps": "opencv-python-headless",
    "coordinator": "fastapi",
    "client": "httpx",
    "heif": "pi-heif",
    "tracing": "opentelemetry-sdk",
}
"""A package by which each extra is recognised."""

_ANSWER_SECS = 5.0


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: Literal["ok", "note", "problem"]
    subject: str
    detail: str


@click.command()
@server_option
@json_option
def doctor(server: str | None, as_json: bool) -> None:
    """Check what is installed, how it is set, and whether the server, broker and store answer."""
    logging.disable(logging.WARNING)  # what it would say is in the report
    try:
        findings = [*_installation(), *_settings(), *_steps(), *_server(server), *_broker(), *_store()]
    finally:
        logging.disable(logging.NOTSET)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            click.echo(printable(f"{finding.state:7}  {finding.subject.ljust(width)}  {finding.detail}"))
    sys.exit(any(finding.state == "problem" for finding in findings))


def _installation() -> Iterator[Finding]:
    yield Finding("ok", "penstock", f"{__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    for extra, package in _EXTRAS.items():
        try:
            yield Finding("ok", f"extra {extra}", f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding("note", f"extra {extra}", f"not installed; pip install 'penstock[{extra}]'")


def _settings() -> Iterator[Finding]:
    from penstock.common.environment import describe_misspelt_variables, find_unknown_variables
    from penstock.common.settings import (
        BrokerSettings,
        ClientSettings,
        Limits,
        RunLimits,
        ServeSettings,
        SettingsError,
        StoreSettings,
        WorkerSettings,
        load,
    )

    misspelt = list(describe_misspelt_variables(os.environ))
    for line in misspelt:
        yield Finding("problem", "settings", line)
    for name in find_unknown_variables(os.environ):
        if not any(line.startswith(f"{name} ") for line in misspelt):
            yield Finding("note", "settings", f"{name} is not a setting of this program")
    for kind in (Limits, WorkerSettings, ServeSettings, BrokerSettings, StoreSettings, ClientSettings):
        try:
            load(kind)
        except SettingsError as error:
            for line in error.message.splitlines():
                yield Finding("problem", "settings", line)
    try:
        run, served = load(RunLimits), load(Limits)
    except SettingsError:
        return  # named above
    limits = f"{run.max_pixels} pixels per image in `penstock run`, {served.max_pixels} on servers"
    yield Finding("ok", "limits", f"{limits}; {served.max_file_bytes} bytes per file")


def _steps() -> Iterator[Finding]:
    """Check the custom and declared steps of this host."""
    from penstock.common.registry import broken_steps, custom_steps, declare_steps, declared_steps
    from penstock.common.settings import SettingsError, WorkerSettings, load

    try:
        declare_steps(load(WorkerSettings).declared_steps)
    except SettingsError:
        return  # named above
    for name in [*custom_steps(), *declared_steps()]:
        yield Finding("ok", f"step {name}", "can be loaded")
    for name, reason in broken_steps().items():
        yield Finding("problem", f"step {name}", reason)


def _server(given: str | None) -> Iterator[Finding]:
    try:
        from penstock.client.config import check_listening
        from penstock.client.sync_client import Client
    except ModuleNotFoundError:
        return  # named above
    try:
        with Client(given, timeout_secs=_ANSWER_SECS, patience_secs=0) as client:
            check_listening(client.server)
            yield from _describe_server(client)
    except PenstockError as error:
        yield Finding("problem" if given or os.environ.get("PENSTOCK_SERVER") else "note", "server", error.message)


def _describe_server(client: Client) -> Iterator[Finding]:
    from penstock.client.request import Request

    served = client.send(Request("GET", "/healthz", lambda response: str(response.json()["version"])))
    differs = served != __version__
    yield Finding(
        "note" if differs else "ok",
        "server",
        f"{client.server} is Penstock {served}" + (f", and this is {__version__}" if differs else ""),
    )
    ready = client.send(Request("GET", "/readyz", lambda response: dict(response.json())))
    problems = ready.get("problems", {})
    for check, state in ready["checks"].items():
        yield Finding("ok" if state == "ok" else "problem", f"server's {check}", problems.pop(check, state))
    for subject, problem in problems.items():
        yield Finding("problem", f"server's {subject}", problem)
    idle = [step.name for step in client.system().steps if not step.workers]
    if idle:
        yield Finding("note", "server's steps", f"no worker serves {', '.join(idle)}")


def _broker() -> Iterator[Finding]:
    """Check the broker of the settings, which servers and workers of this host would use."""
    from penstock.common.model.messages import EVENTS_QUEUE
    from penstock.common.settings import BrokerSettings, load

    settings = load(BrokerSettings, broker_timeout_secs=_ANSWER_SECS)
    if settings.broker_url is None:
        return
    try:
        from penstock.common.broker.rabbitmq.broker import RabbitBroker

        broker = RabbitBroker(settings.broker_url, settings)
    except ModuleNotFoundError as error:
        yield Finding("problem", "broker", f"{error.name} is not installed; pip install 'penstock[steps]'")
        return
    except PenstockError as error:
        yield Finding("problem", "broker", error.message)
        return
    try:
        broker.depth(EVENTS_QUEUE)
        yield Finding("ok", "broker", "answers")
    except PenstockError as error:
        yield Finding("problem", "broker", error.message)
    finally:
        broker.close()


def _store() -> Iterator[Finding]:
    """Check the store of the settings by writing an object and deleting it."""
    from penstock.common.settings import StoreSettings, load

    settings = load(StoreSettings)
    if settings.store_url is None:
        return
    try:
        from penstock.common.store.factory import open_store

        open_store(settings, None).check()
        yield Finding("ok", "store", "an object can be written and deleted")
    except ModuleNotFoundError as error:
        yield Finding("problem", "store", f"{error.name} is not installed; pip install 'penstock[steps]'")
    except PenstockError as error:
        yield Finding("problem", "store", error.message)
