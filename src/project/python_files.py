"""Says which functions Python files have, without running anything of them. Reads a JSON list of paths, writes a JSON object."""

import ast
import json
import sys


def names_of(target):
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def look(statements, found):
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            args = node.args
            named = args.posonlyargs + args.args + args.kwonlyargs
            takes_any = args.kwarg is not None or bool(node.decorator_list)
            found["functions"][node.name] = {"arguments": [arg.arg for arg in named], "takes_any": takes_any}
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
            for part in ("body", "orelse", "finalbody"):
                look(getattr(node, part, []), found)
            for handler in getattr(node, "handlers", []):
                look(handler.body, found)


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
