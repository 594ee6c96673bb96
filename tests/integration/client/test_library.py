"""The client library against a real server, blocking and asynchronous."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import cv2
import httpx
import numpy as np
import pytest
from camera_files import exif, photograph
from http_proxy import DISCONNECT, HttpProxy, http_proxy
from waiting import wait_until
from webhook_receiver import running_receiver

from penstock.client import (
    AsyncClient,
    Blur,
    Client,
    DamagedError,
    Encode,
    LocalFileError,
    RefusedError,
    Resize,
    Split,
    UnavailableError,
)
from penstock.client.local_files import find_photos

PortOf = Callable[[str], int]
BLUR = {"operations": [["blur", "median"]]}
SLOW = {"operations": [["blur", "bilateral"]] * 30}
PAGE = Path(__file__).parents[3] / "docs" / "client.md"


def test_a_folder_becomes_a_job_with_results_to_download(client: Client, image_folder: Path, tmp_path: Path) -> None:
    job = client.submit({**BLUR, "name": "delft", "labels": {"city": "delft"}}, [image_folder])
    assert (job.state, job.images.total, job.name) == ("accepted", 6, "delft")
    seen = []
    ended = client.wait(job.id, on_progress=seen.append)
    assert (ended.state, ended.images.done, ended.has_ended) == ("succeeded", 6, True)
    assert [step.step for step in seen[0].steps] == ["blur", "encode"]
    names = sorted(path.relative_to(image_folder).as_posix() for path in image_folder.rglob("*.jpg"))
    assert [image.name for image in client.images(job.id)] == names
    for result in client.results(job.id):
        assert client.download(result, tmp_path / "out")
        data = (tmp_path / "out" / result.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (result.size, result.sha256)
        assert not client.download(result, tmp_path / "out")
    assert (tmp_path / "out" / "north" / "photo-0000.jpg").is_file()
    assert [found.id for found in client.jobs(label="city=delft", limit=1)] == [job.id]
    client.delete(job.id)
    with pytest.raises(RefusedError) as caught:
        client.job(job.id)
    assert (caught.value.status, caught.value.code) == (404, "not_found")


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_examples_of_the_documentation_run(
    number: int,
    server: str,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    image_folder.rename(tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    monkeypatch.chdir(tmp_path)
    exec(program.replace("http://127.0.0.1:8080", server), {})
    assert len(list((tmp_path / "results").rglob("*.jpg"))) == 6
    output = capsys.readouterr().out
    assert number == 0 or all(said in output for said in ("6 of 7\n", "bad.jpg "))


def test_failures_are_listed_sent_as_events_and_retried(client: Client, image_folder: Path) -> None:
    (image_folder / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    job = client.submit(BLUR, [image_folder])
    events = list(client.events(job.id))
    assert (events[-1].kind, events[-1].data["state"]) == ("end", "partial")
    [failure] = [event for event in events if event.kind == "image-failed"]
    assert (failure.data["name"], failure.id) == ("bad.jpg", "1")
    assert [event.kind for event in client.events(job.id, last_id="1")] == ["progress", "end"]
    [image] = client.images(job.id, state="failed")
    assert image.error is not None
    assert image.error.code in ("truncated_image", "corrupt_image")
    retried = client.retry(job.id, [image.id])
    assert (retried.retried, retried.run) == (1, 1)
    assert client.wait(job.id).state == "partial"


def test_the_deliveries_of_a_webhook_are_listed(client: Client, server: str, image_folder: Path) -> None:
    async def look(job: str) -> Any:
        async with AsyncClient(server) as other:
            return await other.deliveries(job), [each async for each in other.jobs(limit=0)]

    with running_receiver(500) as receiver:
        job = client.submit(
            {**BLUR, "webhook": {"url": receiver.url(), "secret": "sixteen characters"}}, [image_folder]
        )
        assert job.webhook is not None
        assert job.webhook.receiver == f"http://127.0.0.1:{receiver.port}"
        client.wait(job.id)
        wait_until(lambda: [notice.state for notice in client.deliveries(job.id)] == ["delivered"])
    [notice] = client.deliveries(job.id)
    assert (notice.id, notice.run, notice.job_state, notice.next_at) == (f"{job.id}-0", 0, "succeeded", None)
    assert [(each.status, each.error) for each in notice.deliveries] == [(500, "answered 500"), (204, None)]
    assert anyio.run(look, job.id) == ([notice], list(client.jobs(limit=0)))
    assert client.deliveries(client.submit(BLUR, [image_folder]).id) == []


def test_operations_and_steps_are_typed(client: Client) -> None:
    assert {"resize", "split", "blur", "encode"} <= {operation.name for operation in client.operations()}
    assert {step.name: step.workers for step in client.steps()}["blur"] >= 1
    assert client.is_ready()


def test_an_invalid_document_is_refused_with_a_pointer(client: Client, image_folder: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        client.estimate({"operations": [["sharpen", 1]]})
    assert (caught.value.status, caught.value.code, caught.value.pointer) == (
        422,
        "unknown_operation",
        "/operations/0",
    )
    with pytest.raises(LocalFileError):
        client.submit(BLUR, [image_folder / "nothing.jpg"])
    with pytest.raises(ValueError, match="the document has inputs"):
        client.submit({**BLUR, "inputs": ["s3://bucket/a.jpg"]}, image_folder)


def test_a_job_can_be_cancelled_twice(client: Client, image_folder: Path) -> None:
    job = client.submit(SLOW, [image_folder])
    assert client.cancel(job.id).state == client.cancel(job.id).state == "cancelled"
    assert client.wait(job.id, timeout_secs=5).state == "cancelled"


def test_waiting_ends_after_its_timeout(client: Client, image_folder: Path) -> None:
    job = client.submit(SLOW, [image_folder])
    assert not client.wait(job.id, timeout_secs=0).has_ended
    client.cancel(job.id)


def test_all_pages_are_read(client: Client, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.client.sync_client.PAGE_LIMIT", 2)
    job = client.submit({"operations": [["split", True]]}, [image_folder])
    client.wait(job.id)
    assert len(list(client.images(job.id))) == 6
    assert len({result.name for result in client.results(job.id)}) == 24
    upload = client.begin_upload()
    assert list(client.uploaded(upload.id)) == []


async def use_all(server: str, image_folder: Path, out: Path) -> dict[str, Any]:
    async with AsyncClient(server) as client:
        job = await client.submit(BLUR, [image_folder])
        events = [event.kind async for event in client.events(job.id)]
        ended = await client.wait(job.id)
        results = [result async for result in client.results(job.id)]
        came = [await client.download(result, out) for result in results * 2]
        with pytest.raises(RefusedError):
            await client.estimate({"operations": []})
        with pytest.raises(RefusedError):
            await client.send_files("0" * 26, find_photos([image_folder]))
        found = {
            "state": ended.state,
            "last": events[-1],
            "came": came,
            "images": len([image async for image in client.images(job.id)]),
            "jobs": len([job async for job in client.jobs(limit=1)]),
            "cancelled": (await client.cancel((await client.submit(SLOW, [image_folder])).id)).state,
            "offered": bool(await client.operations()) and bool(await client.steps()) and await client.is_ready(),
        }
        await client.delete(job.id)
    return found


def test_the_asynchronous_client_does_the_same(server: str, image_folder: Path, tmp_path: Path) -> None:
    found = anyio.run(use_all, server, image_folder, tmp_path / "out")
    assert found == {
        "state": "succeeded",
        "last": "end",
        "came": [True] * 6 + [False] * 6,
        "images": 6,
        "jobs": 1,
        "cancelled": "cancelled",
        "offered": True,
    }
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 6


def test_a_failed_upload_raises_the_error_itself(server: str, image_folder: Path) -> None:
    async def send() -> None:
        async with AsyncClient(server) as client:
            await client.submit(BLUR, [image_folder / "north", image_folder / "gone.jpg"])

    with pytest.raises(LocalFileError, match=r"gone\.jpg: no such file"):
        anyio.run(send)


def test_broken_connections_and_temporary_refusals_are_retried(proxy: HttpProxy, image_folder: Path) -> None:
    with Client(f"http://127.0.0.1:{proxy.server_port}", patience_secs=30) as client:
        proxy.refuse(DISCONNECT, times=1)
        upload = client.begin_upload()
        proxy.refuse(503, times=2)
        job = client.submit(BLUR, [image_folder])
        proxy.refuse(DISCONNECT, times=1)
        assert client.wait(job.id).state == "succeeded"
        proxy.refuse(502, times=1)
        assert len(list(client.results(job.id))) == 6
        proxy.refuse(DISCONNECT, times=1)
        assert list(client.events(job.id))[-1].kind == "end"
        assert list(client.uploaded(upload.id)) == []


def test_a_retry_whose_response_is_lost_is_not_sent_twice(proxy: HttpProxy) -> None:
    with Client(f"http://127.0.0.1:{proxy.server_port}", patience_secs=30) as client:
        proxy.refuse(DISCONNECT, times=1)
        with pytest.raises(UnavailableError):
            client.retry("0" * 26)
    assert len(proxy.requests) == 1


def test_retry_after_is_respected_within_the_patience(server: str, port_of: PortOf) -> None:
    with http_proxy(port_of(server), extra={"Retry-After": "1"}) as proxy:
        with Client(f"http://127.0.0.1:{proxy.server_port}", patience_secs=30) as client:
            proxy.refuse(429, times=1)
            assert client.steps()
            assert len(proxy.requests) == 2
        with Client(f"http://127.0.0.1:{proxy.server_port}", patience_secs=0.5) as client:
            proxy.refuse(429, times=1)
            with pytest.raises(UnavailableError, match="answers 429"):
                client.steps()
            assert len(proxy.requests) == 3


def test_a_result_that_does_not_match_its_checksum_is_not_saved(
    server: str, port_of: PortOf, image_folder: Path, tmp_path: Path
) -> None:
    def rewrite(method: str, path: str) -> str:
        return path.replace("processed/photo-0003", "processed/photo-0004")

    with (
        http_proxy(port_of(server), rewrite) as proxy,
        Client(f"http://127.0.0.1:{proxy.server_port}", patience_secs=1) as client,
    ):
        job = client.submit(BLUR, [image_folder])
        client.wait(job.id)
        [result] = [result for result in client.results(job.id) if result.name == "photo-0003.jpg"]
        with pytest.raises(DamagedError):
            client.download(result, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_an_unreachable_server_is_reported(unused_port: int) -> None:
    with Client(f"http://127.0.0.1:{unused_port}", patience_secs=0.3) as client:
        assert not client.is_ready()
        with pytest.raises(UnavailableError, match="cannot reach"):
            client.steps()


def test_this_host_is_not_reached_through_a_proxy(
    server: str, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Client(server, patience_secs=0.3) as client:
        assert client.steps()


def test_server_and_key_come_from_the_environment(
    server: str, port_of: PortOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy(port_of(server)) as proxy:
        seen: list[str | None] = []
        monkeypatch.setenv("PENSTOCK_SERVER", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("PENSTOCK_API_KEY", "secret")
        with Client() as client:
            assert client.server == f"http://127.0.0.1:{proxy.server_port}"
            client._http.event_hooks["request"] = [lambda request: seen.append(request.headers.get("authorization"))]
            client.steps()
    assert seen == ["Bearer secret"]


def test_one_image_is_processed_in_one_call(client: Client, drawn: list[Path]) -> None:
    pixels = cv2.imread(str(drawn[0]))
    assert pixels is not None
    data = client.process(drawn[0], ["resize=64x48"], output="png")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, cv2.resize(pixels, (64, 48), interpolation=cv2.INTER_AREA))
    assert client.process(drawn[0].read_bytes(), [["resize", "64x48"]], output="png") == data
    wait_until(lambda: not list(client.jobs(label="transient=true")))


def test_all_results_of_one_image_come_with_their_sizes(client: Client, server: str, drawn: list[Path]) -> None:
    ops = [{"op": "resize", "width": 64, "height": 48}, "split"]
    results = client.process_all(drawn[0], ops, output="png")
    assert [(result.width, result.height, result.media_type) for result in results] == [(32, 24, "image/png")] * 4
    assert len({result.name for result in results}) == 4
    with pytest.raises(ValueError, match="4 results"):
        client.process(drawn[0], ops)

    async def process() -> Any:
        async with AsyncClient(server) as other:
            return await other.process_all(drawn[0], ops, output="png")

    assert anyio.run(process) == results


def test_operations_may_be_objects_wherever_they_are_given(
    client: Client, drawn: list[Path], image_folder: Path
) -> None:
    ops = [Resize(width=60, fit="inside"), Split(), Blur(method="median"), Encode(format="png")]
    written = ['resize={"width": 60, "fit": "inside"}', "split", "blur=median", "encode=png"]
    assert client.process_all(drawn[0], ops) == client.process_all(drawn[0], written)
    planned = [client.submit({"operations": each}, [image_folder]).operations for each in (ops, written)]
    assert planned[0] == planned[1]


def test_one_call_runs_operations_on_a_folder_and_saves_the_results(
    client: Client, image_folder: Path, tmp_path: Path
) -> None:
    job = client.run([image_folder], [Blur(method="median"), "split"], tmp_path / "out", output="png", name="delft")
    assert (job.state, job.name, job.images.done) == ("succeeded", "delft", 6)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 24
    assert job.download(tmp_path / "out") == 0
    assert job.refresh().state == "succeeded"
    slow = client.submit(SLOW, [image_folder])
    assert (slow.cancel().state, slow.wait().state) == ("cancelled", "cancelled")


def test_the_manifest_of_a_photograph_is_a_point_on_a_map(client: Client, tmp_path: Path) -> None:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    (tmp_path / "a.jpg").write_bytes(photograph("JPEG", pixels, exif=exif()))
    job = client.run([tmp_path / "a.jpg"], [Split()])
    features = json.loads(job.manifest())["features"]
    assert [feature["properties"]["name"] for feature in features] == [f"a-{part}.jpg" for part in range(4)]
    assert features[3]["geometry"] == {"type": "Point", "coordinates": [4.3571, 52.0116, 87.4]}
    assert job.manifest("csv").startswith(b"image,source,name,")
    assert [json.loads(line)["name"] for line in job.manifest("ndjson").splitlines()] == [
        result.name for result in client.results(job.id)
    ]


def test_every_saved_result_is_counted_and_reported(
    client: Client, server: str, image_folder: Path, tmp_path: Path
) -> None:
    job = client.run([image_folder], ["tile=4x4"])
    seen: list[tuple[str, bool]] = []
    assert (
        client.download_all(job.id, tmp_path / "one", on_saved=lambda result, new: seen.append((result.name, new)))
        == 96
    )
    assert sorted(seen) == sorted((result.name, True) for result in client.results(job.id))
    assert job.download(tmp_path / "two") == 96

    async def download() -> int:
        async with AsyncClient(server) as asynchronous:
            return await (await asynchronous.job(job.id)).download(tmp_path / "three")

    assert anyio.run(download) == 96


def test_an_image_that_fails_raises_its_code(client: Client, drawn: list[Path]) -> None:
    with pytest.raises(RefusedError) as caught:
        client.process(drawn[0].read_bytes()[:600], ["split"])
    assert (caught.value.status, caught.value.code) == (422, "truncated_image")
    with pytest.raises(RefusedError) as caught:
        client.process(drawn[0], ["resize=0x0"])
    assert caught.value.code == "invalid_parameter"


def test_a_request_that_waits_is_told_of_the_end_by_the_leader(server: str, drawn: list[Path]) -> None:
    answer = httpx.post(
        f"{server}/v1/jobs",
        data={"job": '{"operations": [["blur", "median"]]}'},
        files=[("files", (path.name, path.read_bytes())) for path in drawn],
        headers={"Prefer": "wait=60"},
        timeout=90,
    )
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert answer.json()["images"]["done"] == len(drawn)
