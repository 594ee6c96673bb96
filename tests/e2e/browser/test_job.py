"""A job's page: its steps, throughput and facts, the gallery and what can be done with chosen images, and the map."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser_support import OpenPage, Server
from playwright.sync_api import Browser, Page, expect

from penstock.benchmark.http import RestClient
from penstock.local.server_process import find_free_port, serve

MAX_PAGE_BYTES = 1_200_000
TIMEOUT_MS = 60_000
LARGE = (2448, 3264)


def write_exif(path: Path, image: Path, longitude: float, latitude: float, camera: bytes = b"Test Camera 5") -> Path:
    """Write a JPEG with the pixels of another, a camera's name, and a place as EXIF has it."""

    def entry(tag: int, kind: int, count: int, value: bytes | int) -> bytes:
        return struct.pack("<HHI", tag, kind, count) + (struct.pack("<I", value) if isinstance(value, int) else value)

    def fractions(value: float) -> bytes:
        return struct.pack("<6I", round(abs(value) * 1_000_000), 1_000_000, 0, 1, 0, 1)

    name = camera + b"\0"
    first, gps = 8, 8 + 2 + 2 * 12 + 4
    at = gps + 2 + 4 * 12 + 4
    sides = (b"N\0\0\0" if latitude >= 0 else b"S\0\0\0", b"E\0\0\0" if longitude >= 0 else b"W\0\0\0")
    tiff = b"II*\0" + struct.pack("<I", first)
    tiff += struct.pack("<H", 2) + entry(0x0110, 2, len(name), at + 48) + entry(0x8825, 4, 1, gps) + bytes(4)
    tiff += struct.pack("<H", 4) + entry(1, 2, 2, sides[0]) + entry(2, 5, 3, at)
    tiff += entry(3, 2, 2, sides[1]) + entry(4, 5, 3, at + 24) + bytes(4)
    tiff += fractions(latitude) + fractions(longitude) + name
    segment = b"Exif\0\0" + tiff
    data = image.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    return path


