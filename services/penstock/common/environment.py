"""Environment: `PENSTOCK_…` variables that no setting has the name of, such as misspelt ones."""

import logging
import os
from collections.abc import Iterable, Iterator

from pydantic_settings import BaseSettings

from penstock.common import settings
from penstock.common.wording.suggestions import suggest

_log = logging.getLogger(__name__)

_PREFIX = "PENSTOCK_"
_CLOSE = 0.8
"""Similarity of two names, of 1, from which one is taken for a misspelling of the other."""


def known_variables() -> frozenset[str]:
    """Return the variables of all settings of this program."""
    kinds = (kind for kind in vars(settings).values() if isinstance(kind, type) and issubclass(kind, BaseSettings))
    return frozenset(f"{_PREFIX}{field.upper()}" for kind in kinds for field in kind.model_fields)


def find_unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return the names of variables with Penstock's prefix that are no settings."""
    known = known_variables()
    return sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)


def describe_misspelt_variables(environment: Iterable[str]) -> Iterator[str]:
    """Yield a line for each variable that is nearly a setting.

    Others are not worth a warning: Docker Compose and Kubernetes have variables of this prefix, too.
    """
    known = {name.removeprefix(_PREFIX): name for name in known_variables()}
    for name in find_unknown_variables(environment):
        if (close := suggest(name.removeprefix(_PREFIX), known, _CLOSE)) is not None:
            yield f"{name} is not a setting and is ignored; did you mean {known[close]}?"


def warn_of_misspelt_variables() -> None:
    """Log a warning for each variable of this process that is nearly a setting."""
    for line in describe_misspelt_variables(os.environ):
        _log.warning(line)
