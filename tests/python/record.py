"""Writes what AG2 makes of the functions in project/, and what they return for the arguments in calls.json: `expected.json` was made by
it, with the Python of scripts/ag2-tools.sh. A function that AG2 refuses has the reason; so has a schema that cannot be sent as JSON."""

import asyncio
import importlib
import inspect
import json
import logging
import sys
from pathlib import Path

from autogen.tools import Tool
from autogen.tools.function_utils import load_basemodels_if_needed, serialize_to_str

HERE = Path(__file__).parent
logging.disable(logging.WARNING)
sys.path.insert(0, str(HERE / "project"))


def recorded(function, arguments):
    try:
        tool = Tool(func_or_tool=function)
        found = {"schema": json.loads(json.dumps(tool.tool_schema["function"], allow_nan=False))}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}".splitlines()[0]}
    if arguments is not None:
        try:
            # What ConversableAgent registers for execution.
            returned = load_basemodels_if_needed(tool.func)(**arguments)
            returned = asyncio.run(returned) if inspect.iscoroutine(returned) else returned
            found["returned"] = serialize_to_str(returned)
        except Exception as error:
            found["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def main():
    calls = json.loads((HERE / "calls.json").read_text())
    everything = {}
    for name in ("plain", "models"):
        module = importlib.import_module(name)
        functions = [one for one in vars(module).values() if inspect.isfunction(one) and one.__module__ == name]
        functions = [one for one in functions if not one.__name__.startswith("_")]
        everything[name] = {one.__name__: recorded(one, calls[name].get(one.__name__)) for one in functions}
    json.dump(everything, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
