"""Errors: every code of a failed image says what helps."""

from __future__ import annotations

from penstock.common.model.errors import HELP, RETRY_MAY_HELP, ImageCode, help_for


def test_every_code_of_a_failed_image_has_a_text_that_helps() -> None:
    assert set(HELP) == set(ImageCode)
    for code in ImageCode:
        text = help_for(code, retry=code in RETRY_MAY_HELP)
        assert ("retry" in text.lower()) == (code in RETRY_MAY_HELP), code


def test_a_code_of_a_custom_step_says_whether_a_retry_may_help() -> None:
    assert help_for("own", retry=True) == "Retrying may help."
    assert help_for("own", retry=False).startswith("Retrying will not help")
