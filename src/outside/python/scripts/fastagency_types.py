"""JSON Schemas of types, and values made from JSON: by pydantic where the project has it, as AG2 does it, and else for the types of
Python's own library, with the same schemas."""

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import sys
import types
import typing
import uuid

from fastagency_values import ExactFloat, plain, read_json, to_json


class UnfitType(Exception):
    """A type that no JSON Schema describes; the text says why."""


class UnfitArgument(Exception):
    """An argument that is not what its type says. It holds pairs of a place and a sentence."""

    def __init__(self, problems):
        super().__init__(problems)
        self.problems = problems


def adapter(annotation):
    """What describes a type and makes values of it."""
    try:
        import pydantic

        has_pydantic = pydantic.VERSION.startswith("2.")
    except ImportError:
        has_pydantic = False
    return PydanticAdapter(annotation) if has_pydantic else PlainAdapter(annotation)


class PydanticAdapter:
    def __init__(self, annotation):
        import pydantic
        from pydantic_core import PydanticUndefined, to_jsonable_python

        self._error = pydantic.ValidationError
        self._to_json = to_jsonable_python
        self._undefined = PydanticUndefined
        try:
            self._adapter = pydantic.TypeAdapter(annotation)
            self.schema = self._adapter.json_schema()
        except Exception as error:
            raise UnfitType(str(error).splitlines()[0]) from error

    def value(self, given):
        try:
            return plain(self._adapter.validate_python(given))
        except self._error as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            raise UnfitArgument([(one["loc"], one["msg"]) for one in problems]) from None

    def default(self, value):
        if value is self._undefined:
            raise ValueError("no value")
        return self._to_json(value, inf_nan_mode="strings")


# Types whose values are written as they are.
_SIMPLE = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    bytes: {"format": "binary", "type": "string"},
    datetime.datetime: {"format": "date-time", "type": "string"},
    datetime.date: {"format": "date", "type": "string"},
    datetime.time: {"format": "time", "type": "string"},
    uuid.UUID: {"format": "uuid", "type": "string"},
    decimal.Decimal: {
        "anyOf": [
            {"type": "number"},
            {"pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "type": "string"},
        ]
    },
}
_UNION_KINDS = (typing.Union, getattr(types, "UnionType", typing.Union))
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SETS = (set, frozenset, collections.abc.Set)
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)
_JSON_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class PlainAdapter:
    """Without pydantic."""

    def __init__(self, annotation):
        self._annotation = annotation
        definitions = {}
        self.schema = _schema(annotation, definitions, True)
        if definitions:
            self.schema["$defs"] = definitions

    def value(self, given):
        return _made(self._annotation, given, ())

    def default(self, value):
        return str(value) if isinstance(value, decimal.Decimal) else plain(read_json(to_json(value)))


def _name(annotation):
    return getattr(annotation, "__name__", None) or str(annotation)


