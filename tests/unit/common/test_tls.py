"""Trusting a cluster's API server: by its authority and its name, though the authority is of a plain kind."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from penstock.common.tls import trust


@pytest.fixture
def authority(tmp_path: Path, without_service: Callable[[str], NoReturn]) -> Path:
    """An authority's certificate without extensions, as `openssl req` makes it and many a cluster has it."""
    if shutil.which("openssl") is None:
        without_service("no openssl to make a certificate with")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    paths = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "ca.crt"), "-subj", "/CN=cluster"]
    subprocess.run([*command, *paths], check=True, capture_output=True)
    return tmp_path / "ca.crt"


def test_nobody_but_the_authority_is_trusted_and_only_by_name(authority: Path) -> None:
    context = trust(authority)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert [dict(pair[0] for pair in each["subject"]) for each in context.get_ca_certs()] == [{"commonName": "cluster"}]


def test_an_authority_without_a_key_usage_is_accepted(authority: Path) -> None:
    assert not trust(authority).verify_flags & ssl.VERIFY_X509_STRICT
