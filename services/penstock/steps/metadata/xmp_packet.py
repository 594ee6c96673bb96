"""XMP: a packet's properties, read from untrusted data and rewritten.

https://www.iso.org/standard/75163.html (XMP, part 1). Expat parses; entities, other encodings than UTF-8 and deep
nesting are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from xml.parsers import expat

MAX_READ_BYTES = 256 * 1024
_MAX_DEPTH = 32
_MAX_ELEMENTS = 5_000

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"
_RDF_ROOT, _DESCRIPTION, _ABOUT = (RDF, "RDF"), (RDF, "Description"), (RDF, "about")

Name = tuple[str, str]
"""Namespace and local name."""


class Property(NamedTuple):
    """A property: a simple one has a `text`; another one the XML of its `content`, and of its element's `attributes`.

    `namespaces` are all that it uses, by prefix.
    """

    prefix: str
    text: str | None
    namespaces: Mapping[str, str]
    attributes: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class Packet:
    """The properties of a packet, and what it says they are about."""

    properties: Mapping[Name, Property]
    about: str = ""


@lru_cache(maxsize=16)
def read_xmp(data: bytes) -> Packet:
    """Return the properties of an XMP packet; of two with the same name the first.

    Cached: the parts of an image have the same packet, and often so do all photographs of a camera.

    Raises:
        ValueError: the data is too large, or not well-formed XML in UTF-8 without a document type.
    """
    if len(data) > MAX_READ_BYTES:
        raise ValueError(f"{len(data)} bytes of XMP; accepted are up to {MAX_READ_BYTES}")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", " ")
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data.strip(b"\0 \t\r\n"), True)
    except expat.ExpatError as error:
        raise ValueError(f"XMP is not well-formed: {error}") from error
    return Packet(reader.properties, reader.about)


def _refuse(*_: object) -> None:
    raise ValueError("XMP with a document type")


class _Reader:
    """Collects properties from expat's events; one with elements or attributes inside is copied as XML."""

    def __init__(self) -> None:
        self.properties: dict[Name, Property] = {}
        self.about = ""
        self._path: list[Name] = []
        self._elements = 0
        self._tags: list[str] = []
        """Tags of the current property's open elements, its own first; empty outside of properties."""
        self._attributes = ""
        self._pieces: list[str] = []
        self._text = ""
        self._is_leaf = True
        self._namespaces: dict[str, str] = {}

    def start(self, expanded: str, attributes: list[str]) -> None:
        self._elements += 1
        if len(self._path) >= _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise ValueError(f"XMP has more than {_MAX_ELEMENTS} elements or {_MAX_DEPTH} levels")
        name, prefix = _split(expanded)
        if self._tags:
            self._take_text(is_value=False)
            self._tags.append(self._tag(name, prefix))
            self._pieces.append(f"<{self._tags[-1]}{self._write(attributes)}>")
        elif self._path[-2:] == [_RDF_ROOT, _DESCRIPTION]:
            self._namespaces, self._pieces = {}, []
            self._tags.append(self._tag(name, prefix))
            self._attributes = self._write(attributes)
        elif name == _DESCRIPTION and self._path[-1:] == [_RDF_ROOT]:
            self._read_attributes(attributes)
        self._is_leaf = True
        self._path.append(name)

    def end(self, _: str) -> None:
        name = self._path.pop()
        if not self._tags:
            return
        tag = self._tags.pop()
        if self._tags:
            self._take_text(is_value=self._is_leaf)
            self._pieces.append(f"</{tag}>")
        else:
            self._end_property(name, tag.rpartition(":")[0])
        self._is_leaf = False

    def characters(self, text: str) -> None:
        if self._tags:
            self._text += text

    def _end_property(self, name: Name, prefix: str) -> None:
        if self._is_leaf and not self._attributes:
            made = Property(prefix, self._text, self._namespaces)
            self._text = ""
        else:
            self._take_text(is_value=self._is_leaf)
            made = Property(prefix, None, self._namespaces, self._attributes, "".join(self._pieces))
        self.properties.setdefault(name, made)

    def _read_attributes(self, attributes: list[str]) -> None:
        for expanded, value in zip(attributes[::2], attributes[1::2], strict=True):
            name, prefix = _split(expanded)
            if name == _ABOUT:
                self.about = self.about or value
            elif name[0] not in ("", RDF, _XML):
                self.properties.setdefault(name, Property(prefix, value, {prefix: name[0]}))

    def _take_text(self, *, is_value: bool) -> None:
        """Add the text before a tag to the current property, unless it only indents the tag."""
        if is_value or not self._text.isspace():
            self._pieces.append(_escape(self._text))
        self._text = ""

    def _tag(self, name: Name, prefix: str) -> str:
        namespace, local = name
        if namespace not in ("", _XML) and self._namespaces.setdefault(prefix, namespace) != namespace:
            raise ValueError(f"XMP has two namespaces {prefix!r} in one property")
        return f"{prefix}:{local}" if prefix else local

    def _write(self, attributes: list[str]) -> str:
        pairs = zip(attributes[::2], attributes[1::2], strict=True)
        return "".join(f' {self._tag(*_split(expanded))}="{_escape(value)}"' for expanded, value in pairs)


@lru_cache(maxsize=1024)
def _split(expanded: str) -> tuple[Name, str]:
    """Return a name and its prefix from how expat writes them: `namespace local prefix`, as far as there are any."""
    parts = expanded.split(" ")
    if len(parts) == 1:
        return ("", parts[0]), ""
    return (parts[0], parts[1]), parts[2] if len(parts) > 2 else ""


_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


def write_xmp(packet: Packet) -> bytes:
    """Return a packet with one description: simple properties are its attributes, others its elements.

    Raises:
        ValueError: two properties use one prefix for different namespaces.
    """
    namespaces = {"x": "adobe:ns:meta/", "rdf": RDF}
    attributes, elements = [], []
    for (_, local), made in packet.properties.items():
        for prefix, namespace in made.namespaces.items():
            if namespaces.setdefault(prefix, namespace) != namespace:
                raise ValueError(f"XMP has two namespaces {prefix!r}")
        tag = f"{made.prefix}:{local}" if made.prefix else local
        if made.text is None or not made.prefix:
            content = made.content if made.text is None else _escape(made.text)
            elements.append(f"<{tag}{made.attributes}>{content}</{tag}>")
        else:
            attributes.append(f' {tag}="{_escape(made.text)}"')
    declared = "".join(f' xmlns:{prefix}="{_escape(namespace)}"' for prefix, namespace in namespaces.items() if prefix)
    default = f' xmlns="{_escape(namespaces[""])}"' if "" in namespaces else ""
    root = f"<x:xmpmeta{declared}{default}><rdf:RDF>"
    description = f'<rdf:Description rdf:about="{_escape(packet.about)}"{"".join(attributes)}>{"".join(elements)}'
    return f"{_HEAD}{root}{description}</rdf:Description></rdf:RDF></x:xmpmeta>{_TAIL}".encode()


_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_TAIL = '<?xpacket end="w"?>'
