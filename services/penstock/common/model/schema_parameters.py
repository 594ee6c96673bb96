"""Schema parameters: parameter models made from a JSON Schema, for steps that are external programs.

The schema is shown as its author wrote it, and alone decides what is accepted.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from penstock.common.model.operations import Parameters
from penstock.common.wording.faults import show
from penstock.common.wording.suggestions import accepted_names

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError as JsonSchemaError
    from jsonschema.protocols import Validator

_MAX_SHOWN = 200


class DeclaredParameters(Parameters, extra="allow"):
    """Base of the models that `declare_parameters` makes. All fields are extra fields."""

    given_schema: ClassVar[dict[str, Any]] = {}
    properties: ClassVar[dict[str, Any]] = {}
    validator: ClassVar[Validator]

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Parse a dict of fields or the first property; `true` means the defaults, unless that is a boolean."""
        if isinstance(value, dict):
            fields = value
        elif value is True and _first_of(cls.properties).get("type") != "boolean":
            fields = {}
        elif cls.properties:
            fields = {next(iter(cls.properties)): value}
        else:
            raise ValueError(f"{str(value)[:40]!r} cannot be read; accepted is an object of parameters")
        described = {name: item for name, item in cls.properties.items() if isinstance(item, dict)}
        defaults = {name: copy.deepcopy(item["default"]) for name, item in described.items() if "default" in item}
        fields = defaults | fields
        cls._check(fields)
        return cls.model_construct(None, **fields)

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the schema as its author wrote it."""
        return copy.deepcopy(cls.given_schema)

    @classmethod
    def shown_title(cls, name: str) -> str:
        """Return the title of the schema, or the name."""
        return str(cls.given_schema.get("title") or super().shown_title(name))

    @classmethod
    def _check(cls, fields: Mapping[str, Any]) -> None:
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            found = best_match(cls.validator.iter_errors(fields))
        except Unresolvable as error:
            raise ValueError(
                f"the step's schema has a reference that cannot be resolved: {str(error)[:_MAX_SHOWN]}"
            ) from error
        if found is not None:
            where = "/".join(str(part) for part in found.absolute_path)
            message = _describe(found)[:_MAX_SHOWN]
            raise ValueError(f"{where}: {message}" if where else message)


def _describe(error: JsonSchemaError) -> str:
    """Return what is wrong, and what is accepted, without regular expressions."""
    value, expected = error.instance, error.validator_value
    if error.validator == "pattern":
        examples = error.schema.get("examples", []) if isinstance(error.schema, dict) else []
        like = f", such as {show(examples[0])}" if examples else ", see its description"
        return f"{show(value)} is not accepted; accepted is a text of another form{like}"
    if error.validator == "enum" and all(isinstance(each, str) for each in expected):
        return f"{show(value)} is not accepted; {accepted_names(value, expected)}"
    if error.validator == "additionalProperties" and expected is False and isinstance(error.schema, dict):
        known = [*error.schema.get("properties", {})]
        unknown = next((name for name in value if name not in known), None)
        return f"no parameter {show(unknown)}; {accepted_names(unknown, known)}"
    return str(error.message)


def declare_parameters(schema: Mapping[str, Any]) -> type[DeclaredParameters]:
    """Return a parameter model. Raises ValueError unless it is the JSON Schema of an object without a property `op`."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    given = copy.deepcopy(dict(schema))
    kind = validator_for(given, default=Draft202012Validator)
    try:
        kind.check_schema(given)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "params"
        raise ValueError(f"not a JSON Schema: {where}: {error.message[:_MAX_SHOWN]}") from error
    if given.get("type", "object") != "object":
        raise ValueError(f"a schema of type {given['type']!r}; accepted is object")
    properties = given.get("properties") or {}
    if "op" in properties:
        raise ValueError("a property 'op', which is reserved for the operation's name; rename the parameter")
    named = {"__doc__": str(given.get("description", "")), "__module__": __name__}
    made = cast(type[DeclaredParameters], type("Declared", (DeclaredParameters,), named))
    made.given_schema, made.properties = given, properties
    made.example = _find_example(_first_of(properties))
    made.validator = kind(given, registry=Registry())  # nothing is fetched
    return made


def _first_of(properties: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(properties.values()), None)
    return first if isinstance(first, dict) else {}


def _find_example(first: dict[str, Any]) -> object:
    """Return a value of the first property, for the short form of an example."""
    return next(iter(first.get("examples", [])), first.get("default", True))
