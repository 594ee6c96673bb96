from __future__ import annotations

from xml.etree import ElementTree

import pytest
from camera_files import GPANO, RDF, panorama, xmp

from penstock.steps.metadata.xmp import MAX_BYTES, clean_xmp, fit_xmp
from penstock.steps.transform import IDENTITY, scaling

EXIF, TIFF, DC = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/", "http://purl.org/dc/elements/1.1/"
XMP, NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
NAMESPACES = {"exif": EXIF, "tiff": TIFF, "dc": DC, "xmp": XMP, "xmpNote": NOTE, "mwg-rs": REGIONS, "GPano": GPANO}


def properties(packet: bytes) -> dict[str, str]:
    """Return text or XML of each property of a packet, as another parser reads them."""
    (description,) = ElementTree.fromstring(packet.decode().strip()).iter(f"{{{RDF}}}Description")
    found = {name: value for name, value in description.attrib.items() if not name.startswith(f"{{{RDF}}}")}
    for element in description:
        simple = not len(element) and not element.attrib
        found[element.tag] = (element.text or "") if simple else ElementTree.tostring(element, "unicode")
    return found


def clean(attributes: str = "", elements: str = "", *, geo: bool = False, upright: bool = True) -> dict[str, str]:
    cleaned, lost = clean_xmp(xmp(attributes, elements, NAMESPACES), geo=geo, upright=upright)
    assert not lost
    return properties(cleaned) if cleaned else {}


def test_simple_properties_are_kept_in_either_form() -> None:
    found = clean('xmp:Rating="4" dc:source="a &lt;&amp;&quot;&#10;b"', "<dc:format>image/jpeg</dc:format>")
    assert found == {f"{{{XMP}}}Rating": "4", f"{{{DC}}}source": 'a <&"\nb', f"{{{DC}}}format": "image/jpeg"}


def test_lists_alternatives_and_structures_are_kept() -> None:
    title = '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Delft &amp; M\u00fcnchen</rdf:li></rdf:Alt></dc:title>'
    flash = '<exif:Flash rdf:parseType="Resource"><exif:Fired>False</exif:Fired> <exif:Mode> </exif:Mode></exif:Flash>'
    found = clean("", title + flash)
    before = properties(xmp("", title + flash, NAMESPACES))
    assert list(found) == list(before)
    assert "Delft &amp; M\u00fcnchen" in found[f"{{{DC}}}title"]
    flashes = ElementTree.fromstring(found[f"{{{EXIF}}}Flash"])
    assert [child.text for child in flashes] == ["False", " "]
    assert flashes.attrib == {f"{{{RDF}}}parseType": "Resource"}


def test_several_descriptions_become_one() -> None:
    packet = xmp('dc:source="first"', "", NAMESPACES).replace(
        b"</rdf:RDF>", f'<rdf:Description xmlns:p="{DC}" p:source="second" p:rights="all"/></rdf:RDF>'.encode()
    )
    found = properties(clean_xmp(packet, geo=False, upright=True)[0])
    assert found == {f"{{{DC}}}source": "first", f"{{{DC}}}rights": "all"}


def test_orientation_becomes_1() -> None:
    assert clean('tiff:Orientation="6"')[f"{{{TIFF}}}Orientation"] == "1"


@pytest.mark.parametrize(
    "element",
    [
        '<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource">/9j/</rdf:li></rdf:Alt></xmp:Thumbnails>',
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:Name>Ann</mwg-rs:Name></mwg-rs:Regions>',
        "<xmpNote:HasExtendedXMP>5AE5E7AB3E16A79E</xmpNote:HasExtendedXMP>",
    ],
)
def test_thumbnails_regions_and_extensions_are_left_out(element: str) -> None:
    assert clean('xmp:Rating="4"', element) == {f"{{{XMP}}}Rating": "4"}


def test_geo_keeps_place_time_and_heading_alone() -> None:
    attributes = (
        'exif:GPSLatitude="52,0.696N" exif:DateTimeOriginal="2026-05-01T10:11:12" exif:LensModel="x" xmp:Rating="4" '
        'GPano:PoseHeadingDegrees="12" GPano:StitchingSoftware="x"'
    )
    found = clean(attributes, "<dc:creator><rdf:Seq><rdf:li>me</rdf:li></rdf:Seq></dc:creator>", geo=True)
    assert set(found) == {f"{{{EXIF}}}GPSLatitude", f"{{{EXIF}}}DateTimeOriginal", f"{{{GPANO}}}PoseHeadingDegrees"}
    assert clean('xmp:Rating="4"', geo=True) == {}


def test_panorama_sizes_of_a_turned_file_are_left_out() -> None:
    cleaned, lost = clean_xmp(panorama(96, 48), geo=False, upright=False)
    assert (cleaned, lost) == (b"", False)


def test_a_result_has_its_own_size_wherever_there_is_one() -> None:
    packet = xmp('exif:PixelXDimension="96" tiff:ImageLength="72"', "<tiff:ImageWidth>96</tiff:ImageWidth>", NAMESPACES)
    fitted = fit_xmp(clean_xmp(packet, geo=False, upright=True)[0], (96, 72), scaling(0.5, 0.5), 48, 36)
    expected = {f"{{{EXIF}}}PixelXDimension": "48", f"{{{TIFF}}}ImageLength": "36", f"{{{TIFF}}}ImageWidth": "48"}
    assert properties(fitted) == expected


def test_a_packet_without_sizes_stays_as_it_is() -> None:
    cleaned, _ = clean_xmp(xmp('xmp:Rating="4"', "", NAMESPACES), geo=False, upright=True)
    assert fit_xmp(cleaned, (96, 72), IDENTITY, 48, 36) == cleaned


def test_padding_is_left_out() -> None:
    cleaned, _ = clean_xmp(xmp('xmp:Rating="4"', "", NAMESPACES), geo=False, upright=True)
    assert len(cleaned) < 400


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "packet",
    [
        b"<x",
        b"?",
        b"\0\0",
        BOMB + xmp("", "<dc:a>&b;</dc:a>", NAMESPACES).partition(b"?>")[2],
        xmp("", "<dc:a>&undefined;</dc:a>", NAMESPACES),
        xmp("", "<dc:a>\xff</dc:a>", NAMESPACES).replace("\xff".encode(), b"\xff"),
        xmp("", "<undeclared:a>1</undeclared:a>"),
        xmp('dc:source="a"', "", NAMESPACES).decode().encode("utf-16"),
        xmp("", "<dc:a>" + "<dc:b>" * 200 + "</dc:b>" * 200 + "</dc:a>", NAMESPACES),
        xmp("", "<dc:a/>" * 20_000, NAMESPACES),
        xmp("", f"<dc:a>{'x' * MAX_BYTES}</dc:a>", NAMESPACES),
        xmp("", f"<dc:a>{'x' * 5_000_000}</dc:a>", NAMESPACES),
        xmp("", '<dc:a xmlns:dc="urn:one">1</dc:a><dc:b>2</dc:b>', NAMESPACES),
    ],
)
def test_hostile_and_too_large_packets_give_nothing(packet: bytes) -> None:
    assert clean_xmp(packet, geo=False, upright=True) == (b"", True)


def test_a_damaged_packet_of_a_program_is_left_out_of_the_result() -> None:
    assert fit_xmp(b"<PixelXDimension", (96, 72), IDENTITY, 48, 36) == b""
