"""Which steps a process performs."""

from __future__ import annotations

from penstock.common.registry import declared_steps, operations
from penstock.common.settings import SettingsError


def read_steps(text: str, *, program: bool = False) -> frozenset[str]:
    """Return the steps that `resize,blur` or `all` names; declared ones are there where a program performs them.

    Raises:
        SettingsError: there is no such step.
    """
    known = performable_steps(program=program)
    names = {name.strip() for name in text.split(",")}
    if names == {"all"}:
        return frozenset(known)
    if unknown := sorted(names.difference(known)):
        only_declared = unknown[0] in declared_steps()
        why = "is declared, and PENSTOCK_PROGRAM names no program that performs it" if only_declared else "is not known"
        accepted = ",".join(known)
        raise SettingsError(
            "invalid_settings", f"no step {unknown[0]!r}: it {why}; accepted are all, or some of {accepted}"
        )
    return frozenset(names)


def performable_steps(*, program: bool) -> tuple[str, ...]:
    """Return every step that this process can perform, by a program too where there is one."""
    declared = frozenset[str]() if program else declared_steps()
    return tuple(step for step in operations() if step not in declared)
