"""TLS with a private authority: only its certificates are trusted, and the server's name is checked."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from penstock.common.tls import make_ssl_context


@pytest.fixture
def authority(tmp_path: Path, without_service: Callable[[str], NoReturn]) -> Path:
    """An authority's certificate without key usage, like those of many clusters."""
    if shutil.which("openssl") is None:
        without_service("no openssl to make a certificate with")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    paths = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "ca.crt"), "-subj", "/CN=cluster"]
    subprocess.run([*command, *paths], check=True, capture_output=True)
    return tmp_path / "ca.crt"


def test_only_the_authority_is_trusted_and_the_name_is_checked(authority: Path) -> None:
    context = make_ssl_context(authority)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert [dict(pair[0] for pair in each["subject"]) for each in context.get_ca_certs()] == [{"commonName": "cluster"}]


def test_an_authority_without_a_key_usage_is_accepted(authority: Path) -> None:
    assert not make_ssl_context(authority).verify_flags & ssl.VERIFY_X509_STRICT
