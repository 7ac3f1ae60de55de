"""The arguments that a model would give for a case (docs/how-to/tools.md, "What a model is asked for")."""

import base64
import hashlib
import re

from schemathesis.core import NOT_SET
from schemathesis.transport.serialization import Binary

LONGEST_NAME = 64
LOCATIONS = {"path": "path_parameters", "query": "query", "header": "headers", "cookie": "cookies"}


def plain(name: str) -> str:
    """The name of an argument: letters, digits and `_.-`."""
    found = "_".join(filter(None, re.split("[^A-Za-z0-9_.-]+", name))) or "value"
    if len(found) > LONGEST_NAME:
        found = f"{found[: LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return found


def parameter_arguments(operation) -> dict[tuple[str, str], str]:
    """The argument of each parameter, by location and name."""
    names: dict[tuple[str, str], str] = {}
    for location, container in LOCATIONS.items():
        for parameter in getattr(operation, container):
            name = plain(parameter.name)
            if name in names.values():
                name = plain(f"{location}_{name}")
            names[location, parameter.name] = name
    return names


def body_schema(operation, media_type: str | None) -> dict:
    body = operation.get_body_for_media_type(media_type) if media_type else None
    schema = body.resolved_schema if body is not None else None
    return schema if isinstance(schema, dict) else {}


class ToolArguments:
    """How the values of an operation's cases become arguments of its tool."""

    def __init__(self, operation, offered: dict):
        self.operation = operation
        self.offered = offered.get("properties", {})
        self.parameters = parameter_arguments(operation)
        taken = set(self.parameters.values())
        self.whole_body = next(name for name in ("body", "request_body", "body_content", "_body") if name not in taken)
        self.of_body = self.offered.keys() - taken

    def fields(self, media_type: str | None) -> dict[str, str] | None:
        """The argument of each property of the body; None: the body is one argument, or there is none."""
        names = {}
        for field in body_schema(self.operation, media_type).get("properties") or {}:
            name = plain(field)
            names[field] = plain(f"body_{name}") if name in self.parameters.values() else name
        return names if self.of_body and self.of_body <= set(names.values()) else None

    def of_case(self, made) -> tuple[dict, set[str]]:
        """The arguments of a case, and the places of its values that there is no argument for.

        Properties of a body that the specification does not name are taken out of the case: no model is asked for them."""
        arguments, left_out = {}, set()
        for location, values in made.values.items():
            for name, value in values.items():
                argument = self.parameters.get((location, name))
                if argument not in self.offered:
                    left_out.add(f"{location} {name}")
                # A parameter cannot be null: it is left out.
                elif value is not None:
                    arguments[argument] = value
        body = made.case.body
        fields = self.fields(made.media_type)
        if fields is not None and isinstance(body, dict):
            made.case.body = body = {field: value for field, value in body.items() if field in fields}
            for field, value in body.items():
                if fields[field] in self.offered:
                    arguments[fields[field]] = as_argument(value, self.offered[fields[field]])
                else:
                    left_out.add(f"body /{field}")
        elif body is not NOT_SET and self.whole_body in self.offered:
            if isinstance(body, dict) and self.offered[self.whole_body].get("type") == "string":
                # A model writes XML as a text.
                body = made.body(made.media_type).decode()
            arguments[self.whole_body] = as_argument(body, self.offered[self.whole_body])
        return arguments, left_out


def as_argument(value, schema):
    """A value as a model writes it: bytes in base64."""
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, list):
        return [as_argument(item, schema.get("items")) for item in value]
    if isinstance(value, dict):
        return {name: as_argument(item, None) for name, item in value.items()}
    if isinstance(value, Binary):
        value = value.data
    if isinstance(value, str) and schema.get("contentEncoding") == "base64":
        value = value.encode()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
