"""Conformance: Schemathesis sends what the API's description allows and what it does not, and checks the responses.

`schemathesis.toml` has what is not checked, with the reasons.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import httpx
import numpy as np
from waiting import wait_until

from penstock.coordinator.auth.keys import make_key

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECS = 400
"""Upper bound on a busy computer. It takes about half a minute."""


def test_responses_are_as_the_description_says(start_server: Callable, tmp_path: Path) -> None:
    """Status, headers, media type and body of each response; invalid requests, methods and keys are refused."""
    key, entry = make_key("tester", admin=True)
    server = start_server("--workers", "1", PENSTOCK_API_KEYS=f"[{entry.model_dump_json()}]")
    url, headers = server.client.url, {"Authorization": f"Bearer {key}"}
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.read_text().replace("JOB", finished_job(url, headers)))
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{url}/openapi.json", "--header", f"Authorization: {headers['Authorization']}", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECS,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Traceback" not in (tmp_path / "log").read_text()


def finished_job(url: str, headers: dict[str, str]) -> str:
    """Return a job with an image that is done and one that has failed."""
    image = cv2.imencode(".png", np.zeros((8, 12, 3), np.uint8))[1].tobytes()
    files = [("files", ("good.png", image)), ("files", ("truncated.png", image[:-20]))]
    with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
        sent = http.post("/v1/jobs", data={"job": '{"operations": [["split", true]], "output": "png"}'}, files=files)
        job: str = sent.json()["id"]
        wait_until(lambda: http.get(f"/v1/jobs/{job}").json()["finished_at"])
    return job
