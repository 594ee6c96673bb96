"""Broker URL: parsed into pika's connection parameters, with TLS and time limits."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pika

from penstock.common.settings import BrokerSettings, SettingsError

_TLS_FILES = ("cacertfile", "certfile", "keyfile")


def read_url(url: str, settings: BrokerSettings, role: str) -> pika.URLParameters:
    """Parse `amqp[s]://user:password@host:port/vhost?…`. `role` is part of the connection's name in RabbitMQ's lists.

    Over `amqps` the server's certificate is checked against the system's authorities, or against those in `cacertfile`;
    `certfile` and `keyfile` are the client's certificate. Other fields of the query are passed to pika.

    Raises:
        SettingsError: the URL cannot be used; the message leaves out the password.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    files = {name: query.pop(name) for name in _TLS_FILES if name in query}
    try:
        if parts.scheme not in ("amqp", "amqps"):
            raise ValueError(f"its scheme is {parts.scheme!r}")
        parameters = pika.URLParameters(urlunsplit(parts._replace(query=urlencode(query))))
        if parts.scheme == "amqps" and "ssl_options" not in query:
            parameters.ssl_options = pika.SSLOptions(_tls_context(files), parameters.host)
    except (ValueError, TypeError, SyntaxError, OSError) as error:
        raise SettingsError(
            "invalid_settings",
            f"PENSTOCK_BROKER_URL: {error}; accepted is amqp://user:password@host:port/vhost, or amqps:// for TLS",
        ) from error
    return _set_timeouts(parameters, query, settings, role)


def _set_timeouts(
    parameters: pika.URLParameters, query: dict[str, str], settings: BrokerSettings, role: str
) -> pika.URLParameters:
    if "heartbeat" not in query:
        parameters.heartbeat = settings.broker_heartbeat_secs
    parameters.connection_attempts = 1  # Connection retries with its own backoff
    parameters.socket_timeout = settings.broker_connect_timeout_secs
    parameters.stack_timeout = settings.broker_connect_timeout_secs
    parameters.blocked_connection_timeout = None  # during an alarm publishing fails, and the connection stays
    name = f"penstock {role} {socket.gethostname()}:{os.getpid()}"
    parameters.client_properties = {**(parameters.client_properties or {}), "connection_name": name}
    return parameters


def _tls_context(files: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.get("cacertfile"))
    if "certfile" in files:
        context.load_cert_chain(files["certfile"], files.get("keyfile"))
    return context
