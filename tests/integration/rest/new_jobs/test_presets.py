"""`/v1/presets`: kept per key, validated, and bounded."""

from __future__ import annotations

import pytest

from penstock.common.settings import Limits
from penstock.coordinator.auth.keys import Keys, make_key

WEB = {"operations": [["resize", "inside:512x512"]], "output": "webp", "labels": {"city": "delft"}}


def test_a_preset_is_saved_replaced_and_deleted(coordinator) -> None:
    http = coordinator.http
    first = http.put("/v1/presets/f%C3%BCr das Web", json=WEB)
    assert (first.status_code, first.json()["name"], first.json()["document"]) == (201, "für das Web", WEB)
    assert first.json()["url"] == "/v1/presets/f%C3%BCr%20das%20Web"
    again = http.put(first.json()["url"], json={**WEB, "output": "png"})
    assert (again.status_code, again.json()["document"]["output"]) == (200, "png")
    assert [each["name"] for each in http.get("/v1/presets").json()["presets"]] == ["für das Web"]
    assert http.get(first.json()["url"]).json() == again.json()
    assert http.delete(first.json()["url"]).status_code == 204
    assert [http.get(first.json()["url"]).status_code, http.delete(first.json()["url"]).status_code] == [404, 404]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"operations": [["sharpen", 1]]}, "/operations/0"),
        ({**WEB, "inputs": ["a.jpg"]}, "/inputs"),
        ({**WEB, "webhook": {"url": "https://example.org/", "secret": "x" * 32}}, "/webhook/secret"),
        ([], ""),
    ],
)
def test_what_no_job_could_use_is_refused(coordinator, document: object, pointer: str) -> None:
    refused = coordinator.http.put("/v1/presets/x", json=document)
    assert (refused.status_code, refused.json().get("pointer") or "") == (422, pointer)
    assert coordinator.http.get("/v1/presets").json() == {"presets": []}


def test_presets_are_bounded_in_number_size_and_name(serve) -> None:
    http = serve(limits=Limits(max_presets=2)).http
    assert [http.put(f"/v1/presets/{number}", json=WEB).status_code for number in (1, 2, 3, 1)] == [201, 201, 429, 200]
    assert http.put("/v1/presets/1", json={**WEB, "name": "x" * 70_000}).status_code == 413
    assert http.put(f"/v1/presets/{'x' * 101}", json=WEB).status_code == 422
    assert http.put("/v1/presets/a%0ab", json=WEB).status_code == 422


def test_keys_have_presets_of_their_own(serve) -> None:
    tokens, keys = zip(*(make_key(name) for name in ("delft", "gouda")), strict=True)
    http = serve(keys=Keys(keys)).http
    delft, gouda = ({"Authorization": f"Bearer {token}"} for token in tokens)
    assert http.put("/v1/presets/web", json=WEB, headers=delft).status_code == 201
    assert http.get("/v1/presets", headers=gouda).json() == {"presets": []}
    assert http.get("/v1/presets/web", headers=gouda).status_code == 404
    assert http.get("/v1/presets/web").status_code == 401
