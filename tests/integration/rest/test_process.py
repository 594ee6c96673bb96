"""`POST /process`: jobs by one form."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from api_server import ApiServer, Serve

from penstock.common.settings import Limits

ACTION = {"operations": [["resize", "200x300"], ["split", True], ["blur", "median"]], "output": "jpg"}


def test_the_documented_curl_call_creates_a_job(coordinator: ApiServer, jpeg: bytes, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg)
    actions = 'actions={"operations":[["resize","200x300"],["split",true],["blur","median"]],"output":"jpg"}'
    url = f"localhost:{coordinator.port}/process"
    sent = subprocess.run(
        ["curl", "-sS", "--ipv4", "-F", actions, "-F", f"files=@{photo}", url], capture_output=True, timeout=30
    )
    (job,) = json.loads(sent.stdout)["jobs"]
    plan = coordinator.http.get(job["url"]).json()["operations"]
    assert [operation["op"] for operation in plan] == ["resize", "split", "blur", "encode"]
    assert coordinator.http.get(f"{job['static']}sent/photo.jpg").content == jpeg


def test_results_are_named_as_by_version_0_1_0_unless_an_action_has_a_template(
    coordinator: ApiServer, jpeg: bytes
) -> None:
    actions = [{"operations": [["blur", "median"]]}]
    actions.append({**actions[0], "names": "{folder}/{stem}.{ext}"})
    files = [("files", (name, jpeg)) for name in ("a.jpg", "A.jpg", "a.png.jpg")]
    answer = coordinator.http.post("/process", data={"actions": json.dumps(actions)}, files=files)
    made = []
    for job in answer.json()["jobs"]:
        coordinator.scheduler.finish(job["id"])
        results = coordinator.http.get(f"{job['url']}/results").json()["results"]
        made.append([entry["name"] for entry in results])
        assert all(coordinator.http.get(entry["url"]).status_code == 200 for entry in results)
    assert made == [["a-0.jpg", "A-0.jpg", "a.png-0.jpg"], ["a.jpg", "A~2.jpg", "a.png.jpg"]]


def test_every_action_is_a_job_over_all_files_and_files_are_stored_once(
    coordinator: ApiServer, jpeg: bytes, png: bytes
) -> None:
    other = {"operations": [["blur", "gaussian"]], "output": "png"}
    files = [("files", ("a.jpg", jpeg)), ("files", ("b.png", png))]
    answer = coordinator.http.post(
        "/process", data={"actions": [json.dumps(ACTION), json.dumps([other, ACTION])]}, files=files
    )
    assert answer.status_code == 202
    jobs = answer.json()["jobs"]
    views = [coordinator.http.get(job["url"]).json() for job in jobs]
    assert [view["operations"][-1]["format"] for view in views] == ["jpg", "png", "jpg"]
    assert [view["images"]["total"] for view in views] == [2, 2, 2]
    assert len(coordinator.stored()) == 2
    assert coordinator.scheduler.woken > 0


def test_files_with_equal_names_are_numbered_and_can_all_be_fetched(
    coordinator: ApiServer, jpeg: bytes, png: bytes
) -> None:
    files = [("files", ("x.jpg", jpeg)), ("files", ("x.jpg", png)), ("files", ("x~2.jpg", jpeg))]
    answer = coordinator.http.post("/process", data={"actions": json.dumps(ACTION)}, files=files)
    sent = f"{answer.json()['jobs'][0]['static']}sent/"
    listed = coordinator.http.get(sent, headers={"Accept": "application/json"}).json()["files"]
    assert [file["name"] for file in listed] == ["x.jpg", "x~3.jpg", "x~2.jpg"]
    assert [coordinator.http.get(file["url"]).content for file in listed] == [jpeg, png, jpeg]


def test_an_invalid_action_is_refused_with_a_pointer_and_leaves_nothing(coordinator: ApiServer, jpeg: bytes) -> None:
    bad = {"operations": [["resize", "200x300"], ["sharpen", 3]]}
    answer = coordinator.http.post(
        "/process", data={"actions": [json.dumps(ACTION), json.dumps(bad)]}, files={"files": ("a.jpg", jpeg)}
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["pointer"]) == ("unknown_operation", "/actions/1/operations/1")
    assert "sharpen" in problem["detail"]
    assert coordinator.stored() == []
    assert coordinator.http.get("/v1/jobs").json()["jobs"] == []


def test_actions_are_required_and_have_no_inputs(coordinator: ApiServer, jpeg: bytes) -> None:
    with_inputs = json.dumps({**ACTION, "inputs": ["a.jpg"]})
    for actions, code in ([with_inputs], "inputs_and_files"), ([], "no_actions"), (["[]"], "no_actions"):
        answer = coordinator.http.post("/process", data={"actions": actions}, files={"files": ("a.jpg", jpeg)})
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_actions_above_the_limit_of_open_jobs_are_all_refused(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_open_jobs=2))
    answer = coordinator.http.post(
        "/process", data={"actions": json.dumps([ACTION] * 3)}, files={"files": ("a.jpg", jpeg)}
    )
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert coordinator.services.repository.count_open_jobs() == 0
    assert coordinator.stored() == []


def test_a_page_of_another_site_cannot_make_a_browser_send_a_job(coordinator: ApiServer, jpeg: bytes) -> None:
    def post(**headers: str) -> Any:
        return coordinator.http.post(
            "/process", data={"actions": json.dumps(ACTION)}, files=[("files", ("a.jpg", jpeg))], headers=headers
        )

    for origin in ("https://evil.example", "null", "http://["):
        refused = post(Origin=origin)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
    assert coordinator.stored() == []
    assert post(Origin=f"http://127.0.0.1:{coordinator.port}", Host=f"127.0.0.1:{coordinator.port}").status_code == 202
