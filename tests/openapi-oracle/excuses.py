"""The differences that are right: each has the reason why, in the words of a specification or of our documentation."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from arguments import body_schema
from wire import ENCODED_COMMA, is_same

# What a part is without a media type of its own (OpenAPI 3.0.3, Encoding Object).
DEFAULT_TYPES = ("application/octet-stream", "application/json")


class Excuse(NamedTuple):
    name: str
    reason: str
    # Whether it holds for a difference of a call.
    holds: Callable


def is_empty_list(difference, call) -> bool:
    return difference.place.startswith("query ") and (difference.ours, difference.theirs) == ([], [""])


def is_empty_flag(difference, call) -> bool:
    """Whether nothing is wrong with the arguments but that so many are empty which may be."""
    query = call.case.values.get("query", {})
    empty = [one for one in call.operation.query if one.definition.get("allowEmptyValue") and query.get(one.name) == ""]
    problems = re.match(r"Error: (\d+) validation error", str(difference.ours))
    return problems is not None and int(problems[1]) == len(empty) == difference.ours.count('"" is not o')


def is_optional_body(difference, call) -> bool:
    is_without = difference.place == "media_type" and difference.ours == ""
    return is_without and not any(body.is_required for body in call.operation.body) and call.case.case.body == {}


def is_body_without_type(difference, call) -> bool:
    schema = body_schema(call.operation, call.case.media_type)
    is_of_body = difference.place in ("body ", "media_type") or "is a required property" in str(difference.ours)
    return is_of_body and "properties" in schema and "type" not in schema and not isinstance(call.case.case.body, dict)


def is_beside_reference(difference, call) -> bool:
    body = call.operation.get_body_for_media_type(call.case.media_type) if call.case.media_type else None
    schema = body.definition.get("schema", {}) if body is not None else {}
    missing = re.findall('"([^"]+)" is a required property', str(difference.ours))
    return bool(missing) and "$ref" in schema and set(missing) <= set(schema.get("required", ()))


def is_null_parameter(difference, call) -> bool:
    location, _, name = difference.place.partition(" ")
    values = {known.lower(): value for known, value in call.case.values.get(location, {}).items()}
    return difference.theirs in ("null", ["null"]) and not difference.ours and values.get(name.lower(), name) is None


def is_encoded_between(difference, call) -> bool:
    pairs = [difference.ours, difference.theirs]
    if not difference.place.startswith(("query ", "body ")) or not all(isinstance(one, list) and len(one) == 1 for one in pairs):
        return False
    (ours,), (theirs,) = pairs
    return "," in ours and ours.replace(",", ENCODED_COMMA) == theirs


def is_decoded_in_path(difference, call) -> bool:
    return difference.place == "path" and [unquote(step) for step in difference.ours] == difference.theirs


def is_other_media_type(difference, call) -> bool:
    declared = {body.media_type for body in call.operation.body}
    return difference.place == "media_type" and {difference.ours, difference.theirs} <= declared


def is_without_room(difference, call) -> bool:
    return difference.place in call.left_out and any("do not fit and are left out" in why for why in call.tool["warnings"])


def is_part_without_type(difference, call) -> bool:
    if call.request is None or call.request.media_type != "multipart/form-data" or not difference.place.startswith("body "):
        return False
    typed = [(None if kind in DEFAULT_TYPES else kind, content) for kind, content in difference.ours]
    return is_same(typed, difference.theirs)


def is_nested(value) -> bool:
    """Whether a list or an object has one in it."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(isinstance(item, (dict, list)) for item in items)


def is_nested_parameter(difference, call) -> bool:
    nested = [name for name, value in call.case.values.get("query", {}).items() if is_nested(value)]
    return any(difference.place == f"query {name}" or difference.place.startswith(f"query {name}[") for name in nested)


def is_object_in_form(difference, call) -> bool:
    body = call.case.case.body
    if call.case.media_type != "application/x-www-form-urlencoded" or not isinstance(body, dict):
        return False
    encoded = call.operation.get_body_for_media_type(call.case.media_type).definition.get("encoding", {})
    plain = {name: value for name, value in body.items() if name not in encoded}
    objects = {name: value for name, value in plain.items() if isinstance(value, dict) or is_nested(value)}
    inner = {key for value in objects.values() if isinstance(value, dict) for key in value}
    return difference.place.removeprefix("body ") in objects.keys() | inner


def says(*words: str) -> Callable:
    """Whether the tool refuses the arguments with one of these sentences."""
    return lambda difference, call: difference.place == "refused" and any(re.search(one, difference.ours) for one in words)


EXCUSES = [
    Excuse("empty list", "a list without members is undefined and not sent (RFC 6570, 2.3)", is_empty_list),
    Excuse(
        "empty flag",
        "`allowEmptyValue` is not recommended (OpenAPI 3.0.3, Parameter Object), and no model is asked for it",
        is_empty_flag,
    ),
    Excuse("no body", "an optional body of which nothing is given is left out", is_optional_body),
    Excuse(
        "body without type",
        "properties without `type: object` say nothing of what is no object; we take it for one",
        is_body_without_type,
    ),
    Excuse(
        "other media type",
        'an operation takes several, and JSON comes first (docs/how-to/tools.md, "What is read")',
        is_other_media_type,
    ),
    Excuse("no room", "optional arguments that do not fit into 16 kB are left out, with a warning", is_without_room),
    Excuse(
        "type of a part",
        "bytes are application/octet-stream, objects application/json (OpenAPI 3.0.3, Encoding Object); Schemathesis says nothing",
        is_part_without_type,
    ),
    Excuse(
        "nested parameter",
        "what is nested in the value of a parameter no style says (OpenAPI 3.0.4, Style Values)",
        is_nested_parameter,
    ),
    Excuse(
        "object in a form", "JSON by OpenAPI 3.0.4 and 3.1.1 (Encoding Object, contentType), `form` by 3.0.3", is_object_in_form
    ),
    Excuse(
        "null parameter",
        'a parameter is never null: an optional one is left out (docs/how-to/tools.md, "What a model is asked for")',
        is_null_parameter,
    ),
    Excuse(
        "beside a reference",
        "`required` beside a `$ref` counts for nothing in OpenAPI 3.0; its authors mean it, and so do we",
        is_beside_reference,
    ),
    Excuse(
        "encoded comma",
        "a comma between values stands as it is (RFC 6570, 3.2.8); Schemathesis encodes it in objects and forms",
        is_encoded_between,
    ),
    Excuse(
        "tab in a header",
        "new headers have visible ASCII (RFC 9110, 5.5), and a tool refuses anything else",
        says(r"may not have the character '\\t'"),
    ),
    Excuse(
        "percent in a path",
        "`%` is encoded like any other sign (RFC 6570, 3.2.2); Schemathesis decodes a value before it encodes it",
        is_decoded_in_path,
    ),
    Excuse(
        "step in a path",
        "a value that is `.` or `..` may be read as a step to another path, and is refused",
        says("may not lead to another path"),
    ),
    Excuse(
        "long name", "the names of fields that a model gives have at most 1 KiB", says("name of a field is longer than 1024 bytes")
    ),
    Excuse(
        "null in a form",
        "no specification says how null is written in a form or in `deepObject`",
        says("is null, which cannot be sent there"),
    ),
]


def excuse_for(difference, call) -> str | None:
    """The name of the excuse that holds."""
    return next((excuse.name for excuse in EXCUSES if excuse.holds(difference, call)), None)
