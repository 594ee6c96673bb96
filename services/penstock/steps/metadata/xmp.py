"""XMP of results: what they keep of a packet, and the values that follow their pixels."""

from penstock.steps.metadata.panorama import PANORAMA, move_panorama
from penstock.steps.metadata.xmp_packet import Name, Packet, Property, read_xmp, write_xmp
from penstock.steps.transform import Transform

MAX_BYTES = 65_502
"""Most bytes of a result's packet: what a segment of a JPEG file holds."""

_EXIF, _TIFF = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
_XMP, _NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
_PHOTOSHOP, _IPTC = "http://ns.adobe.com/photoshop/1.0/", "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_DJI, _PIX4D = "http://www.dji.com/drone-dji/1.0/", "http://pix4d.com/camera/1.0"

_ORIENTATION = (_TIFF, "Orientation")
_WIDTHS = ((_EXIF, "PixelXDimension"), (_TIFF, "ImageWidth"))
_HEIGHTS = ((_EXIF, "PixelYDimension"), (_TIFF, "ImageLength"))

_DROPPED = {(_NOTE, "HasExtendedXMP"), (_XMP, "Thumbnails"), (_XMP, "PageInfo")}
_DROPPED_NAMESPACES = {
    "http://www.metadataworkinggroup.com/schemas/regions/",  # areas of the source's picture: faces
    "http://ns.microsoft.com/photo/1.2/",
    "http://ns.google.com/photos/1.0/container/",  # what stood behind or beside the source's pixels
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/dd/1.0/device/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
}

_GEO = {
    (_EXIF, "DateTimeOriginal"),
    (_EXIF, "DateTimeDigitized"),
    (_XMP, "CreateDate"),
    *((_PHOTOSHOP, name) for name in ("DateCreated", "City", "State", "Country")),
    *((_IPTC, name) for name in ("Location", "CountryCode")),
    *((_DJI, f"{what}{name}") for what in ("Gimbal", "Flight") for name in ("YawDegree", "PitchDegree", "RollDegree")),
    *(
        (_DJI, name)
        for name in ("GpsLatitude", "GpsLongitude", "GpsLongtitude", "AbsoluteAltitude", "RelativeAltitude")
    ),
    *((_PIX4D, name) for name in ("Yaw", "Pitch", "Roll")),
}
_PANORAMA_SOFTWARE = {(PANORAMA, "StitchingSoftware"), (PANORAMA, "CaptureSoftware")}


def clean_xmp(data: bytes, *, geo: bool, upright: bool) -> tuple[bytes, bool]:
    """Return a packet as results keep it, and whether it was damaged or too large; empty if nothing is left.

    Orientation becomes 1. Thumbnails, extensions in other segments, and what belongs to areas of the source are left
    out. Panorama sizes are kept of a file that stores its pixels `upright`.

    Args:
        data: an XMP packet.
        geo: keep place, time, heading and the form of a panorama alone.
        upright: the file's orientation is 1.
    """
    try:
        packet = read_xmp(data)
        kept = {name: value for name, value in packet.properties.items() if _is_kept(name, geo)}
        if not upright:
            kept = {name: value for name, value in kept.items() if name[0] != PANORAMA}
        _set(kept, (_ORIENTATION,), 1)
        cleaned = write_xmp(Packet(kept, "" if geo else packet.about)) if kept else b""
    except ValueError:
        return b"", True
    return (b"", True) if len(cleaned) > MAX_BYTES else (cleaned, False)


def _is_kept(name: Name, geo: bool) -> bool:
    namespace, local = name
    if geo:
        is_gps = namespace == _EXIF and local.startswith("GPS")
        return is_gps or name in _GEO or (namespace == PANORAMA and name not in _PANORAMA_SOFTWARE)
    return name not in _DROPPED and namespace not in _DROPPED_NAMESPACES


def fit_xmp(xmp: bytes, source: tuple[int, int], transform: Transform | None, width: int, height: int) -> bytes:
    """Return a cleaned packet with a result's size in pixels, where it has a size; empty if it is damaged.

    Args:
        xmp: the packet of the source.
        source: width and height of the source in pixels.
        transform: where the source's pixels went; None: it is not known.
        width: width of the result in pixels.
        height: height of the result in pixels.
    """
    if not any(mark in xmp for mark in _SIZE_MARKS):
        return xmp
    try:
        packet = read_xmp(xmp)
        properties = move_panorama(packet.properties, source, transform, width, height)
        _set(properties, _WIDTHS, width)
        _set(properties, _HEIGHTS, height)
        return write_xmp(Packet(properties, packet.about)) if properties else b""
    except ValueError:
        return b""


_SIZE_MARKS = (b"PixelXDimension", b"PixelYDimension", b"ImageWidth", b"ImageLength", PANORAMA.encode())


def _set(properties: dict[Name, Property], names: tuple[Name, ...], value: int) -> None:
    for name in names:
        if name in properties:
            properties[name] = properties[name]._replace(text=str(value), attributes="", content="")
