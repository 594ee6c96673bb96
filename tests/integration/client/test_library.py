"""The library against a real server: everything that can be asked, by programs that wait and by those that don't."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from http_line import HANG_UP, HttpLine, http_line
from waiting import wait_until
from webhook_receiver import running_receiver

from penstock.client import AsyncClient, Client, DamagedError, LocalFileError, RefusedError, UnavailableError
from penstock.client.local_files import find_photos

BLUR = {"operations": [["blur", "median"]]}
PAGE = Path(__file__).parents[3] / "docs" / "client.md"


def test_a_folder_becomes_a_job_and_its_results_come_back(client, pictures, tmp_path):
    job = client.submit({**BLUR, "name": "delft", "labels": {"city": "delft"}}, [pictures])
    assert (job.state, job.images.total, job.name) == ("accepted", 6, "delft")
    seen = []
    ended = client.wait(job.id, on_progress=seen.append)
    assert (ended.state, ended.images.done, ended.has_ended) == ("succeeded", 6, True)
    assert [step.step for step in seen[0].steps] == ["blur", "encode"]
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.jpg"))
    assert [image.name for image in client.images(job.id)] == names
    for result in client.results(job.id):
        assert client.download(result, tmp_path / "out")
        data = (tmp_path / "out" / result.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (result.size, result.sha256)
        assert not client.download(result, tmp_path / "out")
    assert (tmp_path / "out" / "north" / "photo-0000-0.jpg").is_file()
    assert [found.id for found in client.jobs(label="city=delft", limit=1)] == [job.id]
    client.delete(job.id)
    with pytest.raises(RefusedError) as caught:
        client.job(job.id)
    assert (caught.value.status, caught.value.code) == (404, "not_found")


def test_the_page_of_the_library_begins_with_a_program_that_runs(server, pictures, tmp_path, monkeypatch, capsys):
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    pictures.rename(tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    monkeypatch.chdir(tmp_path)
    exec(program.replace("http://127.0.0.1:8080", server), {})
    assert len(list((tmp_path / "results").rglob("*.jpg"))) == 6
    said = capsys.readouterr().out
    assert "6 of 7\n" in said
    assert "bad.jpg " in said


def test_failures_are_listed_told_as_events_and_tried_again(client, pictures):
    (pictures / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    job = client.submit(BLUR, [pictures])
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


def test_a_jobs_end_is_seen_to_arrive_at_its_webhook(client, server, pictures):
    async def look(job: str) -> Any:
        async with AsyncClient(server) as other:
            return await other.deliveries(job), [each async for each in other.jobs(limit=0)]

    with running_receiver(500) as receiver:
        job = client.submit({**BLUR, "webhook": {"url": receiver.url(), "secret": "sixteen characters"}}, [pictures])
        assert job.webhook is not None
        assert job.webhook.receiver == f"http://127.0.0.1:{receiver.port}"
        client.wait(job.id)
        wait_until(lambda: [notice.state for notice in client.deliveries(job.id)] == ["delivered"])
    [notice] = client.deliveries(job.id)
    assert (notice.id, notice.run, notice.job_state, notice.next_at) == (f"{job.id}-0", 0, "succeeded", None)
    assert [(each.status, each.error) for each in notice.deliveries] == [(500, "answered 500"), (204, None)]
    assert anyio.run(look, job.id) == ([notice], list(client.jobs(limit=0)))
    assert client.deliveries(client.submit(BLUR, [pictures]).id) == []


def test_what_the_server_offers_is_typed(client):
    assert {"resize", "split", "blur", "encode"} <= {operation.name for operation in client.operations()}
    assert {step.name: step.workers for step in client.steps()}["blur"] >= 1
    assert client.is_ready()


def test_a_document_that_cannot_be_is_refused_with_its_place(client, pictures):
    with pytest.raises(RefusedError) as caught:
        client.estimate({"operations": [["sharpen", 1]]})
    assert (caught.value.status, caught.value.code, caught.value.pointer) == (
        422,
        "unknown_operation",
        "/operations/0",
    )
    with pytest.raises(LocalFileError):
        client.submit(BLUR, [pictures / "nothing.jpg"])
    with pytest.raises(ValueError, match="the document has inputs"):
        client.submit({**BLUR, "inputs": ["s3://bucket/a.jpg"]}, pictures)


def test_a_job_can_be_cancelled_as_often_as_one_likes(client, pictures):
    job = client.submit({"operations": [["blur", "bilateral"]] * 30}, [pictures])
    assert client.cancel(job.id).state == client.cancel(job.id).state == "cancelled"
    assert client.wait(job.id, timeout_secs=5).state == "cancelled"


def test_waiting_ends_when_the_time_is_up(client, pictures):
    job = client.submit({"operations": [["blur", "bilateral"]] * 30}, [pictures])
    assert not client.wait(job.id, timeout_secs=0).has_ended
    client.cancel(job.id)


def test_pages_are_followed_to_the_end(client, pictures, monkeypatch):
    monkeypatch.setattr("penstock.client.endpoints.MAX_LIMIT", 2)
    job = client.submit({"operations": [["split", True]]}, [pictures])
    client.wait(job.id)
    assert len(list(client.images(job.id))) == 6
    assert len({result.name for result in client.results(job.id)}) == 24
    upload = client.begin_upload()
    assert list(client.uploaded(upload.id)) == []


async def use_all(server: str, pictures: Path, out: Path) -> dict[str, Any]:
    async with AsyncClient(server) as client:
        job = await client.submit(BLUR, [pictures])
        events = [event.kind async for event in client.events(job.id)]
        ended = await client.wait(job.id)
        results = [result async for result in client.results(job.id)]
        came = [await client.download(result, out) for result in results * 2]
        with pytest.raises(RefusedError):
            await client.estimate({"operations": []})
        with pytest.raises(RefusedError):
            await client.send_files("0" * 26, find_photos([pictures]))
        found = {
            "state": ended.state,
            "last": events[-1],
            "came": came,
            "images": len([image async for image in client.images(job.id)]),
            "jobs": len([job async for job in client.jobs(limit=1)]),
            "cancelled": (await client.cancel((await client.submit(BLUR, [pictures])).id)).state,
            "offered": bool(await client.operations()) and bool(await client.steps()) and await client.is_ready(),
        }
        await client.delete(job.id)
    return found


def test_the_same_goes_without_waiting(server, pictures, tmp_path):
    found = anyio.run(use_all, server, pictures, tmp_path / "out")
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


def test_a_failed_upload_of_many_is_told_as_what_it_is(server, pictures):
    async def send() -> None:
        async with AsyncClient(server) as client:
            await client.submit(BLUR, [pictures / "north", pictures / "gone.jpg"])

    with pytest.raises(LocalFileError, match=r"gone\.jpg: no such file"):
        anyio.run(send)


def test_cut_connections_and_refusals_for_now_are_made_up_for(line: HttpLine, pictures):
    with Client(f"http://127.0.0.1:{line.server_port}", patience_secs=30) as client:
        line.refuse(HANG_UP, times=1)
        upload = client.begin_upload()
        line.refuse(503, times=2)
        job = client.submit(BLUR, [pictures])
        line.refuse(HANG_UP, times=1)
        assert client.wait(job.id).state == "succeeded"
        line.refuse(502, times=1)
        assert len(list(client.results(job.id))) == 6
        line.refuse(HANG_UP, times=1)
        assert list(client.events(job.id))[-1].kind == "end"
        assert list(client.uploaded(upload.id)) == []


def test_a_retry_whose_answer_is_lost_is_not_sent_twice(line: HttpLine):
    with Client(f"http://127.0.0.1:{line.server_port}", patience_secs=30) as client:
        line.refuse(HANG_UP, times=1)
        with pytest.raises(UnavailableError):
            client.retry("0" * 26)
    assert len(line.requests) == 1


def test_retry_after_is_waited_for_or_it_is_over(server, port_of):
    with http_line(port_of(server), extra={"Retry-After": "1"}) as line:
        with Client(f"http://127.0.0.1:{line.server_port}", patience_secs=30) as client:
            line.refuse(429, times=1)
            assert client.steps()
            assert len(line.requests) == 2
        with Client(f"http://127.0.0.1:{line.server_port}", patience_secs=0.5) as client:
            line.refuse(429, times=1)
            with pytest.raises(UnavailableError, match="answers 429"):
                client.steps()
            assert len(line.requests) == 3


def test_other_bytes_than_the_manifest_says_are_not_saved(server, port_of, pictures, tmp_path):
    def rewrite(method: str, path: str) -> str:
        return path.replace("photo-0003-0", "photo-0004-0")

    with (
        http_line(port_of(server), rewrite) as line,
        Client(f"http://127.0.0.1:{line.server_port}", patience_secs=1) as client,
    ):
        job = client.submit(BLUR, [pictures])
        client.wait(job.id)
        [result] = [result for result in client.results(job.id) if result.name == "photo-0003-0.jpg"]
        with pytest.raises(DamagedError):
            client.download(result, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_server_that_is_not_there_is_given_up(unused_port):
    with Client(f"http://127.0.0.1:{unused_port}", patience_secs=0.3) as client:
        assert not client.is_ready()
        with pytest.raises(UnavailableError, match="no answer from"):
            client.steps()


def test_no_proxy_stands_between_this_host_and_itself(server, unused_port, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Client(server, patience_secs=0.3) as client:
        assert client.steps()


def test_the_key_is_sent_and_the_environment_is_heard(server, port_of, monkeypatch):
    with http_line(port_of(server)) as line:
        seen: list[str | None] = []
        monkeypatch.setenv("PENSTOCK_SERVER", f"http://127.0.0.1:{line.server_port}")
        monkeypatch.setenv("PENSTOCK_API_KEY", "secret")
        with Client() as client:
            assert client.server == f"http://127.0.0.1:{line.server_port}"
            client._http.event_hooks["request"] = [lambda request: seen.append(request.headers.get("authorization"))]
            client.steps()
    assert seen == ["Bearer secret"]
