"""Served steps: which steps a process can run, and which of them the settings name."""

from penstock.common.registry import broken_steps, declared_steps, operations
from penstock.common.settings import SettingsError


def read_steps(text: str, *, program: bool = False) -> frozenset[str]:
    """Return the steps that `resize,blur` or `all` names; declared ones are among them if there is a program.

    Raises:
        SettingsError: there is no such step, or it is broken.
    """
    known = available_steps(program=program)
    names = {name.strip() for name in text.split(",")}
    if names == {"all"}:
        return frozenset(known)
    if unknown := sorted(names.difference(known)):
        if unknown[0] in broken_steps():
            raise SettingsError("invalid_settings", broken_steps()[unknown[0]])
        only_declared = unknown[0] in declared_steps()
        why = "is declared, but PENSTOCK_PROGRAM names no program that runs it" if only_declared else "is not known"
        accepted = ",".join(known)
        raise SettingsError(
            "invalid_settings", f"no step {unknown[0]!r}: it {why}; accepted are all, or some of {accepted}"
        )
    return frozenset(names)


def available_steps(*, program: bool) -> tuple[str, ...]:
    """Return every step that this process can run; with `program`, the declared ones too."""
    excluded = frozenset[str]() if program else declared_steps()
    return tuple(step for step in operations() if step not in excluded)
