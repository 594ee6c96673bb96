"""Place, time, heading and profile of photographs in their results, as other programs read them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from camera_files import GPANO, PLACE, PROFILE, TAKEN, exif, panorama, photograph, read_exif, read_info, record, xmp
from PIL.TiffImagePlugin import IFDRational
from run_folders import Run

from penstock.local.sample_images import draw_image

OWNER = "Somebody Private"
PLACE_IN_MANIFEST = '"place": {"longitude": 4.3571, "latitude": 52.0116, "altitude": 87.4, "heading": 143.2}'
IMAGE = {0x011A: IFDRational(72), 0x011B: IFDRational(72), 0x0128: 2, 0x0213: 2}
DETAILS = {0x9000: b"0232", 0x9101: b"\1\2\3\0", 0xA000: b"0100", 0xA001: 1}
"""Tags that EXIF requires in a JPEG file, of the first and second directory."""


@pytest.fixture(scope="module")
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment of processes, with the time limit of real ones."""
    return {name: value for name, value in environment.items() if not name.startswith("PENSTOCK_STEP_")}


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photograph that was taken on its side, and a panorama, with everything that cameras write."""
    folder = tmp_path_factory.mktemp("camera")
    sideways = exif(
        image=IMAGE | {0x0112: 6, 0x013B: OWNER},
        exif=DETAILS | {0x9011: "+02:00", 0xA430: OWNER, 0xA002: 640, 0xA003: 480},
    )
    packet = xmp('photoshop:City="Delft"', namespaces={"photoshop": "http://ns.adobe.com/photoshop/1.0/"})
    iptc = record(90, b"Delft") + record(80, OWNER.encode())
    pixels = draw_image(1, 640, 480)
    (folder / "sideways.jpg").write_bytes(
        photograph("JPEG", pixels, exif=sideways, xmp=packet, icc_profile=PROFILE, iptc=iptc)
    )
    (folder / "panorama.jpg").write_bytes(
        photograph("JPEG", draw_image(2, 640, 320), exif=exif(image=IMAGE, exif=DETAILS), xmp=panorama(640, 320))
    )
    (folder / "flat.png").write_bytes(
        photograph("PNG", pixels, exif=exif(image=IMAGE, exif=DETAILS), icc_profile=PROFILE)
    )
    return folder


def read_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what Pillow finds in each result, by name."""
    return {path.name: read_info(path.read_bytes()) for path in folder.iterdir() if path.suffix in (".jpg", ".png")}


