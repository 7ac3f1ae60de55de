"""The tool that a function is: its name, its description and its parameters, by the rules of AG2's `autogen.tools`."""

import inspect
import re
import types
import typing

from fastagency_types import UnfitArgument, UnfitType, adapter
from fastagency_values import with_article

_NAME = re.compile("[A-Za-z0-9_-]{1,64}")


class UnfitFunction(Exception):
    """A function that is no tool; the text says why."""


class PythonTool:
    """A function that can be called."""

    def __init__(self, function, name, description):
        self.function = function
        self.name = name
        self.description = description
        self.is_async = inspect.iscoroutinefunction(function)
        self._parameters = _parameters(function)

    def listed(self):
        properties, definitions = {}, {}
        for parameter in self._parameters:
            properties[parameter.name] = parameter.property(definitions)
        required = [parameter.name for parameter in self._parameters if parameter.is_required]
        params = {"type": "object", "properties": properties, "required": required}
        # AG2 leaves these where a reference to them leads nowhere: inside of the property.
        if definitions:
            params["$defs"] = definitions
        return {"name": self.name, "description": self.description, "params": params}

    def bound(self, given):
        """What the function is called with: arguments by place, and by name. Those that it does not know are left out."""
        by_place, by_name, problems = [], {}, []
        for parameter in self._parameters:
            if parameter.name not in given:
                if parameter.is_required:
                    problems.append(((parameter.name,), "Field required"))
                elif parameter.is_positional:
                    by_place.append(parameter.default)
                continue
            try:
                value = parameter.adapter.value(given[parameter.name])
            except UnfitArgument as unfit:
                problems += [((parameter.name, *place), sentence) for place, sentence in unfit.problems]
                continue
            if parameter.is_positional:
                by_place.append(value)
            else:
                by_name[parameter.name] = value
        if problems:
            raise UnfitArgument(problems)
        return by_place, by_name


class ToolParameter:
    def __init__(self, parameter, annotation):
        self.name = parameter.name
        self.default = parameter.default
        self.is_required = parameter.default is inspect.Parameter.empty
        self.is_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        self._about = _about(annotation) or parameter.name
        try:
            self.adapter = adapter(annotation)
        except UnfitType as unfit:
            raise UnfitFunction(f"its parameter {self.name} cannot be described: {unfit}") from unfit

    def property(self, definitions):
        schema = dict(self.adapter.schema)
        schema = _with_definitions(schema, schema.pop("$defs", {}), definitions)
        if not self.is_required:
            try:
                schema["default"] = self.adapter.default(self.default)
            except Exception:
                # A default that is no JSON is the function's own matter: models need not know it.
                pass
        schema["description"] = self._about
        return schema


def _with_definitions(schema, own, definitions):
    """A schema whose definitions stand with those of the other parameters."""
    names = {}
    for name, definition in own.items():
        free, number = name, 2
        while free in definitions and definitions[free] != definition:
            free, number = f"{name}_{number}", number + 1
        names[name] = free
    for name, definition in own.items():
        definitions[names[name]] = _renamed(definition, names)
    return _renamed(schema, names)


def _renamed(schema, names):
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if isinstance(schema, dict):
        return {key: _renamed(item, names) for key, item in schema.items()}
    start = "#/$defs/"
    if isinstance(schema, str) and schema.startswith(start) and schema[len(start) :] in names:
        return start + names[schema[len(start) :]]
    return schema


def _about(annotation):
    """What `Annotated` says of a parameter: a text, or the description of AG2's or pydantic's `Field`."""
    for one in getattr(annotation, "__metadata__", ()):
        about = one if isinstance(one, str) else getattr(one, "description", None) or getattr(one, "documentation", None)
        if isinstance(about, str):
            return about
    return None


def tool_of(found, name):
    """The tool that something in a file is."""
    description = None
    if is_ag2_tool(found):
        found, name, description = inspect.unwrap(found.func), found.name, found.description
    if not (inspect.isfunction(found) or inspect.ismethod(found)):
        raise UnfitFunction(f"it is {with_article(type(found).__name__)}, not a function")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise UnfitFunction("it yields values one by one; return a list")
    if not _NAME.fullmatch(name):
        raise UnfitFunction("models take names of 1 to 64 letters (A-Z, a-z), digits, _ and -")
    return PythonTool(found, name, (found.__doc__ or "") if description is None else description)


def is_ag2_tool(found):
    """What AG2's decorators `tool` and `register_for_llm` make of a function."""
    return any(_is_of_ag2(kind, "Tool") for kind in type(found).__mro__) and hasattr(found, "func")


def _is_of_ag2(kind, *names):
    return kind.__module__.split(".")[0] in ("autogen", "fast_depends") and kind.__name__ in names


def _parameters(function):
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    hints = _hints(function, signature)
    for parameter in parameters:
        _refuse_injected(parameter.name, hints.get(parameter.name), parameter.default)
    if any(_is_of_ag2(kind, "ReplyResult") for kind in _classes(hints.get("return"))):
        raise UnfitFunction("it returns AG2's ReplyResult; say in the workflow who speaks next")
    unknown = [one.name for one in parameters if one.name not in hints and one.default is one.empty]
    if unknown:
        raise UnfitFunction(f"its parameter {unknown[0]} has no annotation and no default")
    # As in AG2, what has a default and no annotation is not shown to models.
    return [ToolParameter(one, hints[one.name]) for one in parameters if one.name in hints]


def _hints(function, signature):
    """The annotations, read where they are texts. Of the signature, so that a default of None changes nothing."""
    empty = inspect.Signature.empty
    annotations = {one.name: one.annotation for one in signature.parameters.values() if one.annotation is not empty}
    if signature.return_annotation is not empty:
        annotations["return"] = signature.return_annotation
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=annotations), names, include_extras=True)
    except Exception as error:
        raise UnfitFunction(f"its annotations cannot be read: {error}") from error


def _classes(annotation):
    return getattr(annotation, "__mro__", ())


def _refuse_injected(name, annotation, default):
    """What AG2 puts in by itself: there is no agent and no chat in this process."""
    given = [default, *getattr(annotation, "__metadata__", ())]
    inner = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    if any(_is_of_ag2(type(one), "Depends") for one in given):
        what = "AG2's Depends"
    elif any(_is_of_ag2(kind, "BaseContext", "ChatContext", "ContextVariables") for kind in _classes(inner)):
        what = f"AG2's {inner.__name__}"
    elif type(default).__module__.startswith("pydantic.") and type(default).__name__ == "FieldInfo":
        raise UnfitFunction(f"its parameter {name} has a pydantic Field as its default: write Annotated[…, Field(…)]")
    else:
        return
    raise UnfitFunction(f"its parameter {name} is {what}, which has no meaning here: take values as arguments instead")
