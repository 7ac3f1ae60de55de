"""Says which functions Python files have, without running anything of them. Reads a JSON list of paths, writes a JSON object."""

import ast
import json
import sys

# What JSON Schema calls the types that models give most.
SIMPLE_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
# With these a file makes names that nobody sees without running it.
MAKE_NAMES = {"exec", "globals", "setattr", "vars"}
# What AG2 puts in by itself, or takes as more than a value: a function with one of these is no tool.
OF_AG2 = {"BaseContext", "ChatContext", "ContextVariables", "Depends", "Inject", "ReplyResult"}


def names_of(target):
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def yields(function):
    """Whether a function gives values one by one; what is defined inside of it says nothing."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    open_nodes = list(function.body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, inner):
            open_nodes += ast.iter_child_nodes(node)
    return False


def simple_type(annotation):
    if isinstance(annotation, ast.Subscript) and "Annotated" in ast.dump(annotation.value):
        parts = annotation.slice
        annotation = parts.elts[0] if isinstance(parts, ast.Tuple) and parts.elts else parts
    return SIMPLE_TYPES.get(annotation.id) if isinstance(annotation, ast.Name) else None


def function_of(node):
    args = node.args
    by_place = args.posonlyargs + args.args
    required = {arg.arg for arg in by_place[: len(by_place) - len(args.defaults)]}
    required |= {arg.arg for arg, default in zip(args.kwonlyargs, args.kw_defaults) if default is None}
    named = by_place + args.kwonlyargs
    unknown = [arg.arg for arg in named if arg.annotation is None and arg.arg in required]
    defaults = [default for default in args.defaults + args.kw_defaults if default is not None]
    said = [arg.annotation for arg in named if arg.annotation] + defaults + ([node.returns] if node.returns else [])
    words = {getattr(part, "id", getattr(part, "attr", None)) for one in said for part in ast.walk(one)}
    is_decorated = bool(node.decorator_list)
    shown = [arg for arg in named if arg.annotation is not None]
    return {
        "arguments": [arg.arg for arg in named],
        "takes_any": args.kwarg is not None or is_decorated,
        "parameters": [
            {"name": arg.arg, "is_required": arg.arg in required, "kind": simple_type(arg.annotation)} for arg in shown
        ],
        "unannotated": None if is_decorated or not unknown else unknown[0],
        "is_generator": not is_decorated and yields(node),
        "is_plain": not (is_decorated or unknown or yields(node) or words & OF_AG2),
    }


def makes_names(node):
    parts = ast.walk(node)
    return any(isinstance(part, ast.NamedExpr) or getattr(part, "id", None) in MAKE_NAMES for part in parts)


def look(statements, found):
    for node in statements:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found["is_open"] |= makes_names(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found["functions"][node.name] = function_of(node)
        elif isinstance(node, ast.ClassDef):
            found["names"].append(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                found["is_open"] |= alias.name == "*"
                found["names"].append((alias.asname or alias.name).split(".")[0])
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found["names"] += names_of(target)
        else:
            targets = [getattr(node, "target", None)] + [item.optional_vars for item in getattr(node, "items", [])]
            for target in targets:
                found["names"] += names_of(target) if target is not None else []
            for part in ("body", "orelse", "finalbody"):
                look(getattr(node, part, []), found)
            for inner in getattr(node, "handlers", []) + getattr(node, "cases", []):
                look(inner.body, found)


def looked_at(path):
    found = {"functions": {}, "names": [], "is_open": False, "mistake": None}
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
    except SyntaxError as error:
        found["mistake"] = {"line": error.lineno or 0, "message": error.msg}
        return found
    except (OSError, ValueError):
        return None
    look(tree.body, found)
    # Such a module makes names when it is asked for them.
    found["is_open"] |= "__getattr__" in found["functions"]
    return found


json.dump({path: looked_at(path) for path in json.load(sys.stdin)}, sys.stdout)
