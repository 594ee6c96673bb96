"""Vendor the web page's libraries from npm, at the versions and SHA-256 digests that web/vendored.json pins.

--check compares the vendored files with the digests. --pin updates the digests, after a version was changed.
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
            print(f"vendor_web: {path} differs from {PINS.name}; run scripts/vendor_web.py", file=sys.stderr)
        return int(bool(wrong))
    for name, package in packages.items():
        fetch(name, package, pin="--pin" in arguments)
    PINS.write_text(json.dumps(packages, indent=2) + "\n")
    return 0


def pinned(packages: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return each vendored file with its pinned digest."""
    return [
        (ROOT / package["folder"] / file["as"], file["sha256"])
        for package in packages.values()
        for file in package["files"].values()
    ]


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; empty if it does not exist."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def fetch(name: str, package: dict[str, Any], *, pin: bool) -> None:
    """Write a package's files to its folder; SystemExit if one differs from its pinned digest."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(pack(f"{name}@{package['version']}", folder)) as archive:
        for member, file in package["files"].items():
            content = adapt(read(archive, f"package/{member}"), file.get("imports", {}))
            digest = hashlib.sha256(content).hexdigest()
            if pin:
                file["sha256"] = digest
            elif digest != file["sha256"]:
                raise SystemExit(
                    f"vendor_web: {member} of {name} {package['version']} differs from its pinned digest: {digest}"
                )
            target = ROOT / package["folder"] / file["as"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def pack(package: str, folder: str) -> Path:
    """Download a package's archive into a folder, without installing or running it."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, package]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (developers' npm)
    return next(Path(folder).glob("*.tgz"))


def read(archive: tarfile.TarFile, member: str) -> bytes:
    """Return the content of a file in an archive."""
    file = archive.extractfile(member)
    if file is None:
        raise SystemExit(f"vendor_web: {member} is not a file")
    return file.read()


def adapt(content: bytes, imports: dict[str, str]) -> bytes:
    """Import other modules by path, as browsers need, and remove the reference to the source map."""
    for module, path in imports.items():
        content = content.replace(f'from"{module}"'.encode(), f'from"{path}"'.encode())
    return SOURCE_MAP.sub(b"\n", content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
