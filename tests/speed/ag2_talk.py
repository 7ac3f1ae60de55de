"""Two AG2 agents that talk: COUNT conversations, CONCURRENCY at once (threads, as FastAgency's worker runs them).

    python ag2_talk.py BASE_URL TURNS COUNT CONCURRENCY [stream]

Prints one JSON object: the requests that were made to the model, and the seconds they took. Agents are made anew for each
conversation, as a FastAgency workflow makes them; AG2's cache is off, and what it prints goes nowhere.
"""

import contextlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from autogen import ConversableAgent

base_url, turns, count, concurrency = sys.argv[1], *map(int, sys.argv[2:5])
stream = sys.argv[5:] == ["stream"]
model = {"model": "instant", "api_key": "none", "base_url": base_url, "stream": stream}
llm_config = {"config_list": [model], "cache_seed": None}


def agent(name: str) -> ConversableAgent:
    return ConversableAgent(
        name, system_message="You talk about numbers.", llm_config=llm_config, human_input_mode="NEVER"
    )


def converse(_: int) -> int:
    result = agent("a").initiate_chat(agent("b"), message="Let us talk about numbers.", max_turns=turns)
    return len(result.chat_history) - 1


with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    converse(0)  # imports, connections: not what is measured
    begun = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        requests = sum(pool.map(converse, range(count)))
    seconds = time.perf_counter() - begun
print(json.dumps({"turns": requests, "seconds": seconds}))
