"""Jobs from and to buckets on real servers: read and written by workers, served and deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import obstore
import pytest
import uvicorn
from waiting import wait_until

from penstock.common.broker.memory import MemoryBroker
from penstock.common.model.errors import ImageCode, ImageError, UnavailableError
from penstock.common.registry import operations
from penstock.common.settings import Limits, StoreSettings, WorkerSettings
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.store.factory import open_bucket
from penstock.common.store.local import LocalStore
from penstock.coordinator.api.app import create_app
from penstock.coordinator.api.services import Services
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.image_sources import ImageSources
from penstock.worker.worker import build_worker

LIMITS = Limits(max_file_bytes=200_000)
ENDED = ("succeeded", "partial", "failed", "cancelled")


class System:
    """A coordinator and a worker in this process, over a folder and the allowed buckets."""

    def __init__(self, folder: Path, *sources: str) -> None:
        self.buckets = BucketAllowlist.from_settings(StoreSettings(sources=sources))
        self.store = LocalStore(folder / "store")
        store = CompositeStore(self.store, self.buckets)
        broker = MemoryBroker()
        repository = SqlRepository.sqlite(folder / "penstock.db")
        self.scheduler = JobScheduler(repository, store, broker, DispatchSettings(1, 1), ReconcilerSettings())
        self.scheduler.start_leading()
        self.services = Services(repository, store, broker, self.scheduler, LIMITS, None, self.buckets)
        app = create_app(self.services)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none", lifespan="off"))
        self._serving = threading.Thread(target=self._server.run, daemon=True)
        self._serving.start()
        wait_until(lambda: self._server.started)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False)
        self._worker = build_worker(
            "worker",
            operations(),
            self.store,
            broker,
            InProcessExecutor(LIMITS),
            LIMITS,
            WorkerSettings(),
            input_root=None,
            buckets=self.buckets,
        )
        self._thread = threading.Thread(target=self._worker.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._serving.join(20)
        self._worker.stop()
        self._thread.join(20)
        self.scheduler.stop_leading()
        self.services.repository.close()

    def run(self, *inputs: Any, **document: Any) -> dict[str, Any]:
        """Run a job; return it when it has ended."""
        answer = self.http.post("/v1/jobs", json={"operations": [["split", True]], "inputs": inputs, **document})
        assert answer.status_code == 202, answer.text
        url = answer.json()["url"]
        wait_until(lambda: self.http.get(url).json()["state"] in ENDED)
        job: dict[str, Any] = self.http.get(url).json()
        return job

    def get(self, path: str) -> httpx.Response:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture(params=["s3", "gcs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    server = request.getfixturevalue(request.param)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    url: str = server.create_bucket()
    return url


@pytest.fixture
def system(tmp_path: Path, bucket: str) -> Iterator[System]:
    running = System(tmp_path, f"{bucket}/in/", f"{bucket}/out/")
    yield running
    running.close()


@pytest.fixture
def put(bucket: str) -> Callable[[str, bytes], None]:
    """Writes an object into the bucket."""
    store = open_bucket(bucket, StoreSettings())
    return lambda key, data: obstore.put(store, key, data) and None


def keys_in(bucket: str) -> list[str]:
    pages = open_bucket(bucket, StoreSettings()).list()
    return sorted(entry["path"] for page in pages for entry in page)


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_images_are_read_from_a_bucket_and_results_written_to_another_prefix(
    system: System, bucket: str, put: Callable[[str, bytes], None]
) -> None:
    put("in/a/1 ü.png", png(1))
    put("in/a/2.png", png(2))
    job = system.run({"prefix": f"{bucket}/in/"}, output="png", results=f"{bucket}/out")
    assert (job["state"], job["images"]["done"]) == ("succeeded", 2)
    entries = system.get(f"{job['links']['results']}").json()["results"]
    assert [entry["location"] for entry in entries] == [
        f"{bucket}/out/{job['id']}/{entry['name']}" for entry in entries
    ]
    assert {entry["name"] for entry in entries} >= {"a/1 ü-0.png", "a/2-3.png"}
    top_left = cv2.imdecode(np.frombuffer(png(2), np.uint8), cv2.IMREAD_COLOR)[:10, :15]
    served = system.get(f"/static/{job['id']}/processed/a/2-0.png").content
    assert np.array_equal(cv2.imdecode(np.frombuffer(served, np.uint8), cv2.IMREAD_COLOR), top_left)
    assert obstore.get(open_bucket(bucket, StoreSettings()), f"out/{job['id']}/a/2-0.png").bytes() == served
    assert system.get(job["links"]["archive"]).content.count(b"PK\x01\x02") == 8
    assert list(system.store.list("results")) == []
    before = keys_in(bucket)
    assert system.http.delete(job["url"]).status_code == 204
    assert keys_in(bucket) == before, "the customer's objects stay"


def test_two_jobs_with_one_prefix_for_results_overwrite_nothing(
    system: System, bucket: str, put: Callable[[str, bytes], None]
) -> None:
    put("in/1.png", png(1))
    jobs = [system.run(f"{bucket}/in/1.png", results=f"{bucket}/out/", operations=[["blur", kind]]) for kind in
            ("median", "gaussian")]  # fmt: skip
    assert keys_in(bucket) == sorted(["in/1.png", *(f"out/{job['id']}/1.jpg" for job in jobs)])


def test_unreadable_entries_of_an_input_list_fail_alone(
    system: System, bucket: str, put: Callable[[str, bytes], None]
) -> None:
    put("in/good.png", png(1))
    put("in/large.png", bytes(200_001))
    put("in/text.png", b"no image")
    put("in/list.txt", "\n".join(f"{bucket}/in/{n}.png" for n in ("none", "large", "good", "text")).encode())
    job = system.run({"manifest": f"{bucket}/in/list.txt"})
    images = system.get(f"{job['links']['images']}").json()["images"]
    assert job["state"] == "partial"
    assert [(image["name"], image["error"] and image["error"]["code"]) for image in images] == [
        ("none.png", "source_not_found"),
        ("large.png", "too_large_file"),
        ("good.png", None),
        ("text.png", "unsupported_type"),
    ]


def test_special_characters_in_keys_are_taken_literally(
    system: System, bucket: str, put: Callable[[str, bytes], None]
) -> None:
    """Nothing between the check and the bucket may interpret a key differently."""
    put("secret.png", png(9))
    odd = ["in/a%20b.png", "in/a b.png", "in/x%2Ey.png", "in/q?x=1.png", "in/h#f.png", "in/100%.png", "in/+&=;,.png"]
    for seed, key in enumerate(odd):
        put(key, png(seed))
    open_to_all = ImageSources(system.store, LIMITS, None, system.buckets)
    assert [open_to_all.read(f"{bucket}/{key}") for key in odd] == [png(seed) for seed in range(len(odd))]


def test_a_worker_checks_the_allow_list_as_well(
    system: System, bucket: str, put: Callable[[str, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("in/1.png", png(1))
    narrow = BucketAllowlist.from_settings(StoreSettings(sources=(f"{bucket}/out/",)))
    for buckets in (narrow, None):
        with pytest.raises(ImageError) as refused:
            ImageSources(system.store, LIMITS, None, buckets).read(f"{bucket}/in/1.png")
        assert refused.value.code is ImageCode.SOURCE_FORBIDDEN


@pytest.mark.parametrize(("keys", "code"), [("wrong", ImageCode.SOURCE_FORBIDDEN), ("unreachable", None)])
def test_a_forbidden_bucket_fails_the_image_and_an_unreachable_one_does_not(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str, code: ImageCode | None
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    if keys == "wrong":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    url = s3.create_bucket()
    buckets = BucketAllowlist.from_settings(StoreSettings(sources=(url,), store_timeout_secs=0.5))
    sources = ImageSources(LocalStore(tmp_path), LIMITS, None, buckets)
    store = CompositeStore(LocalStore(tmp_path), buckets)
    with pytest.raises(ImageError if code else UnavailableError) as failed:
        sources.read(f"{url}/1.png")
    assert getattr(failed.value, "code", None) == (code or "unavailable")
    with pytest.raises(ImageError if code else UnavailableError):
        store.put(f"{url}/out/1.png", [b"x"])