@pytest.mark.parametrize("output", ["jpg", "png"])
def test_resized_photographs_keep_place_time_heading_and_profile(
    penstock: Run, camera: Path, tmp_path: Path, output: str
) -> None:
    done = penstock("run", camera, "--op", "resize=320x240", "--output", output, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    results = read_folder(tmp_path / "o")
    assert len(results) == 3
    for name, found in results.items():
        directories = read_exif(found["exif"])
        assert directories["gps"] == PLACE, name
        assert (directories["exif"][0x9003], directories["exif"][0x920A]) == (TAKEN, 3.6)
        assert directories["image"].get(0x0112, 1) == 1
        assert (directories["exif"][0xA002], directories["exif"][0xA003]) == (320, 240)
        assert found.get("icc_profile") == (None if name.startswith("panorama") else PROFILE)


def test_pixels_of_a_photograph_taken_on_its_side_are_upright_and_not_turned_again(
    penstock: Run, camera: Path, tmp_path: Path
) -> None:
    done = penstock("run", camera / "sideways.jpg", "--op", "resize=240x320", "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "o").glob("*.jpg")
    upright = cv2.resize(cv2.imread(str(camera / "sideways.jpg")), (240, 320), interpolation=cv2.INTER_AREA)
    expected = cv2.imdecode(cv2.imencode(".jpg", upright)[1], cv2.IMREAD_COLOR)
    assert np.array_equal(cv2.imread(str(result)), expected)


def test_tiles_of_a_panorama_say_where_they_lie(penstock: Run, camera: Path, tmp_path: Path) -> None:
    operations = ["--op", "resize=320x160", "--op", "split"]
    done = penstock("run", camera / "panorama.jpg", *operations, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    places = set()
    for found in read_folder(tmp_path / "o").values():
        packet = found["xmp"].decode()
        sizes = {name: _gpano(packet, name) for name in ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels")}
        assert sizes == {"FullPanoWidthPixels": 320, "CroppedAreaImageWidthPixels": 160}
        places.add((_gpano(packet, "CroppedAreaLeftPixels"), _gpano(packet, "CroppedAreaTopPixels")))
        assert read_exif(found["exif"])["gps"] == PLACE
    assert places == {(0, 0), (160, 0), (0, 80), (160, 80)}


def _gpano(packet: str, name: str) -> int:
    assert GPANO in packet
    return int(packet.partition(f'GPano:{name}="')[2].partition('"')[0])


def test_geo_keeps_the_place_and_nobodys_name(penstock: Run, camera: Path, tmp_path: Path) -> None:
    source = camera / "sideways.jpg"
    assert OWNER.encode() in source.read_bytes()
    for option in ("geo", "all"):
        done = penstock("run", source, "--op", "split", "--metadata", option, "--out", tmp_path / option)
        assert done.returncode == 0, done.stderr
    for path in (tmp_path / "geo").glob("*.jpg"):
        data = path.read_bytes()
        found = read_info(data)
        assert OWNER.encode() not in data
        assert read_exif(found["exif"])["gps"] == PLACE
        assert read_exif(found["exif"])["exif"] == {0x9003: TAKEN, 0x9011: "+02:00"}
        assert found["iptc"][2, 90] == b"Delft"
        assert found["icc_profile"] == PROFILE
        assert PLACE_IN_MANIFEST in (tmp_path / option / "manifest.ndjson").read_text()
        assert OWNER.encode() in (tmp_path / "all" / path.name).read_bytes()


def test_none_and_drop_leave_the_bytes_of_opencv(penstock: Run, camera: Path, tmp_path: Path) -> None:
    options = ["--op", "split=false", "--metadata", "none", "--profile", "drop", "--output", "jpg"]
    done = penstock("run", camera, *options, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert '"place"' not in (tmp_path / "o" / "manifest.ndjson").read_text()
    for path in (tmp_path / "o").glob("*.jpg"):
        (source,) = camera.glob(f"{path.stem.removesuffix('-0')}.*")
        assert path.read_bytes() == cv2.imencode(".jpg", cv2.imread(str(source)))[1].tobytes()


def test_damaged_metadata_are_named_in_the_manifest_and_fail_nothing(penstock: Run, tmp_path: Path) -> None:
    pixels = draw_image(1, 64, 48)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(photograph("JPEG", pixels, exif=b"MM\0*\0\0\0\xff", xmp=b"<no xml"))
    done = penstock("run", tmp_path / "in", "--op", "resize=32x24", "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "o" / "manifest.ndjson").read_text().splitlines()]
    (result,) = [result for line in lines for result in line.get("results", ())]
    assert result["warnings"] == ["metadata_dropped"]


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_serve_gives_the_bytes_of_run_in_every_placement(
    penstock: Run, start_server: Callable[..., Any], camera: Path, tmp_path: Path, placement: str
) -> None:
    operations = ["--op", "resize=320x240", "--op", "split", "--op", "blur=gaussian"]
    done = penstock("run", camera, *operations, "--metadata", "geo", "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    expected = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "o").glob("*.jpg")}
    assert len(expected) == 12
    server = start_server("--placement", placement, "--workers", "2", input_root=camera)
    document = {"operations": [["resize", "320x240"], "split", ["blur", "gaussian"]], "metadata": "geo"}
    job = server.client.post_job({**document, "inputs": [{"prefix": str(camera)}]})["id"]
    assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
    assert server.manifest(job) == expected


def test_process_gives_the_bytes_of_opencv_whatever_a_file_carries(
    start_server: Callable[..., Any], camera: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(5)
    pixels = draw_image(3, 64, 48)
    shutil.copytree(camera, tmp_path / "in")
    cv2.imwrite(str(tmp_path / "in" / "deep.png"), pixels.astype(np.uint16) * 257)
    transparent = np.dstack((pixels, random.integers(0, 256, (48, 64), np.uint8)))
    cv2.imwrite(str(tmp_path / "in" / "transparent.png"), transparent)
    sources = sorted((tmp_path / "in").iterdir())
    assert len(sources) == 5
    server = start_server("--workers", "2", input_root=camera)
    actions = 'actions={"operations":[["resize","40x30"],["split",true]],"output":"jpg"}'
    files = [part for path in sources for part in ("-F", f"files=@{path}")]
    command = ["curl", "-sS", "--fail", "-F", actions, *files, f"{server.client.url}/process"]
    sent = subprocess.run(command, capture_output=True, timeout=60, check=True)
    (job,) = json.loads(sent.stdout)["jobs"]
    assert server.client.wait(job["id"], poll_secs=0.02)["state"] == "succeeded"
    expected = {}
    for path in sources:
        small = cv2.resize(cv2.imread(str(path)), (40, 30), interpolation=cv2.INTER_AREA)
        for index, part in enumerate((small[:15, :20], small[:15, 20:], small[15:, :20], small[15:, 20:])):
            encoded = cv2.imencode(".jpg", part)[1].tobytes()
            expected[f"{path.stem}-{index}.jpg"] = hashlib.sha256(encoded).hexdigest()
    assert server.manifest(job["id"]) == expected


@pytest.fixture
def exiftool(without_service: Callable[[str], NoReturn]) -> Callable[..., list[dict[str, Any]]]:
    """Returns what exiftool reads in files, by group and name."""
    if shutil.which("exiftool") is None:
        without_service("exiftool is not installed (Debian: apt-get install libimage-exiftool-perl)")

    def read(*arguments: object) -> list[dict[str, Any]]:
        command = ["exiftool", "-json", "-G1", "-c", "%.6f", *map(str, arguments)]
        return list(json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout))

    return read


ExifTool = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("output", ["jpg", "png", "webp", "avif", "tiff"])
def test_exiftool_shows_place_time_heading_and_profile_in_results_of_every_format(
    penstock: Run, exiftool: ExifTool, camera: Path, tmp_path: Path, output: str
) -> None:
    operations = ["--op", "resize=240x320", "--op", "split"]
    done = penstock("run", camera / "sideways.jpg", *operations, "--output", output, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    results = [path for path in (tmp_path / "o").iterdir() if path.suffix != ".ndjson"]
    assert len(results) == 4
    for found in exiftool(*results):
        assert found["Composite:GPSPosition"] == "52.011600 N, 4.357100 E"
        assert (found["GPS:GPSAltitude"], found["GPS:GPSImgDirection"]) == ("87.4 m", 143.2)
        assert found["ExifIFD:DateTimeOriginal"] == TAKEN
        assert found["ExifIFD:FocalLength"] == "3.6 mm"
        assert found["IFD0:Orientation"] == "Horizontal (normal)"
        assert (found["ExifIFD:ExifImageWidth"], found["ExifIFD:ExifImageHeight"]) == (120, 160)
        assert found["XMP-photoshop:City"] == "Delft"
        assert "ICC_Profile:ProfileDescription" in found
        assert found["Composite:ImageSize"] == "120x160"


def test_exiftool_finds_results_as_valid_as_their_sources(
    penstock: Run, exiftool: ExifTool, camera: Path, tmp_path: Path
) -> None:
    before = {Path(found["SourceFile"]).stem: found for found in exiftool("-validate", "-warning", *camera.iterdir())}
    for output in ("jpg", "png"):
        done = penstock("run", camera, "--op", "split", "--output", output, "--out", tmp_path / output)
        assert done.returncode == 0, done.stderr
    results = [*(tmp_path / "jpg").glob("*.jpg"), *(tmp_path / "png").glob("*.png")]
    assert len(results) == 24
    for found in exiftool("-validate", "-warning", "-GPSPosition", *results):
        source = before[Path(found["SourceFile"]).stem.rpartition("-")[0]]
        assert found["ExifTool:Validate"] in ("OK", source["ExifTool:Validate"]), found
        assert found["Composite:GPSPosition"] == "52.011600 N, 4.357100 E"


def test_exiftool_shows_the_same_place_and_profile_of_street_photographs_and_their_tiles(
    penstock: Run, exiftool: ExifTool, photographs: Path, tmp_path: Path
) -> None:
    sources = [photographs / "street" / name for name in ("berlin-01.jpg", "lund-01.jpg", "lund-20.jpg")]
    wanted = ["-GPS:all", "-ExifIFD:DateTimeOriginal", "-IFD0:Make", "-ICC_Profile:ProfileDescription"]
    before = {Path(found.pop("SourceFile")).stem: found for found in exiftool(*wanted, *sources)}
    operations = ["--op", "resize=inside:1024x1024", "--op", "tile=2x2"]
    done = penstock("run", *sources, *operations, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    results = exiftool(*wanted, *(tmp_path / "o").glob("*.jpg"))
    assert len(results) == 12
    for found in results:
        source = Path(found.pop("SourceFile")).stem.rpartition("-")[0]
        assert "GPS:GPSLatitude" in found
        assert found == before[source]
