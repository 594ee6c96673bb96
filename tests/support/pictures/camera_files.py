"""Files as cameras write them, with EXIF, XMP, IPTC and a colour profile; written and read by Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, IptcImagePlugin
from PIL.TiffImagePlugin import IFDRational

EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
GPANO = "http://ns.google.com/photos/1.0/panorama/"
PLACE = {
    0: b"\2\3\0\0",
    1: "N",
    2: (52.0, 0.0, 41.76),
    3: "E",
    4: (4.0, 21.0, 25.56),
    5: b"\0",
    6: 87.4,
    16: "T",
    17: 143.2,
}
"""GPS tags: latitude, longitude, altitude and heading."""
TAKEN = "2026:05:01 10:11:12"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(**changes: Any) -> bytes:
    """Return the EXIF of a camera as a TIFF structure; `image`, `exif` and `gps` add tags or replace them."""
    made = Image.Exif()
    made.update({0x010F: "Maker", 0x0110: "Model", 0x0132: TAKEN, **changes.get("image", {})})
    made.get_ifd(EXIF).update(
        {0x9003: TAKEN, 0x920A: IFDRational(36, 10), 0xA002: 96, 0xA003: 72, **changes.get("exif", {})}
    )
    made.get_ifd(GPS).update(PLACE | changes.get("gps", {}))
    return made.tobytes()[6:]


def xmp(attributes: str = "", elements: str = "", namespaces: Mapping[str, str] | None = None) -> bytes:
    """Return an XMP packet with one description."""
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in (namespaces or {}).items())
    text = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{RDF}">\n  <rdf:Description rdf:about=""{declared} {attributes}>{elements}'
        "</rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n" + " " * 2000 + '\n<?xpacket end="w"?>'
    )
    return text.encode()


def panorama(width: int, height: int, **sizes: object) -> bytes:
    """Return the XMP of a whole panorama; `sizes` replace GPano's attributes, or with None leave them out."""
    given: dict[str, object] = {
        "ProjectionType": "equirectangular",
        "PoseHeadingDegrees": 123.5,
        "FullPanoWidthPixels": width,
        "FullPanoHeightPixels": height,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0,
    }
    shown = {name: value for name, value in (given | sizes).items() if value is not None}
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in shown.items())
    return xmp(attributes, namespaces={"GPano": GPANO})


def record(number: int, text: bytes, group: int = 2) -> bytes:
    """Return a field of an IPTC record."""
    return struct.pack(">BBBH", 0x1C, group, number, len(text)) + text


def resource(content: bytes, number: int = 0x0404, name: bytes = b"") -> bytes:
    """Return an image resource of Photoshop."""
    named = bytes([len(name)]) + name
    named += bytes(len(named) % 2)
    return (
        b"8BIM"
        + struct.pack(">H", number)
        + named
        + struct.pack(">I", len(content))
        + content
        + bytes(len(content) % 2)
    )


def segment(marker: int, content: bytes) -> bytes:
    """Return a JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """Return a JPEG file with segments behind its JFIF segment, which is the first."""
    end = 4 + struct.unpack_from(">H", jpeg, 4)[0]
    return jpeg[:end] + b"".join(segments) + jpeg[end:]


def photograph(form: str, pixels: np.ndarray, *, iptc: bytes = b"", **metadata: Any) -> bytes:
    """Return a file with metadata that Pillow writes: `exif` as a TIFF structure, `xmp`, `icc_profile`."""
    if exif := metadata.pop("exif", b""):
        metadata["exif"] = b"Exif\0\0" + exif
    if form == "PNG" and (packet := metadata.pop("xmp", b"")):
        from PIL.PngImagePlugin import PngInfo

        metadata["pnginfo"] = PngInfo()
        metadata["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
    file = io.BytesIO()
    Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).save(file, form, **metadata)
    made = file.getvalue()
    return with_segments(made, segment(0xED, b"Photoshop 3.0\0" + resource(iptc))) if iptc else made


def read_exif(tiff: bytes) -> dict[str, dict[int, Any]]:
    """Return the directories of EXIF, as Pillow reads them."""
    found = Image.Exif()
    found.load(b"Exif\0\0" + tiff)
    directories = {"exif": EXIF, "gps": GPS, "interop": INTEROP}
    pointers = {EXIF, GPS}
    image = {tag: value for tag, value in found.items() if tag not in pointers}
    return {"image": image} | {name: dict(found.get_ifd(tag)) for name, tag in directories.items()}


def read_info(data: bytes) -> dict[str, Any]:
    """Return what Pillow finds in a file: `exif` as a TIFF structure, `xmp`, `icc_profile`, `iptc` by field."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        found = dict(image.info)
        fields = IptcImagePlugin.getiptcinfo(image) if image.format == "JPEG" else None
    if "exif" in found:
        found["exif"] = found["exif"].removeprefix(b"Exif\0\0")
    return found | {"iptc": fields or {}}
