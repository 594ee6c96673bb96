"""The server's own data: never an input, in a folder for inputs that has it all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.benchmark.http import RefusedError


@pytest.mark.parametrize("link", [False, True])
def test_a_data_folder_among_the_inputs_is_never_read(start_server: Any, tmp_path: Path, link: bool) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "x.png"), np.zeros((9, 9, 3), np.uint8))
    server = start_server("--workers", "1", input_root=tmp_path)
    data = "data"
    if link:
        (photos / "mine").symlink_to(tmp_path / "data")
        data = "photos/mine"
    (tmp_path / "list.txt").write_text(f"{data}/penstock.sqlite\n")
    for given in f"{data}/penstock.sqlite", {"prefix": data}, {"manifest": "list.txt"}:
        with pytest.raises(RefusedError, match="the server's own data"):
            server.call("POST", "/v1/jobs", {"operations": [["blur", "median"]], "inputs": [given]})
    job = server.call("POST", "/v1/jobs", {"operations": [["blur", "median"]], "inputs": [{"prefix": "photos"}]})
    assert server.client.wait(job["id"], poll_secs=0.02)["images"]["total"] == 1
