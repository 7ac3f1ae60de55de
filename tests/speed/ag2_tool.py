"""AG2 calls a function that a model has asked for, in its own process.

    python ag2_tool.py FILE COUNT

FILE holds the function `add`. Prints one JSON object: the median of a call and all of it, in ms. What AG2 prints goes nowhere.
"""

import contextlib
import importlib.util
import json
import os
import statistics
import sys
import time

from autogen import ConversableAgent

specification = importlib.util.spec_from_file_location("tools", sys.argv[1])
tools = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tools)
agent = ConversableAgent("a", llm_config=False, human_input_mode="NEVER")
agent.register_for_execution(name="add")(tools.add)


def reply(number: int) -> float:
    call = {"id": f"call_{number}", "type": "function", "function": {"name": "add", "arguments": '{"n": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    begun = time.perf_counter()
    is_final, answer = agent.generate_tool_calls_reply([message])
    seconds = time.perf_counter() - begun
    assert is_final and answer["tool_responses"][0]["content"] == "2", answer
    return 1000 * seconds


with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    reply(0)  # imports: not what is measured
    times = [reply(number) for number in range(int(sys.argv[2]))]
print(json.dumps({"p50_ms": statistics.median(times), "mean_ms": statistics.fmean(times)}))
