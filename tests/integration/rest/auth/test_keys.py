"""API keys on the whole REST API: which requests need one, and that owners see only their own."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pkgutil import iter_modules
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve

from penstock.common.store.keys import thumbnail_key
from penstock.coordinator.api import routes
from penstock.coordinator.auth.keys import Keys, make_key
from penstock.coordinator.ports.repository import ALL_OWNERS

MADE = {name: make_key(name, admin=name == "admin") for name in ("delft", "gouda", "admin")}
KEYS = Keys([key for _, key in MADE.values()])
OPEN = {"/", "/docs", "/web/{path:path}", "/healthz", "/readyz", "/metrics", "/v1/backlog"}
PLAN = {"operations": [["blur", "median"]]}


@pytest.fixture
def coordinator(serve: Serve) -> ApiServer:
    """A REST API with keys."""
    return serve(keys=KEYS)


@pytest.fixture
def login(coordinator: ApiServer) -> Iterator[Callable[..., httpx.Client]]:
    """Call it with the name of a key to get a client that sends it."""
    clients: list[httpx.Client] = []

    def make(name: str, **headers: str) -> httpx.Client:
        headers["Authorization"] = f"Bearer {MADE[name][0]}"
        clients.append(httpx.Client(base_url=coordinator.http.base_url, headers=headers, timeout=20, verify=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def send_job(client: httpx.Client, jpeg: bytes, **document: Any) -> str:
    """Submit a job of one image; return its id."""
    sent = [("files", ("a.jpg", jpeg))]
    answer = client.post(
        "/v1/jobs", data={"job": httpx.Request("POST", "x:", json={**PLAN, **document}).content}, files=sent
    )
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job


def begin_upload(client: httpx.Client, jpeg: bytes) -> str:
    """Create an upload with one image; return its id."""
    upload: str = client.post("/v1/uploads").json()["id"]
    assert client.put(f"/v1/uploads/{upload}/files/a.jpg", content=jpeg).status_code == 201
    return upload


def all_routes() -> list[tuple[str, str]]:
    """Return every method and path of the application, the undocumented ones included."""
    modules = [importlib.import_module(f"{routes.__name__}.{found.name}") for found in iter_modules(routes.__path__)]
    found = [route for module in modules if hasattr(module, "router") for route in module.router.routes]
    return [(method, route.path) for route in found for method in sorted(route.methods)]


def path_of(template: str, job: str, upload: str) -> str:
    """Fill in a path's parameters; fails for an unknown one."""
    names = {"processed/{name:file}": "processed/a.jpg", "sent/{name:file}": "sent/a.jpg"}
    for found, name in names.items():
        template = template.replace(found, name)
    template = template.replace("{name:file}", "a.jpg").replace("{path:path}", "x")
    return template.format(job=job, upload=upload, image=0, name="a")


