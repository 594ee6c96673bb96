"""Suggestions: the name that a misspelt one was probably meant to be, for messages."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_CLOSE = 0.6
"""Similarity of two names, of 1, from which one is taken for a misspelling of the other."""
_LONGEST = 60


def suggest(given: object, accepted: Iterable[str], cutoff: float = _CLOSE) -> str | None:
    """Return the accepted name that is most like a given one, whatever its case; None if none is like it."""
    if not isinstance(given, str) or len(given) > _LONGEST:
        return None
    known = {name.lower(): name for name in accepted}
    close = get_close_matches(given.lower(), known, n=1, cutoff=cutoff)
    return known[close[0]] if close else None


def accepted_names(given: object, accepted: Sequence[str]) -> str:
    """Return the end of a message: `accepted are jpg and png; did you mean png?`."""
    meant = suggest(given, accepted)
    return enumerate_names(accepted) + ("" if meant is None else f"; did you mean {meant}?")


def enumerate_names(accepted: Sequence[str]) -> str:
    """Return `accepted are jpg, png and webp`, or `accepted is jpg`."""
    if not accepted:
        return "none is accepted"
    if len(accepted) == 1:
        return f"accepted is {accepted[0]}"
    return f"accepted are {', '.join(accepted[:-1])} and {accepted[-1]}"