@pytest.fixture(scope="module")
def job(server: Server, drawn: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished job with labels: three images that were taken somewhere, and a damaged one."""
    folder = tmp_path_factory.mktemp("placed")
    places = [(4.36, 52.01), (4.37, 52.02), (4.36, 52.01)]
    images = [write_exif(folder / f"{n}.jpg", drawn[n], *place) for n, place in enumerate(places)]
    cut = folder / "cut.jpg"
    cut.write_bytes(drawn[0].read_bytes()[:2000])
    submitted = server.submit([*images, cut], [["split", True]], name="placed", labels={"city": "delft"})
    server.wait(submitted)
    return submitted


def test_operations_labels_and_source_are_shown(page: Page, server: Server, job: str, drawn: list[Path]) -> None:
    page.goto(f"/#/jobs/{job}")
    facts = page.locator(".facts")
    expect(facts.first).to_contain_text("from uploaded files")
    expect(facts.nth(1)).to_contain_text("city=delft")
    expect(facts.nth(1)).to_contain_text("split")
    (server.inputs / "north").mkdir(exist_ok=True)
    shutil.copy(drawn[0], server.inputs / "north" / "a.jpg")
    document = {"operations": [["blur", "median"]], "inputs": [{"prefix": "north/"}]}
    body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
    other = json.loads(server.client.send("POST", "/v1/jobs", body, headers))["id"]
    page.goto(f"/#/jobs/{other}")
    expect(facts.first).to_contain_text("from north/")


def test_files_of_a_folder_that_were_left_out_are_listed(page: Page, server: Server, drawn: list[Path]) -> None:
    folder = server.inputs / "mixed"
    folder.mkdir()
    shutil.copy(drawn[0], folder / "a.jpg")
    (folder / "anim.gif").write_bytes(b"GIF89a" + bytes(600))
    (folder / "<b>.txt").write_text("no image")
    document = {"operations": [["blur", "median"]], "inputs": [{"prefix": "mixed/"}]}
    body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
    job = json.loads(server.client.send("POST", "/v1/jobs", body, headers))["id"]
    assert server.wait(job)["images"]["total"] == 1
    page.goto(f"/#/jobs/{job}")
    page.get_by_text("2 files were left out").click()
    expect(page.locator(".skipped li")).to_have_text(["<b>.txt is text", "anim.gif is GIF"])


def test_the_download_comes_first_and_the_rest_is_in_a_menu(page: Page, job: str) -> None:
    page.goto(f"/#/jobs/{job}")
    actions = page.locator(".job-head .actions")
    expect(actions.locator("a, button, summary").first).to_have_text("Download results (.zip)")
    page.get_by_text("More", exact=True).click()
    for form in ("JSON lines", "CSV", "GeoJSON"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Manifest ({form})").click()
        assert Path(download.value.path()).read_bytes()
        page.get_by_text("More", exact=True).click()


def test_steps_of_the_same_workers_are_one_group_with_one_legend(page: Page, job: str) -> None:
    page.goto(f"/#/jobs/{job}")
    groups = page.locator(".steps li")
    expect(groups).to_have_count(1)
    expect(groups.locator("h3")).to_have_text("split → encode jpg 95")
    expect(groups.locator(".numbers").first).to_have_text("3 done · 1 failed")
    expect(groups).to_contain_text("per image: split ")
    expect(page.locator(".legend span")).to_have_text(["done", "failed"])


def test_steps_of_different_workers_stand_apart(page: Page, job: str) -> None:
    def separate(route: Any) -> None:
        answer = route.fetch().json()
        for step in answer["steps"]:
            step["joined"] = False
        answer["bottleneck"] = "encode"
        route.fulfill(json=answer)

    page.route(f"**/v1/jobs/{job}", separate)
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".steps li h3")).to_have_text(["split", "encode jpg 95"])
    expect(page.locator(".steps li.held h3")).to_have_text(["encode jpg 95"])


def test_throughput_is_a_curve_over_the_working_time(page: Page, job: str) -> None:
    def fill(route: Any) -> None:
        answer = route.fetch().json()
        answer["throughput"] = {"interval_seconds": 2, "done": [4, 8, 2], "failed": [0, 1, 0]}
        answer["worked_seconds"] = 5.0
        route.fulfill(json=answer)

    page.route(f"**/v1/jobs/{job}", fill)
    page.goto(f"/#/jobs/{job}")
    curve = page.get_by_role("img", name="Throughput, up to 4.0 images/s")
    expect(curve.locator("rect")).to_have_count(1)
    box = curve.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    expect(page.locator(".curve figcaption")).to_contain_text("2.0 s · 4.0 images/s done · 0.5 images/s failed")


def test_tiles_have_the_ratio_of_their_image(page: Page, server: Server, tmp_path: Path) -> None:
    sizes = {"wide": (40, 100), "tall": (100, 60), "parts": (50, 90)}
    for name, size in sizes.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((*size, 3), 90, np.uint8))
    whole = server.submit([tmp_path / "wide.png", tmp_path / "tall.png"], [["blur", "median"]])
    parts = server.submit([tmp_path / "parts.png"], [["split", True]])
    for each in (whole, parts):
        server.wait(each)
        page.goto(f"/#/jobs/{each}")
        expect(page.locator(".tile img").first).to_be_visible()
        for tile in page.locator(".tile").all():
            name = tile.locator(".name").inner_text().split(".")[0]
            box = tile.locator(".picture").bounding_box()
            assert box is not None
            assert box["width"] / box["height"] == pytest.approx(sizes[name][1] / sizes[name][0], rel=0.05), name


def test_chosen_images_are_downloaded_and_exported(page: Page, job: str) -> None:
    page.goto(f"/#/jobs/{job}")
    page.get_by_label("Choose 0.jpg").check()
    page.get_by_label("Choose 2.jpg").check()
    chosen = page.get_by_role("group", name="Chosen images")
    expect(chosen).to_contain_text("2 images chosen")
    with page.expect_download() as download:
        chosen.get_by_role("link", name="Download").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert {name.split("-")[0] for name in archive.namelist()} == {"0", "2"}
    assert len(archive.namelist()) == 8
    with page.expect_download() as download:
        chosen.get_by_role("link", name="GeoJSON").click()
    features = json.loads(Path(download.value.path()).read_text())["features"]
    assert {each["properties"]["image"] for each in features} == {0, 2}
    page.get_by_label("Choose 2.jpg").uncheck()
    with page.expect_download() as download:
        chosen.get_by_role("link", name="CSV").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 5
    chosen.get_by_role("button", name="Clear").click()
    expect(chosen).to_have_count(0)


def test_chosen_images_are_retried_where_that_may_help(
    page: Page, server: Server, failing_images: list[Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    submitted = server.submit([*failing_images, empty], [{"op": "trip"}])
    server.wait(submitted)
    page.goto(f"/#/jobs/{submitted}")
    expect(page.locator(".tile")).to_have_count(3)
    page.get_by_role("button", name="Choose all shown").click()
    page.get_by_role("group", name="Chosen images").get_by_role("button", name="Retry (1)").click()
    expect(page.get_by_text("retried once")).to_be_visible()


def test_the_viewer_shows_what_the_exif_says(page: Page, job: str) -> None:
    page.goto(f"/#/jobs/{job}/images/1")
    exif = page.locator(".exif")
    expect(exif).to_contain_text("Test Camera 5")
    expect(exif).to_contain_text("52.02° N, 4.37° E")
    page.get_by_role("button", name="Previous").click()
    expect(exif).to_contain_text("52.01° N, 4.36° E")


def test_the_map_has_a_dot_for_each_place_that_opens_its_image(page: Page, job: str) -> None:
    page.goto(f"/#/jobs/{job}")
    places = page.get_by_role("region", name="Map")
    expect(places).to_contain_text("3 images with a place, at 2 places")
    expect(places.locator("circle")).to_have_count(2)
    expect(places.locator(".graticule").first).to_be_visible()
    places.locator("circle").nth(1).click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("1.jpg")
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_map_is_loaded_from_the_server_that_a_setting_names_and_no_other(
    browser: Browser, drawn: list[Path], tmp_path: Path
) -> None:
    environment = {
        "PENSTOCK_MAP_TILES": "https://tiles.example/v1/{z}/{x}/{y}.png",
        "PENSTOCK_MAP_CREDIT": "© <i>Someone</i>",
        "PENSTOCK_API_KEYS": "",
        "PENSTOCK_WORKERS": "1",
    }
    tile = cv2.imencode(".png", np.full((256, 256, 3), 200, np.uint8))[1].tobytes()
    images = [write_exif(tmp_path / f"{n}.jpg", drawn[n], 4.36 + n / 100, 52.01) for n in range(2)]
    options = ["--data", str(tmp_path / "data")]
    running = serve(options, port=find_free_port(), environment=environment, log=tmp_path / "log")
    with running as (url, _), RestClient(url) as client, browser.new_page(base_url=url) as page:
        page.set_default_timeout(TIMEOUT_MS)
        page.route("https://tiles.example/**", lambda route: route.fulfill(body=tile, content_type="image/png"))
        job = client.post_job({"operations": [["blur", "median"]]}, images)["id"]
        client.wait(job, poll_secs=0.1)
        page.goto(f"/#/jobs/{job}")
        places = page.get_by_role("region", name="Map")
        expect(places.locator("circle")).to_have_count(2)
        expect(places).to_contain_text("© <i>Someone</i>")
        first = places.locator("img").first
        expect(first).to_have_js_property("naturalWidth", 256)
        assert re.fullmatch(r"https://tiles\.example/v1/\d+/\d+/\d+\.png", first.get_attribute("src") or "")
        frame = places.locator(".map").bounding_box()
        tiles = [tile.bounding_box() for tile in places.locator("img").all()]
        assert frame is not None
        assert all(
            frame["x"] < box["x"] + box["width"] and box["x"] < frame["x"] + frame["width"] for box in tiles if box
        )
        policy = page.request.get("/").headers["content-security-policy"]
        assert "img-src 'self' https://tiles.example;" in policy


def test_the_tiles_of_a_map_are_where_web_mercator_has_them(page: Page) -> None:
    page.goto("/")
    at = """async ([longitude, latitude]) => {
      const { projectOnTiles, tilesOf } = await import("/web/parts/map.js");
      const places = [{ longitude, latitude }, { longitude: longitude + 0.02, latitude: latitude + 0.01 }];
      const map = projectOnTiles(places, 800);
      const [x, y] = [map.x(longitude), map.y(latitude)];
      return tilesOf(map, 800).filter(tile => tile.left <= x && x < tile.left + tile.size
        && tile.top <= y && y < tile.top + tile.size).map(tile => [tile.z, tile.x, tile.y]);
    }"""
    for longitude, latitude in [(4.36, 52.01), (-73.98, 40.75), (151.2, -33.86), (179.995, -16.5)]:
        [[z, x, y]] = page.evaluate(at, [longitude, latitude])
        angle = math.radians(latitude)
        assert x == math.floor((longitude + 180) / 360 * 2**z)
        assert y == math.floor((1 - math.asinh(math.tan(angle)) / math.pi) / 2 * 2**z)


def test_a_job_without_places_has_no_map(page: Page, server: Server, drawn: list[Path]) -> None:
    submitted = server.submit(drawn[:1], [["blur", "median"]])
    server.wait(submitted)
    with page.expect_response(lambda response: response.url.endswith("/places")):
        page.goto(f"/#/jobs/{submitted}")
    expect(page.locator(".tile")).to_have_count(1)
    expect(page.get_by_role("region", name="Map")).to_have_count(0)


def test_a_page_of_48_large_results_loads_little(open_page: OpenPage, server: Server, tmp_path: Path) -> None:
    """Results of 8 megapixels, which would be 88 MB."""
    noise = cv2.resize(np.random.default_rng(5).integers(0, 255, (306, 408, 3), np.uint8), LARGE[::-1])
    encoded = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    images = [tmp_path / f"{number:02}.jpg" for number in range(48)]
    for image in images:
        image.write_bytes(encoded)
    submitted = server.submit(images, [["blur", "gaussian"]])
    server.wait(submitted)
    with open_page(viewport={"width": 1600, "height": 4000}) as (page, _):
        page.goto(f"/#/jobs/{submitted}")
        expect(page.locator(".tile img")).to_have_count(48)
        shown = "() => [...document.querySelectorAll('.tile img')].every(each => each.complete && each.naturalWidth)"
        page.wait_for_function(shown, timeout=240_000)
        entries = "() => performance.getEntries().map(each => [each.name, each.encodedBodySize || 0])"
        loaded: dict[str, int] = dict(page.evaluate(entries))
        assert sum("/thumbnail" in url for url in loaded) == 48
        assert sum(loaded.values()) <= MAX_PAGE_BYTES, sorted(loaded.items(), key=lambda each: -each[1])[:10]
