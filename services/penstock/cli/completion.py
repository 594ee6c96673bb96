"""Shell completion: bash's, which also completes what follows `=` and `:` in a word, such as `--op blur=ga`."""

from __future__ import annotations

import os
import re

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

_BREAKS = re.compile("[=:]")
"""Where bash breaks a word in parts, of which it replaces only the last."""


class _BashWithValues(BashComplete):
    """Completion from the whole line: bash's own words end at each `=` and `:`."""

    source_template = BashComplete.source_template.replace(
        "COMP_CWORD=$COMP_CWORD", 'COMP_CWORD=$COMP_CWORD COMP_LINE="$COMP_LINE" COMP_POINT=$COMP_POINT'
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the arguments before the cursor, and the beginning of the one that is being typed."""
        if "COMP_LINE" not in os.environ:  # set up by an earlier version
            return super().get_completion_args()
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words, incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what may stand in the place of the part of a word that bash replaces."""
        found = super().get_completions(args, incomplete)
        # click looks for the value of `--op=blur` without the option's name
        typed = incomplete.partition("=")[2] if incomplete.startswith("--") and "=" in incomplete else incomplete
        kept = len(typed) - len(_BREAKS.split(typed)[-1])
        for item in found:
            item.value = item.value[kept:]
        return found


def register() -> None:
    """Let click complete for bash in this way."""
    add_completion_class(_BashWithValues)