def test_every_route_needs_a_key_except_the_open_ones(coordinator, login):
    documented = login("delft").get("/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path, methods in documented.items() for method in methods}
    assert described <= {(method, re.sub(":file", "", path)) for method, path in all_routes()}
    nobody = "0" * 26
    let_in = set()
    for method, template in all_routes():
        answer = coordinator.http.request(method, path_of(template, nobody, nobody))
        if answer.status_code != 401:
            let_in.add((method, template))
            continue
        assert answer.headers["www-authenticate"] == 'Bearer realm="penstock"'
        if method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unauthorized"
    assert let_in == {("GET", path) for path in OPEN} | {("POST", "/session")}


@pytest.mark.parametrize(
    "header",
    [
        "Bearer pk_wrong",
        "Bearer",
        "Basic cGs6cGs=",
        "",
        "pk_x",
        pytest.param(f"Basic {MADE['delft'][0]}", id="a key by another scheme"),
    ],
)
def test_an_unknown_key_is_refused(coordinator, header):
    assert coordinator.http.get("/v1/jobs", headers={"Authorization": header}).status_code == 401


def test_the_authorization_scheme_is_case_insensitive(coordinator):
    for scheme in ("Bearer", "bearer"):
        answer = coordinator.http.get("/v1/jobs", headers={"Authorization": f"{scheme} {MADE['delft'][0]}"})
        assert answer.status_code == 200


def test_metrics_and_backlog_are_open_directly_and_closed_behind_nginx(coordinator, login):
    for path in ("/metrics", "/v1/backlog?steps=blur"):
        front = {"X-Penstock-Front": "accel"}
        assert coordinator.http.get(path).status_code == 200
        assert coordinator.http.get(path, headers=front).status_code == 401
        assert login("delft", **front).get(path).status_code == 200


def test_everything_of_a_job_or_upload_is_visible_to_its_owner_only(coordinator, login, jpeg):
    delft, gouda, admin = login("delft"), login("gouda"), login("admin")
    job, upload = send_job(delft, jpeg), begin_upload(delft, jpeg)
    coordinator.scheduler.finish(job)
    coordinator.store.put(thumbnail_key(job, 0, 0), [b"made before"])  # nobody would make one here
    named = [(method, path) for method, path in all_routes() if "{job}" in path or "{upload}" in path]
    led_on = {"/static/{job}", "/static/{job}/sent", "/static/{job}/processed"}  # to the same with a slash
    asked = [(method, path) for method, path in named if path not in led_on]
    assert len(asked) >= 18
    for method, template in sorted(asked):  # DELETE goes first, and must not
        path = path_of(template, job, upload)
        body = jpeg if method == "PUT" else None
        assert gouda.request(method, path, content=body).status_code == 404, f"{method} {path}"
    for method, template in asked:
        path = path_of(template, job, upload)
        if method in ("GET", "HEAD"):
            assert delft.request(method, path).status_code == admin.request(method, path).status_code == 200, path
    for method, template in asked:
        if method not in ("GET", "HEAD"):
            path = path_of(template, send_job(delft, jpeg), begin_upload(delft, jpeg))
            answer = delft.request(method, path, content=jpeg if method == "PUT" else None)
            assert answer.status_code in (200, 202, 204, 409), f"{method} {path}: {answer.text}"


def test_a_missing_job_and_another_owners_get_the_same_response(coordinator, login, jpeg):
    job = send_job(login("delft"), jpeg)
    missing = job[:-1] + ("0" if job[-1] != "0" else "1")
    answers = [login("gouda").get(f"/v1/jobs/{which}") for which in (job, missing)]
    first, second = (answer.text.replace(which, "it") for answer, which in zip(answers, (job, missing), strict=True))
    assert first == second


def test_lists_have_only_the_callers_own(coordinator, login, jpeg):
    delft, gouda = (send_job(login(name), jpeg, labels={"a": "b"}) for name in ("delft", "gouda"))

    def listed(name: str, path: str) -> list[str]:
        answer = login(name, Accept="application/json").get(path)
        return [job["id"] for job in answer.json()["jobs"]]

    owners = [job["owner"] for job in login("admin").get("/v1/jobs").json()["jobs"]]
    assert owners == ["gouda", "delft"]
    for path in ("/v1/jobs", "/v1/jobs?label=a=b", "/v1/jobs?state=accepted", "/static/"):
        assert listed("delft", path) == [delft]
        assert listed("gouda", path) == [gouda]
        assert sorted(listed("admin", path)) == sorted([delft, gouda])


def test_responses_are_not_stored_in_shared_caches(coordinator, login, jpeg):
    delft = login("delft")
    job = send_job(delft, jpeg)
    for path in (f"/v1/jobs/{job}", "/v1/jobs", f"/v1/jobs/{job}/results.zip", "/session"):
        assert delft.get(path).headers["cache-control"] == "no-store"
    for path in (f"/static/{job}/sent/a.jpg", f"/static/{job}/sent/", "/static/"):
        assert delft.get(path, headers={"Accept": "text/html"}).headers["cache-control"] == "private, no-cache"
    assert "private" not in delft.get("/").headers["cache-control"], "a page of nobody's"


def test_jobs_of_process_belong_to_the_caller(coordinator, login, jpeg):
    sent = [("actions", (None, '{"operations": [["split", true]], "output": "png"}')), ("files", ("a.jpg", jpeg))]
    [job] = login("delft").post("/process", files=sent).json()["jobs"]
    assert login("delft").get(job["static"]).status_code == 200
    assert login("gouda").get(job["static"]).status_code == login("gouda").get(job["url"]).status_code == 404


def test_another_owners_upload_cannot_be_used(coordinator, login, jpeg):
    upload = begin_upload(login("delft"), jpeg)
    document = {**PLAN, "inputs": [{"upload": upload}]}
    refused = login("gouda").post("/v1/jobs", json=document)
    assert (refused.status_code, refused.json()["code"]) == (422, "source_not_found")
    assert login("delft").post("/v1/jobs", json=document).status_code == 202


def test_two_owners_may_use_the_same_idempotency_key(coordinator, login, jpeg):
    def send(sender: str, **document: Any) -> httpx.Response:
        data = {"job": httpx.Request("POST", "x:", json={**PLAN, **document}).content}
        headers = {"Idempotency-Key": "k"}
        return login(sender).post("/v1/jobs", data=data, files=[("files", ("a.jpg", jpeg))], headers=headers)

    first, other = send("delft"), send("gouda", name="another")
    assert (first.status_code, other.status_code) == (202, 202)
    again = send("delft")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert send("delft", name="changed").status_code == 409


def test_jobs_from_before_there_were_keys_are_visible_to_admins(serve, coordinator, login, jpeg):
    job = coordinator.services.repository.list_jobs(ALL_OWNERS, limit=1)
    assert job == []
    open_one = serve()
    old = open_one.submit(["a.jpg"], jpeg)["id"]
    closed = serve(keys=KEYS)
    assert [
        closed.http.get(f"/v1/jobs/{old}", headers={"Authorization": f"Bearer {MADE[name][0]}"}).status_code
        for name in ("delft", "admin")
    ] == [404, 200]


def test_the_openapi_document_describes_keys_and_needs_none(coordinator):
    document = coordinator.http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"].items() >= {"type": "http", "scheme": "bearer"}.items()
    assert "401" in document["paths"]["/v1/jobs"]["post"]["responses"]
