"""Parameters: the base of every operation's parameters.

Built-in operations are in `operations` and the modules that it names; custom steps have theirs in their own package.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

MAX_SIDE = 32_768
"""Longest side of any image, in pixels."""

COLOR_PATTERN = "^#[0-9a-fA-F]{6}$"
Color = Annotated[str, Field(pattern=COLOR_PATTERN, examples=["#ffffff"])]
"""A colour as `#rrggbb`."""

Absent = SkipJsonSchema[None]
"""None, which a schema does not show."""

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

MAX_SHORT = 10_000
"""Longest short form, in characters."""

Gravity = Literal["centre", "north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"]
"""Where in an image something is: its middle, a side or a corner."""


def form(titles: Mapping[str, str] | None = None, when: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Return what a form needs besides a field's schema, for its `json_schema_extra`.

    Args:
        titles: what people call the values of a choice.
        when: the values of other fields with which the field has an effect, as in `{"method": ["median"]}`.
    """
    extra: dict[str, Any] = {}
    if titles:
        extra["x-titles"] = dict(titles)
    if when:
        extra["x-when"] = {name: list(values) for name, values in when.items()}
    return extra


def place(gravity: Gravity, space_x: int, space_y: int) -> tuple[int, int]:
    """Return how much of the space that is left goes to the left and above; halves are rounded down."""
    across = 0 if "west" in gravity else 2 if "east" in gravity else 1
    down = 0 if "north" in gravity else 2 if "south" in gravity else 1
    return space_x * across // 2, space_y * down // 2


class Extent(NamedTuple):
    """How many parts a step makes of one, and how many pixels they have together."""

    parts: int
    pixels: int


class Parameters(BaseModel):
    """Base of all parameters; custom steps subclass it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: ClassVar[Any] = True
    """Second element of the short form, shown in the docs."""

    needs: ClassVar[str] = ""
    """What the operation cannot do without, for the message if only its name is given; empty if that is enough."""

    internal: ClassVar[frozenset[str]] = frozenset()
    """Fields that Penstock fills in itself, and that nobody else may give."""

    optional: ClassVar[frozenset[str]] = frozenset()
    """Fields that a plan's document leaves out where they have their default: all that came after version 0.1.0, so
    that a plan has the same document as before."""

    @classmethod
    def shown_title(cls, name: str) -> str:
        """Return what people call the operation `name`: the title in `model_config`, or the name itself."""
        return cls.model_config.get("title") or name[:1].upper() + name[1:].replace("_", " ")

    @property
    def supports_16_bit(self) -> bool:
        """Whether the step takes `uint16` pixels too; images are reduced to 8 bits for other steps."""
        return False

    @property
    def supports_alpha(self) -> bool:
        """Whether the step takes pixels with a fourth channel too."""
        return False

    def document(self) -> dict[str, Any]:
        """Return the fields as a plan's document has them."""
        known = type(self).model_fields
        omitted = {name for name in self.optional if getattr(self, name) == known[name].get_default()}
        return self.model_dump(mode="json", exclude=omitted)

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Parse the second element of `[name, value]`: a dict of fields, `true` for the defaults, or the only field.

        Raises ValueError if it is not accepted.
        """
        if isinstance(value, dict):
            return cls.model_validate(value)
        if value is True and "enabled" not in cls.model_fields:
            return cls()
        if len(cls.model_fields) != 1:
            raise ValueError(f"{value!r} cannot be read; accepted is an object with {', '.join(cls.model_fields)}")
        return cls.model_validate({next(iter(cls.model_fields)): value})

    @property
    def does_nothing(self) -> bool:
        """Whether the operation leaves every image unchanged, so that its step can be skipped."""
        return False

    @property
    def parts(self) -> int | None:
        """How many parts it makes from one; None: that depends on the image."""
        return 1

    def sizes(self, width: int, height: int) -> Mapping[tuple[int, int], int] | None:  # noqa: ARG002 (for subclasses)
        """Return how many parts of each width and height it makes of a part of this size; None: not known."""
        return None

    def extent(self, width: int, height: int) -> Extent | None:
        """Return what it makes of a part of this size, so that limits hold before it is made; None: not known."""
        sizes = self.sizes(width, height)
        if sizes is None:
            return None
        return Extent(sum(sizes.values()), sum(across * down * parts for (across, down), parts in sizes.items()))


class AnyPixels(Parameters):
    """Parameters of a step that takes pixels of any depth, with or without alpha."""

    @property
    def supports_16_bit(self) -> bool:
        return True

    @property
    def supports_alpha(self) -> bool:
        return True


def read_short(value: object, read_first: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a short form `first,name=value,…`, such as `16:9,outside=clip`.

    `read_first` returns the fields of what has no name. A name that occurs several times has a list of values. A dict
    has all fields itself, and `true` means the defaults.

    Raises:
        ValueError: it is not accepted.
    """
    if isinstance(value, dict):
        return value
    if value is True:
        return {}
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{str(value)[:40]} cannot be read; accepted is a text or an object of parameters")
    if len(str(value)) > MAX_SHORT:
        raise ValueError(f"a text of {len(str(value))} characters; accepted are up to {MAX_SHORT}")
    fields: dict[str, Any] = {}
    for index, item in enumerate(str(value).split(",")):
        name, equals, given = item.partition("=")
        if not equals and index == 0:
            fields |= read_first(item)
        elif not equals:
            raise ValueError(f"{item[:40]!r} has no name; accepted is NAME=VALUE after the first comma")
        elif name in fields:
            if not isinstance(fields[name], list):
                fields[name] = [fields[name]]
            fields[name].append(given)
        else:
            fields[name] = given
    return fields
