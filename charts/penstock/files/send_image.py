"""Run a sample image through every step of an installation, and check the results. Needs only Python."""

import hashlib
import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib

SERVER = sys.argv[1]
STEPS = set(sys.argv[2].split(","))
KEY = {"Authorization": f"Bearer {os.environ['PENSTOCK_API_KEY']}"} if "PENSTOCK_API_KEY" in os.environ else {}
NO_HEADERS = {}
DEADLINE = time.monotonic() + 100
PLAN = [["resize", "64x48"], ["split", True], ["blur", "gaussian"]]
ENDED = {"succeeded", "partial", "failed", "cancelled"}


def main() -> None:
    operations = [operation for operation in PLAN if operation[0] in STEPS]
    size = (64, 48) if "resize" in STEPS else (160, 120)
    parts, size = (4, (size[0] // 2, size[1] // 2)) if "split" in STEPS else (1, size)
    job = send(draw(160, 120), {"operations": operations, "output": "png", "name": "helm test"})
    state = wait(job)
    if state != "succeeded":
        sys.exit(f"the job ended as {state}: {ask(f'/v1/jobs/{job}/images').decode()}")
    results = json.loads(ask(f"/v1/jobs/{job}/results"))["results"]
    if len(results) != parts:
        sys.exit(f"{len(results)} results instead of {parts}")
    for result in results:
        check(result, size)
    ask(f"/v1/jobs/{job}", method="DELETE")
    print(f"one image has {parts} results with the right sizes and checksums")


def draw(width: int, height: int) -> bytes:
    """Return a PNG of two gradients."""
    rows = b"".join(
        b"\0" + bytes(channel for x in range(width) for channel in (x % 256, y % 256, 128)) for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def send(image: bytes, job: dict) -> str:
    """Submit a job, retrying while the installation starts; return its id."""
    fields = [
        ('name="job"', "application/json", json.dumps(job).encode()),
        ('name="files"; filename="drawn.png"', "image/png", image),
    ]
    body = b"".join(
        f"--penstock\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {kind}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, kind, data in fields
    )
    headers = {"Content-Type": "multipart/form-data; boundary=penstock"}
    return json.loads(ask("/v1/jobs", body + b"--penstock--\r\n", headers))["id"]


def wait(job: str) -> str:
    """Wait for a job; return its state at the end or at the deadline."""
    state = ""
    while state not in ENDED and time.monotonic() < DEADLINE:
        state = json.loads(ask(f"/v1/jobs/{job}"))["state"]
        time.sleep(0.2)
    return state


def check(result: dict, size: tuple[int, int]) -> None:
    """Exit with a message if a result is wrong."""
    data = ask(result["url"])
    if hashlib.sha256(data).hexdigest() != result["sha256"]:
        sys.exit(f"{result['url']}: the content does not match its sha256, {result['sha256']}")
    if struct.unpack(">II", data[16:24]) != size:
        sys.exit(f"{result['url']}: {struct.unpack('>II', data[16:24])} pixels instead of {size}")


def ask(path: str, body: bytes | None = None, headers: dict[str, str] = NO_HEADERS, method: str | None = None) -> bytes:
    """Return the response body; retry while the server is not ready."""
    while True:
        try:
            request = urllib.request.Request(SERVER + path, body, {**headers, **KEY}, method=method)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or time.monotonic() > DEADLINE:
                sys.exit(f"{path}: {error.code} {error.read().decode()}")
        except OSError as error:
            if time.monotonic() > DEADLINE:
                sys.exit(f"{path}: {error}")
        time.sleep(1)


main()
