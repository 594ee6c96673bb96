"""File names: what is kept, replaced or refused."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.model.names import shown_name
from penstock.coordinator.intake.file_names import clean_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\windows\\a.jpg", "a.jpg"),
        ("a/b\\c.jpg", "c.jpg"),
        ("e\u0301te\u0301.jpg", "\u00e9t\u00e9.jpg"),
        ("gpj.\u202eexe", "gpj._exe"),
        ("zero\u200bwidth\ufeff.jpg", "zero_width_.jpg"),
        ("two\u2028lines", "two_lines"),
        ("...", "..."),
        ("日本.jpg", "日本.jpg"),
    ],
)
def test_a_name_keeps_its_last_component_without_invisible_characters(raw: str, name: str) -> None:
    assert clean_name(raw) == name


@pytest.mark.parametrize("raw", ["", ".", "..", "a/", "a\\..", "a\0b", "a\nb", "a\x7f", "a\x85b", "a\ud800b"])
def test_a_dangerous_name_is_refused(raw: str) -> None:
    with pytest.raises(RequestError) as refused:
        clean_name(raw)
    assert (refused.value.status, refused.value.code) == (422, "invalid_name")
    refused.value.message.encode()


def test_a_name_is_measured_in_bytes_of_its_composed_form() -> None:
    assert clean_name("e\u0301" * 127) == "é" * 127
    with pytest.raises(RequestError, match="256 bytes; accepted are up to 255"):
        clean_name("é" * 128)
    assert len(clean_name("n" * 20, max_bytes=20)) == 20


@pytest.mark.parametrize("raw", ["a\nb.jpg", "a\udcffb.jpg", "a\u202eb.jpg"])
def test_an_unprintable_name_on_disk_is_replaced_and_gets_a_digest(raw: str) -> None:
    shown = shown_name(raw)
    assert shown.startswith("a_b~")
    assert shown.endswith(".jpg")
    assert shown_name(raw.replace("a", "c")) != shown


def test_a_printable_name_on_disk_is_unchanged() -> None:
    assert shown_name("Straße 1.jpg") == "Straße 1.jpg"
