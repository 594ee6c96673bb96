"""Sessions: login with a key, the cookie, and protection against pages of other sites."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import Limits
from penstock.coordinator.api.app import create_app
from penstock.coordinator.auth.keys import Keys, hash_token, make_key

TOKEN, KEY = make_key("delft")
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def coordinator(serve: Serve) -> ApiServer:
    """A REST API with a key."""
    return serve(keys=Keys([KEY]))


def log_in(coordinator: ApiServer, **headers: str) -> httpx.Response:
    answer: httpx.Response = coordinator.http.post("/session", json={"key": TOKEN}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def cookie_of(answer: httpx.Response) -> Any:
    return SimpleCookie(answer.headers["set-cookie"])["penstock_session"]


def test_a_browser_logs_in_sees_its_jobs_and_logs_out(coordinator):
    http = coordinator.http
    assert http.get("/session").status_code == http.get("/v1/jobs").status_code == 401
    assert log_in(coordinator).json() == {"open": False, "name": "delft", "admin": False}
    assert http.get("/session").json()["name"] == "delft"
    assert http.get("/v1/jobs").status_code == http.get("/static/").status_code == 200
    cookie = {"Cookie": f"penstock_session={http.cookies['penstock_session']}"}
    assert http.delete("/session", headers=OWN).status_code == 204
    assert dict(http.cookies) == {}
    assert http.get("/v1/jobs", headers=cookie).status_code == 401


def test_the_cookie_is_same_site_and_http_only(coordinator):
    cookie = cookie_of(log_in(coordinator))
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert (cookie["secure"], cookie["max-age"]) == ("", "43200")
    assert cookie_of(log_in(coordinator, **{"X-Forwarded-Proto": "https"}))["secure"] is True


def test_the_cookie_is_not_the_key_and_the_database_stores_neither(coordinator):
    token = cookie_of(log_in(coordinator)).value
    assert token != TOKEN
    repository = coordinator.services.repository
    assert repository.find_session(hash_token(token), time.time()) == KEY.hash
    assert repository.find_session(token, time.time()) is None
    assert coordinator.http.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_form_logs_in_and_redirects_to_the_page(coordinator):
    answer = coordinator.http.post("/session", data={"key": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert coordinator.http.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"json": {"key": "pk_wrong"}}, 401, "unauthorized"),
        ({"data": {"key": ""}}, 422, "invalid_document"),
        ({"json": {}}, 422, "invalid_document"),
        ({"json": {"key": TOKEN, "more": 1}}, 422, "unknown_field"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "invalid_json"),
        ({"content": TOKEN, "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"content": b"x" * 5_000, "headers": {"Content-Type": "application/json"}}, 413, "too_large"),
        ({"json": {"key": TOKEN}, "headers": {"Origin": "https://evil.example"}}, 403, "foreign_origin"),
        ({"data": {"key": TOKEN}, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "foreign_origin"),
        ({"data": {"key": TOKEN}, "headers": {"Sec-Fetch-Site": "same-site"}}, 403, "foreign_origin"),
        ({"data": {"key": TOKEN}, "headers": {"Referer": "https://evil.example/"}}, 403, "foreign_origin"),
    ],
)
def test_a_failed_login_sets_no_cookie(coordinator, body, status, code):
    answer = coordinator.http.post("/session", **body)
    assert (answer.status_code, answer.json()["code"][: len(code)]) == (status, code)
    assert "set-cookie" not in answer.headers
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_change_with_only_a_cookie_is_refused(coordinator, headers):
    log_in(coordinator)
    for method, path in (
        ("POST", "/v1/uploads"),
        ("DELETE", "/session"),
        ("POST", "/process"),
        ("PUT", "/v1/uploads/x/files/y"),
    ):
        assert coordinator.http.request(method, path, headers=headers).status_code == 403, f"{method} {path}"
    assert coordinator.http.get("/session").status_code == 200


def test_this_servers_own_page_may_make_changes(coordinator):
    log_in(coordinator)
    own_origin = {"Origin": str(coordinator.http.base_url).rstrip("/")}
    for headers in (OWN, own_origin, {**OWN, **own_origin}):
        assert coordinator.http.post("/v1/uploads", headers=headers).status_code == 201


def test_a_key_in_the_header_needs_no_page_and_overrides_the_cookie(coordinator):
    log_in(coordinator)
    http = coordinator.http
    assert http.post("/v1/uploads", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 201
    assert http.get("/v1/jobs", headers={"Authorization": "Bearer pk_wrong"}).status_code == 401


def test_a_session_ends_when_it_expires_or_its_key_is_removed(coordinator, serve):
    log_in(coordinator)
    cookie = {"Cookie": f"penstock_session={coordinator.http.cookies['penstock_session']}"}
    new = serve(keys=Keys([make_key("delft")[1]]))
    assert new.http.get("/session", headers=cookie).status_code == 401
    brief = serve(keys=Keys([KEY]), session_secs=0.0)
    brief.http.post("/session", json={"key": TOKEN})
    assert brief.http.get("/session").status_code == 401


def test_all_coordinators_on_a_database_share_sessions(coordinator, switch):
    log_in(coordinator)
    switch.app = create_app(coordinator.services)
    assert coordinator.http.get("/session").json()["name"] == "delft"


def test_an_open_server_says_so_and_needs_no_login(serve):
    http = serve().http
    assert http.get("/session").json() == {"open": True, "name": None, "admin": True}
    answer = http.post("/session", json={"key": "whatever"})
    assert answer.json()["open"] is True
    assert "set-cookie" not in answer.headers
    assert http.delete("/session").status_code == 204


def test_an_unreachable_database_does_not_log_out(coordinator, monkeypatch):
    log_in(coordinator)

    def fail(*_: object) -> None:
        raise UnavailableError("database", "the database is unreachable")

    monkeypatch.setattr(coordinator.services.repository, "find_session", fail)
    answer = coordinator.http.get("/session")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_page_of_this_server_or_none_may_log_in(coordinator):
    page = {"Referer": f"{str(coordinator.http.base_url).rstrip('/')}/#jobs"}
    for headers in ({}, OWN, page, {"Sec-Fetch-Site": "none"}):
        assert log_in(coordinator, **headers).status_code == 200


def test_more_sessions_than_allowed_end_the_first(serve):
    coordinator = serve(keys=Keys([KEY]), limits=Limits(max_sessions=2))
    cookies = [f"penstock_session={cookie_of(log_in(coordinator)).value}" for _ in range(3)]
    coordinator.http.cookies.clear()
    found = [coordinator.http.get("/session", headers={"Cookie": cookie}).status_code for cookie in cookies]
    assert found == [401, 200, 200]


def test_unknown_keys_are_logged_without_what_is_secret(coordinator, caplog):
    coordinator.http.post("/session", json={"key": make_key("delft")[0]})
    wrong = "pk_abcdSECRETSECRETSECRETSECRET"
    coordinator.http.get("/v1/jobs", headers={"Authorization": f"Bearer {wrong}", "X-Forwarded-For": "1.2.3.4"})
    coordinator.http.post("/session", json={"key": "a password"})
    lines = [record.message for record in caplog.records if "unknown API key" in record.message]
    assert len(lines) == 3
    assert lines[1] == "refused an unknown API key, pk_abcd…, from 127.0.0.1, forwarded for '1.2.3.4'"
    assert "SECRET" not in caplog.text
    assert "password" not in caplog.text
