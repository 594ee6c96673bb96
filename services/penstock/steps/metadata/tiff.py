"""TIFF tags with metadata, found in a file's first directory.

EXIF's directories are those of the file itself. XMP, part 3, section 1.1.6; TIFF/EP for the others.
"""

from penstock.steps.image import Metadata
from penstock.steps.metadata.iptc import find_iptc
from penstock.steps.metadata.tiff_structure import IMAGE, read_structure
from penstock.steps.tiff.geotiff import find_geotiff

_XMP, _IPTC, _PHOTOSHOP, _ICC = 0x02BC, 0x83BB, 0x8649, 0x8773


def find_in_tiff(data: bytes) -> Metadata:
    """Return what a TIFF or BigTIFF file's tags hold, as it is; EXIF is the file itself.

    Raises:
        ValueError: the data is no TIFF file.
    """
    structure = read_structure(data)
    values = {entry.tag: entry for entry in structure.directories[IMAGE]}
    found = {tag: bytes(values[tag].value) for tag in (_XMP, _IPTC, _PHOTOSHOP, _ICC) if tag in values}
    iptc = found.get(_IPTC) or find_iptc(found.get(_PHOTOSHOP, b""))
    return Metadata(
        exif=data, xmp=found.get(_XMP, b""), iptc=iptc, icc=found.get(_ICC, b""), geotiff=find_geotiff(structure)
    )
