"""Fetch the web page's few libraries with npm, at the versions of web/vendored.json; --check compares what lies here.

npm says where packages come from, as it is configured where this runs. What it gives has to have the SHA-256 that
vendored.json pins; after a version was changed there, --pin writes the new ones.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "services" / "penstock" / "coordinator" / "web" / "vendored.json"
SOURCE_MAP = re.compile(rb"\n?/[/*]# sourceMappingURL=[^\n]*\n?")


def main(arguments: list[str]) -> int:
    packages = json.loads(PINS.read_text())
    if "--check" in arguments:
        wrong = [str(path.relative_to(ROOT)) for path, digest in pinned(packages) if digest_of(path) != digest]
        for path in wrong:
            print(f"vendor_web: {path} is not what {PINS.name} pins; run scripts/vendor_web.py", file=sys.stderr)
        return int(bool(wrong))
    for name, package in packages.items():
        fetch(name, package, pin="--pin" in arguments)
    PINS.write_text(json.dumps(packages, indent=2) + "\n")
    return 0


def pinned(packages: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return each vendored file with the digest that is pinned for it."""
    return [
        (ROOT / package["folder"] / file["as"], file["sha256"])
        for package in packages.values()
        for file in package["files"].values()
    ]


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; nothing where it is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def fetch(name: str, package: dict[str, Any], *, pin: bool) -> None:
    """Write a package's files to its folder; SystemExit where one is not what is pinned."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(pack(f"{name}@{package['version']}", folder)) as archive:
        for member, file in package["files"].items():
            content = adapt(read(archive, f"package/{member}"), file.get("imports", {}))
            digest = hashlib.sha256(content).hexdigest()
            if pin:
                file["sha256"] = digest
            elif digest != file["sha256"]:
                raise SystemExit(f"vendor_web: {member} of {name} {package['version']} is not what is pinned: {digest}")
            target = ROOT / package["folder"] / file["as"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def pack(package: str, folder: str) -> Path:
    """Have npm fetch a package's archive into a folder; nothing of it is installed or run."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, package]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (developers' npm)
    return next(Path(folder).glob("*.tgz"))


def read(archive: tarfile.TarFile, member: str) -> bytes:
    """Return the bytes of an archive's file."""
    file = archive.extractfile(member)
    if file is None:
        raise SystemExit(f"vendor_web: {member} is no file")
    return file.read()


def adapt(content: bytes, imports: dict[str, str]) -> bytes:
    """Let a module find others by path, as browsers want it, and name no source map, which isn't vendored."""
    for module, path in imports.items():
        content = content.replace(f'from"{module}"'.encode(), f'from"{path}"'.encode())
    return SOURCE_MAP.sub(b"\n", content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
