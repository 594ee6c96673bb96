"""Metadata of a result: those of its source, with sizes as its own."""

from dataclasses import replace

from penstock.steps.image import Image, Metadata
from penstock.steps.metadata.exif import fit_exif
from penstock.steps.metadata.icc import colour_space
from penstock.steps.metadata.xmp import fit_xmp


def result_metadata(image: Image) -> Metadata:
    """Return metadata to write into an image's file, whatever its format; what no longer fits is left out.

    EXIF is a TIFF structure of at most 65,527 bytes and XMP a packet of at most 65,502, so that a segment of a JPEG
    file holds each. `width` and `height` are still the source's.
    """
    source = image.metadata
    exif, xmp = source.exif, source.xmp
    if exif:
        scale = (1.0, 1.0) if image.transform is None else image.transform.scale
        exif = fit_exif(exif, image.width, image.height, scale)
    if xmp:
        xmp = fit_xmp(xmp, (source.width, source.height), image.transform, image.width, image.height)
    icc = source.icc if colour_space(source.icc) == "RGB" else b""
    return replace(source, exif=exif, xmp=xmp, icc=icc)
