"""Write the blocking client, `sync_client.py`, from `async_client.py`.

`make_sync_client.py` writes; `make_sync_client.py --check` writes nothing and exits with 1 if the file is out of date.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1] / "services" / "penstock" / "client"
SOURCE, TARGET = CLIENT / "async_client.py", CLIENT / "sync_client.py"
DOCSTRING = '"""`Client`: the REST API, blocking. Generated from async_client.py by scripts/make_sync_client.py."""\n'
REPLACEMENTS = (
    (r'\A""".*?"""\n', DOCSTRING),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync(Client|Iterator|Job)\b", r"\1"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|read|iter_lines|iter_bytes)\b", r"\1"),
    (r"\bpenstock\.client\.tasks\b", "penstock.client.threads"),
)


def main(arguments: list[str]) -> int:
    """Write the file, or say that it is out of date."""
    text = make_sync_client(SOURCE.read_text())
    is_current = TARGET.exists() and TARGET.read_text() == text
    if "--check" in arguments:
        if not is_current:
            print(f"{TARGET.name} is out of date; run make docs", file=sys.stderr)
        return int(not is_current)
    TARGET.write_text(text)
    print(f"{TARGET.name} is up to date" if is_current else f"{TARGET.name} written")
    return 0


def make_sync_client(text: str) -> str:
    """Return the blocking form of the client's source, formatted."""
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    for command in (["check", "--select", "I,UP028", "--fix", "--unsafe-fixes", "--quiet"], ["format"]):
        text = subprocess.run(  # noqa: S603 (our own formatter)
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET), "-"],
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