def _parts(annotation):
    """A type without its annotations, what it is made with, and of what."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    return annotation, typing.get_origin(annotation), typing.get_args(annotation)


def _schema(annotation, definitions, is_outermost=False):
    annotation, origin, args = _parts(annotation)
    if annotation in (typing.Any, object):
        return {}
    if annotation is None:
        return {"type": "null"}
    if isinstance(annotation, type) and annotation in _SIMPLE:
        return dict(_SIMPLE[annotation])
    if origin is typing.Literal:
        return _values_schema(list(args))
    if origin in _UNION_KINDS:
        options = []
        for one in args:
            schema = _schema(one, definitions)
            options.extend([schema] if schema not in options else [])
        return {"anyOf": options} if len(options) > 1 else options[0]
    kind = origin or annotation
    if kind in _MAPPINGS:
        item = _schema(args[1], definitions) if args else {}
        return {"additionalProperties": item or True, "type": "object"}
    if kind in _SETS:
        return {"items": _schema(args[0], definitions) if args else {}, "type": "array", "uniqueItems": True}
    if kind is tuple and args and not (len(args) == 2 and args[1] is Ellipsis):
        args = [] if args == ((),) else args
        items = [_schema(one, definitions) for one in args]
        return {"maxItems": len(items), "minItems": len(items), "prefixItems": items, "type": "array"}
    if kind in _LISTS or kind is tuple:
        return {"items": _schema(args[0], definitions) if args else {}, "type": "array"}
    if isinstance(annotation, type) and (issubclass(annotation, enum.Enum) or _fields(annotation) is not None):
        return _named_schema(annotation, definitions, is_outermost)
    raise UnfitType(f"no JSON Schema describes the type {_name(annotation)} without pydantic 2 in the project's Python")


def _values_schema(values):
    schema = {"const": values[0]} if len(values) == 1 else {"enum": values}
    kinds = {_JSON_NAMES.get(type(value)) for value in values}
    if len(kinds) == 1 and None not in kinds:
        schema["type"] = kinds.pop()
    return schema


def _named_schema(kind, definitions, is_outermost):
    """A class: in its place if it is all of a parameter, else below `$defs`, so that it may hold itself."""
    reference = {"$ref": f"#/$defs/{kind.__name__}"}
    if kind.__name__ in definitions:
        return reference
    definitions[kind.__name__] = {}
    if issubclass(kind, enum.Enum):
        schema = {**_values_schema([member.value for member in kind]), "title": kind.__name__}
    else:
        schema = _fields_schema(kind, definitions)
    about = getattr(kind, "__doc__", None)
    is_made = about is None or about == "An enumeration." or dataclasses.is_dataclass(kind) and about.startswith(f"{kind.__name__}(")
    if not is_made and "__doc__" in vars(kind):
        schema["description"] = about.strip()
    is_recursive = f"#/$defs/{kind.__name__}'" in repr(definitions) + repr(schema)
    if is_outermost and not is_recursive:
        del definitions[kind.__name__]
        return schema
    definitions[kind.__name__] = schema
    return reference


def _fields_schema(kind, definitions):
    properties, required = {}, []
    for name, annotation, default in _fields(kind):
        schema = _schema(annotation, definitions)
        if "$ref" not in schema:
            schema["title"] = name.replace("_", " ").title()
        if default is dataclasses.MISSING:
            required.append(name)
        elif default is not _UNTOLD:
            schema["default"] = PlainAdapter(annotation).default(default)
        properties[name] = schema
    schema = {"properties": properties, "title": kind.__name__, "type": "object"}
    if required:
        schema["required"] = required
    return schema


# The default of a field that need not be there, and of which nothing is said.
_UNTOLD = object()


def _fields(kind):
    """The fields of a dataclass or a TypedDict, each with its type and its default; none: it is neither."""
    if not dataclasses.is_dataclass(kind) and not (issubclass(kind, dict) and hasattr(kind, "__total__")):
        return None
    hints = typing.get_type_hints(kind, vars(sys.modules.get(kind.__module__, types)), include_extras=True)
    if dataclasses.is_dataclass(kind):
        fields = [field for field in dataclasses.fields(kind) if field.init]
        return [(field.name, hints[field.name], _default(field)) for field in fields]
    wanted = getattr(kind, "__required_keys__", frozenset(hints))
    unwrapped = {name: _without_need(hint) for name, hint in hints.items()}
    return [(name, hint, dataclasses.MISSING if name in wanted else _UNTOLD) for name, hint in unwrapped.items()]


def _without_need(hint):
    origin = typing.get_origin(hint)
    return typing.get_args(hint)[0] if getattr(origin, "_name", "") in ("Required", "NotRequired") else hint


def _default(field):
    return field.default if field.default_factory is dataclasses.MISSING else _UNTOLD


def _unfit(place, sentence):
    return UnfitArgument([(place, sentence)])


def _made(annotation, given, place):
    """A value of a type, from JSON."""
    annotation, origin, args = _parts(annotation)
    if annotation in (typing.Any, object):
        return plain(given)
    if annotation is None or annotation is type(None):
        if given is not None:
            raise _unfit(place, "Input should be None")
        return None
    if isinstance(annotation, type) and annotation in _SIMPLE:
        return _simple(annotation, given, place)
    if origin is typing.Literal:
        for value in args:
            if value == given and type(value) is type(given):
                return value
        raise _unfit(place, f"Input should be {_listed(args)}")
    if origin in _UNION_KINDS:
        return _one_of(args, given, place)
    kind = origin or annotation
    if kind in _MAPPINGS:
        if not isinstance(given, dict):
            raise _unfit(place, "Input should be a valid dictionary")
        key, item = args or (typing.Any, typing.Any)
        values = _all_made([(item, value, (*place, name)) for name, value in given.items()])
        return dict(zip([_made(key, name, place) for name in given], values))
    if kind in _SETS or kind in _LISTS or kind is tuple:
        return _items(kind, args, given, place)
    if issubclass(annotation, enum.Enum):
        for member in annotation:
            if member.value == given:
                return member
        raise _unfit(place, f"Input should be {_listed([member.value for member in annotation])}")
    return _object(annotation, given, place)


def _listed(values):
    shown = [repr(value) for value in values]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]


def _one_of(options, given, place):
    # What needs no conversion goes first: "1" is a text for `int | str`.
    exact = [one for one in options if one in _SIMPLE and type(given) in (one, ExactFloat if one is float else one)]
    problems = []
    for option in [*exact, *options]:
        try:
            return _made(option, given, place)
        except UnfitArgument as unfit:
            problems += unfit.problems
    raise UnfitArgument(list(dict.fromkeys(problems)))


def _items(kind, args, given, place):
    if not isinstance(given, list):
        raise _unfit(place, "Input should be a valid list")
    if kind is tuple and args and not (len(args) == 2 and args[1] is Ellipsis):
        if len(given) != len(args):
            raise _unfit(place, f"Input should have {len(args)} items, not {len(given)}")
        return tuple(_all_made([(one, value, (*place, number)) for number, (one, value) in enumerate(zip(args, given))]))
    item = args[0] if args else typing.Any
    values = _all_made([(item, value, (*place, number)) for number, value in enumerate(given)])
    makers = {tuple: tuple, set: set, collections.abc.Set: set, frozenset: frozenset}
    return makers.get(kind, list)(values)


def _all_made(parts):
    """Values of types, at places; every problem is named, not the first alone."""
    values, problems = [], []
    for annotation, given, place in parts:
        try:
            values.append(_made(annotation, given, place))
        except UnfitArgument as unfit:
            problems += unfit.problems
    if problems:
        raise UnfitArgument(problems)
    return values


def _object(kind, given, place):
    if not isinstance(given, dict):
        raise _unfit(place, f"Input should be a valid dictionary or instance of {kind.__name__}")
    values, problems = {}, []
    for name, annotation, default in _fields(kind):
        if name in given:
            try:
                values[name] = _made(annotation, given[name], (*place, name))
            except UnfitArgument as unfit:
                problems += unfit.problems
        elif default is dataclasses.MISSING:
            problems.append(((*place, name), "Field required"))
    if problems:
        raise UnfitArgument(problems)
    return kind(**values)


def _simple(kind, given, place):
    try:
        value = _SIMPLE_MAKERS[kind](given)
    except (ValueError, TypeError, ArithmeticError):
        value = NotImplemented
    if value is NotImplemented:
        raise _unfit(place, f"Input should be a valid {_SPOKEN[kind]}")
    return value


def _whole(given):
    if isinstance(given, float):
        return int(given) if given.is_integer() else NotImplemented
    return int(given) if isinstance(given, (int, str)) else NotImplemented


def _fraction(given):
    return float(given) if isinstance(given, (int, float, str)) else NotImplemented


def _truth(given):
    return {"true": True, "false": False, "1": True, "0": False}.get(str(given).lower(), NotImplemented)


def _of_text(make):
    return lambda given: make(given) if isinstance(given, str) else NotImplemented


def _moment(make):
    # Before Python 3.11 the Z of UTC is not read.
    return _of_text(lambda text: make(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text))


_SIMPLE_MAKERS = {
    str: _of_text(str),
    int: _whole,
    float: _fraction,
    bool: _truth,
    type(None): lambda given: None if given is None else NotImplemented,
    bytes: _of_text(str.encode),
    datetime.datetime: _moment(datetime.datetime.fromisoformat),
    datetime.date: _of_text(datetime.date.fromisoformat),
    datetime.time: _moment(datetime.time.fromisoformat),
    uuid.UUID: _of_text(uuid.UUID),
    decimal.Decimal: lambda given: decimal.Decimal(str(given)) if not isinstance(given, (bool, list, dict)) else NotImplemented,
}
_SPOKEN = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    bytes: "text",
    datetime.datetime: "date and time, like 2026-11-30T09:00:00",
    datetime.date: "date, like 2026-11-30",
    datetime.time: "time, like 09:00:00",
    uuid.UUID: "UUID",
    decimal.Decimal: "decimal number",
}
